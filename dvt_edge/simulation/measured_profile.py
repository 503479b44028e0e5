"""A device's log -> a measured device profile (docs/energy-model.md).

Times come straight from the log. Energy is watts above idling while images are in work, from energy_of_log.py, shared
out by time.
"""

from __future__ import annotations

import dataclasses
import statistics

from dvt_edge.device.log_reader import LogReader
from dvt_edge.errors import SchemaError
from dvt_edge.simulation.device_profile import BasePower, DeviceProfile, MeasuredStages
from dvt_edge.simulation.energy_of_log import LEAST_SAMPLES, Energy, measure_energy
from dvt_edge.simulation.log_samples import Work, read_energy

SPREAD = 0.02  # of busy power, 95 %: what is asked unless said otherwise


def measured_profile(base: DeviceProfile, log: LogReader, spread: float = SPREAD) -> DeviceProfile:
    """`base` with the log's stage costs and idle power. Battery and thermal model stay as they were.

    Raises SchemaError where the log breaks physics, has too few samples of a kind, no current, or a wider `spread`,
    and where what it says is no profile.
    """
    header, where = log.header, log.path.name
    samples, work = read_energy(log)
    energy = measure_energy(samples, work, spread)
    left_out = f", {samples.unsupported} left out as not supported" if samples.unsupported else ""
    notes = "".join(f"; {note}" for note in log.notes.words())
    source = (
        f"{where}: {len(work.end)} images on {header.device}; energy is {energy.busy_w:.3f} W of busy time above "
        f"idling, within {energy.spread:.1%}, from {energy.words}{left_out}{notes}"
    )
    stages = stage_costs(work, energy, header.stages, where)
    kept = tuple(m for m in base.measured if m.artifact_sha256 != header.artifact_sha256)
    try:
        measured = MeasuredStages(header.target, header.artifact_sha256, *stages, images=len(work.end), source=source)
        power = base_power(base.power, energy.idle_w, where)
        return dataclasses.replace(base.for_phone(), name=header.device, power=power, measured=(*kept, measured))
    except ValueError as error:  # what the profile's own rules refuse
        raise SchemaError(f"{where}: {error}") from error


def stage_costs(
    work: Work, energy: Energy, stages: int, where: str
) -> tuple[tuple[float, ...], tuple[float, ...], float, float]:
    """Milliseconds (medians) and millijoules (of mean times) of each stage, and of an image beside its stages."""
    stage_ms, stage_mj = [], []
    for k in range(stages):
        times = [ms[k] for ms in work.stage_ms if len(ms) > k]
        if len(times) < LEAST_SAMPLES:
            raise SchemaError(
                f"{where}: stage {k} ran {len(times)} times; expected at least {LEAST_SAMPLES}: log the last exit too"
            )
        stage_ms.append(statistics.median(times))
        if not stage_ms[-1]:
            raise SchemaError(
                f"{where}: stage {k} took 0 ms, as the median of {len(times)} times; expected above 0: log with a "
                "finer clock than one of whole milliseconds"
            )
        stage_mj.append(statistics.fmean(times) * energy.busy_w)
    rest = [max(0.0, s * 1e3 - sum(ms)) for s, ms in zip(work.seconds, work.stage_ms, strict=True)]
    return tuple(stage_ms), tuple(stage_mj), statistics.median(rest), statistics.fmean(rest) * energy.busy_w


def base_power(before: BasePower, idle_w: dict[bool, float], where: str) -> BasePower:
    """Idle and screen power; measured only where both are, or where there is no screen."""
    source = f"idle samples of {where}"
    if True in idle_w and False in idle_w:
        if idle_w[True] < idle_w[False]:
            raise SchemaError(
                f"{where}: idling takes {idle_w[True]:.3f} W with the screen on and {idle_w[False]:.3f} W with it off"
            )
        return BasePower(idle_w[False], idle_w[True] - idle_w[False], "measured", source)
    if False in idle_w:
        if not before.screen_w:
            return BasePower(idle_w[False], 0.0, "measured", source)
        return BasePower(idle_w[False], before.screen_w, "estimated", f"{source}; screen: {before.source}")
    # Only their sum is known: it is shared out as before, so that neither becomes nothing.
    share = before.idle_w / (before.idle_w + before.screen_w) if before.idle_w + before.screen_w else 1.0
    words = f"{source} with the screen on, shared out as before: {before.source}"
    return BasePower(share * idle_w[True], (1 - share) * idle_w[True], "estimated", words)
