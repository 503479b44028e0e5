"""The semantics of docs/simulator.md, image by image and without a trick: what the fast engine is held against."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from dvt_edge.device.device_state import DeviceState
from dvt_edge.device.exit_rule import confidence, last_stage, leaves
from dvt_edge.device.power_policy import Memory, PowerPolicy, choose, used
from dvt_edge.simulation.replay import Replay
from dvt_edge.simulation.simulator import RESTART_LEVEL, Scenario


@dataclass
class Plain:
    """Totals of one run."""

    arrived: int = 0
    answered: int = 0
    dropped: int = 0
    off: int = 0
    late: int = 0
    right: int = 0
    uncertified: int = 0
    exits: list[int] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    levels: list[float] = field(default_factory=list)
    temperatures: list[float] = field(default_factory=list)
    choices: list[str | None] = field(default_factory=list)
    empty_s: float | None = None
    battery_j: float = 0.0
    base_j: float = 0.0
    image_j: float = 0.0
    charged_j: float = 0.0
    lost_j: float = 0.0


def rounded(steps: float, how: str) -> int:
    """To a whole number, and to it as well where it is missed by rounding errors only."""
    if how == "nearest":
        return math.floor(steps + 0.5)
    if abs(steps - round(steps)) < 1e-9:
        return round(steps)
    return math.floor(steps) if how == "down" else math.ceil(steps)


def exit_of(scenario: Scenario, image: int, point: int, cap: int | None) -> int:
    """The exit rule, one image."""
    stages = scenario.logits.about.exits
    last = last_stage(cap, stages)
    spec = scenario.confidence
    for stage in range(stages):
        value = confidence(scenario.logits.logits[image, stage], spec.temperature[stage], spec.measure)
        if leaves(value, stage, scenario.points[point].thresholds, last):
            return stage
    raise AssertionError("the last stage always stops")


def plain_simulate(scenario: Scenario, policy: PowerPolicy) -> Plain:
    profile, costs, thermal = scenario.profile, scenario.costs, scenario.profile.thermal
    believed = scenario.costs_on(scenario.believed or profile)
    orders = Replay(scenario.logits, scenario.confidence, scenario.points, scenario.seed, scenario.shift).orders
    capacity, base_w = profile.battery.joules, profile.base_w(scenario.screen)
    names = [point.name for point in scenario.points]
    out = Plain(exits=[0] * len(costs.stage_j), battery_j=scenario.start_level * capacity)
    memory, temperature, on, free_s, position = Memory(), thermal.ambient_c, True, 0.0, 0
    for tick in scenario.workload.ticks(scenario.control_s):
        start, end = tick.start_s, tick.start_s + tick.seconds
        out.arrived += tick.count
        if not on and out.battery_j >= RESTART_LEVEL * capacity:
            on, free_s = True, start
        spent = 0.0
        on_until = start
        charger_w = tick.charge_j / tick.seconds
        if on:
            level = out.battery_j / capacity
            step = scenario.level_step
            low = profile.low_power_below
            state = DeviceState(
                battery_level=level if step == 0 else min(1.0, rounded(level / step, scenario.level_rounding) * step),
                charging=tick.charging,
                low_power=low is not None and level < low and not tick.charging,
                thermal=thermal.state(temperature),
                lifetime_s=None if scenario.target_s is None else max(0.0, scenario.target_s - start),
                time_s=start,
                energy_left_j=out.battery_j if scenario.counter else None,
            )
            choice, memory = choose(policy, scenario.power_table, state, memory)
            out.choices.append(choice.point)
            slow = thermal.slowdown(temperature)
            shifted = scenario.shift is not None and start >= scenario.shift.at_s
            order = orders[1 if shifted else 0]
            now = start
            ran = seen = 0
            told = 0.0  # what the runtime believes that images took
            for k, at in enumerate(np.asarray(tick.times).tolist()):
                before = out.battery_j + (charger_w - base_w) * (at - now)
                if before <= 0:
                    break
                exit_ = exit_of(
                    scenario, int(order[(position + k) % len(order)]), names.index(choice.point), choice.max_stage
                )
                wait = max(0.0, free_s - at)
                need = costs.exit_j[exit_] if wait <= scenario.deadline_s else 0.0
                out.base_j += base_w * (at - now)
                out.charged_j += charger_w * (at - now)
                out.battery_j, now = before, at
                if before < need:
                    out.lost_j += before
                    out.battery_j, on = 0.0, False
                    break
                if wait > scenario.deadline_s:
                    out.dropped += 1
                    seen += 1
                    continue
                out.battery_j -= need
                spent += need
                told += believed.exit_j[exit_]
                out.image_j += need
                latency = wait + slow * costs.exit_s[exit_]
                free_s = at + latency
                out.latencies.append(latency)
                out.late += latency > scenario.deadline_s
                out.exits[exit_] += 1
                out.uncertified += choice.uncertified
                out.right += bool(scenario.logits.correct[order[(position + k) % len(order)], exit_])
                out.answered += 1
                seen += 1
                ran += 1
            if on:
                rest = out.battery_j + (charger_w - base_w) * (end - now)
                if rest > 0:
                    on_until = end
                    out.base_j += base_w * (end - now)
                    out.charged_j += charger_w * (end - now) - max(0.0, rest - capacity)
                    out.battery_j = min(capacity, rest)
                else:
                    left = out.battery_j / (base_w - charger_w)
                    on_until = now + left
                    out.base_j += base_w * left
                    out.charged_j += charger_w * left
                    out.battery_j, on = 0.0, False
            else:
                on_until = now
            if not on:
                out.off += tick.count - seen
                out.empty_s = on_until if out.empty_s is None else out.empty_s
                rest = min(capacity, charger_w * (end - on_until))
                out.battery_j += rest
                out.charged_j += rest
            memory = used(memory, ran, told)
        else:
            out.choices.append(None)
            more = min(tick.charge_j, capacity - out.battery_j)
            out.battery_j += more
            out.charged_j += more
            out.off += tick.count
        position += tick.count
        power = (base_w * (on_until - start) + spent) / tick.seconds
        temperature = thermal.after(temperature, power, tick.seconds)
        out.levels.append(out.battery_j / capacity)
        out.temperatures.append(temperature)
    return out
