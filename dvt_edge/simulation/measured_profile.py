"""A device's log -> a measured device profile (docs/energy-model.md).

Times come straight from the log; energy is the measured power less the idle power of the same screen state, shared out
by time.
"""

from __future__ import annotations

import dataclasses
import statistics

from dvt_edge.device.device_log import DeviceLog, LogEvent
from dvt_edge.errors import SchemaError
from dvt_edge.simulation.device_profile import BasePower, DeviceProfile, MeasuredStages

LEAST_EVENTS = 10  # of each kind that is averaged


def measured_profile(base: DeviceProfile, log: DeviceLog) -> DeviceProfile:
    """`base` with the log's stage costs and idle power. Battery and thermal model stay as they were.

    Raises SchemaError where the log has too few events of a kind, or no current.
    """
    header, where = log.header, log.source
    screen_on = screen_of(log)
    idle_w = {
        on: mean_power(log, [e for e in log.idle if e.screen_on == on], on) for on in {e.screen_on for e in log.idle}
    }
    if screen_on not in idle_w:
        raise SchemaError(f"{where}: no idle events with the screen {'on' if screen_on else 'off'}, as in the images")
    active_w = mean_power(log, list(log.images), screen_on)
    start_s = log.images[0].time_s - log.images[0].busy_s
    span_s = log.images[-1].time_s - start_s
    use = sum(e.busy_s for e in log.images) / span_s if span_s > 0 else 0.0
    if not 0 < use <= 1 + 1e-6:
        raise SchemaError(
            f"{where}: work takes {use:.0%} of the time of the images; are times in ms and time_s in seconds?"
        )
    busy_w = (active_w - idle_w[screen_on]) / use
    if not busy_w > 0:
        raise SchemaError(f"{where}: images draw {active_w:.3f} W and idling {idle_w[screen_on]:.3f} W; expected more")
    stage_ms, stage_mj = [], []
    for k in range(header.stages):
        times = [e.stage_ms[k] for e in log.images if len(e.stage_ms) > k]
        if len(times) < LEAST_EVENTS:
            raise SchemaError(
                f"{where}: stage {k} ran {len(times)} times; expected at least {LEAST_EVENTS}: log the last exit too"
            )
        stage_ms.append(statistics.median(times))
        stage_mj.append(statistics.fmean(times) * busy_w)
    rest_ms = [e.image_ms for e in log.images]
    source = f"{where}: {len(log.images)} images on {header.device}; energy is {busy_w:.3f} W of busy time above idling"
    stages = MeasuredStages(
        target=header.target,
        artifact_sha256=header.artifact_sha256,
        stage_ms=tuple(stage_ms),
        stage_mj=tuple(stage_mj),
        image_ms=statistics.median(rest_ms),
        image_mj=statistics.fmean(rest_ms) * busy_w,
        images=len(log.images),
        source=source,
    )
    kept = tuple(m for m in base.measured if m.artifact_sha256 != header.artifact_sha256)
    return dataclasses.replace(
        base, name=header.device, power=base_power(base.power, idle_w, where), measured=(*kept, stages)
    )


def base_power(before: BasePower, idle_w: dict[bool, float], where: str) -> BasePower:
    """Idle and screen power; measured only where both are, or where there is no screen."""
    if True in idle_w and False in idle_w:
        return BasePower(idle_w[False], max(0.0, idle_w[True] - idle_w[False]), "measured", f"idle events of {where}")
    if False in idle_w:
        basis, rest = ("estimated", f"; screen: {before.source}") if before.screen_w else ("measured", "")
        return BasePower(idle_w[False], before.screen_w, basis, f"idle events of {where}{rest}")  # type: ignore[arg-type]
    off_w = max(0.0, idle_w[True] - before.screen_w)
    return BasePower(off_w, before.screen_w, "estimated", f"idle events of {where}, less the screen: {before.source}")


def screen_of(log: DeviceLog) -> bool:
    states = {e.screen_on for e in log.images}
    if len(states) != 1:
        raise SchemaError(f"{log.source}: images with the screen on and off, or none; expected one of them throughout")
    return states.pop()


def mean_power(log: DeviceLog, events: list[LogEvent], screen_on: bool) -> float:
    kind = f"{events[0].event if events else 'idle'} events with the screen {'on' if screen_on else 'off'}"
    powers = [e.power_w for e in events]
    known = [p for p in powers if p is not None]
    if len(known) < len(powers):
        raise SchemaError(f"{log.source}: {kind} without current or voltage: energy cannot be measured there")
    if len(known) < LEAST_EVENTS:
        raise SchemaError(f"{log.source}: {len(known)} {kind}; expected at least {LEAST_EVENTS}")
    return statistics.fmean(known)
