"""A device's day: logged logits replayed under a workload, on a device profile, with a power policy.

    Scenario + policy -> Outcome          one tick at a time: ask the policy, run the tick's images, drain, heat

`docs/simulator.md` has the semantics. Time goes on in ticks; within one, everything is computed on arrays, or from
prefix sums where no image can wait, so that memory depends neither on the number of images nor on the time simulated.
`tests/support/plain_simulator.py` does the same event by event.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from dvt_edge.calibration.exit_logits import ExitLogits
from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.device.device_state import DeviceState
from dvt_edge.device.manifest import ConfidenceSpec
from dvt_edge.device.operating_point import OperatingPoint
from dvt_edge.device.power_policy import Choice, Memory, PowerPolicy, PowerTable, choose, used
from dvt_edge.errors import SimulationError
from dvt_edge.simulation.device_profile import DeviceProfile, StageCosts, own_macs
from dvt_edge.simulation.outcome import Energy, Latency, Outcome, Series, Tally
from dvt_edge.simulation.replay import Replay, Shift, Stream
from dvt_edge.simulation.workload import MOST_IMAGES, Tick, Workload

LEAST_LEVEL_STEP = 1e-6  # no battery reports finer ones
Rounding = Literal["down", "nearest", "up"]
RESTART_LEVEL = 0.02  # an empty device that is charged comes back at this level


@dataclass(frozen=True)
class Scenario:
    """All that policies are compared under.

    `target_s` is how long the battery shall last. The policy is asked every `control_s` seconds and sees the battery
    level in steps of `level_step`, rounded by `level_rounding`, as phones report it; 0 is exact; with a `counter` it
    sees the joules left too. An image that would wait longer than `deadline_s` is dropped, one whose answer takes
    longer is late. The screen is on for a share `screen` of the time. `believed` is the device that the policy thinks
    it is on, by default the true one: what it is told that images took is counted by it too.
    """

    logits: ExitLogits
    points: tuple[OperatingPoint, ...]
    confidence: ConfidenceSpec
    profile: DeviceProfile
    workload: Workload
    target_s: float | None = None
    control_s: float = 60.0
    deadline_s: float = 0.1
    screen: float = 0.0
    start_level: float = 1.0
    level_step: float = 0.01
    level_rounding: Rounding = "down"
    seed: int = 0
    shift: Shift | None = None
    believed: DeviceProfile | None = None
    counter: bool = False

    def __post_init__(self) -> None:
        if not self.points:
            raise SimulationError("no operating points to choose from")
        for name, value, least in (("control_s", self.control_s, 1e-3), ("deadline_s", self.deadline_s, 0.0)):
            if not least <= value < math.inf:
                raise SimulationError(f"{name} {value:g}; expected at least {least:g}")
        for name, value in (
            ("screen", self.screen),
            ("start_level", self.start_level),
        ):
            if not 0 <= value <= 1:
                raise SimulationError(f"{name} {value:g}; expected 0 to 1")
        if self.level_step != 0 and not LEAST_LEVEL_STEP <= self.level_step <= 1:
            raise SimulationError(f"level_step {self.level_step:g}; expected 0, or {LEAST_LEVEL_STEP:g} to 1")
        if self.target_s is not None and not 0 < self.target_s < math.inf:
            raise SimulationError(f"target_s {self.target_s:g}; expected above 0")

    @property
    def costs(self) -> StageCosts:
        """The stages' costs on the profile. Raises SchemaError where it has none for these artifacts."""
        return self.costs_on(self.profile)

    def costs_on(self, profile: DeviceProfile) -> StageCosts:
        about = self.logits.about
        return profile.costs(own_macs(about.macs), about.artifact_sha256, about.target)

    @property
    def told(self) -> DeviceProfile:
        """The device as the policy knows it."""
        return self.believed or self.profile

    @property
    def power_table(self) -> PowerTable:
        """What the policy is told."""
        return self.told.power_table(self.points, self.costs_on(self.told), self.screen)

    def replay(self) -> Replay:
        """The images as they arrive, for any number of policies."""
        return Replay(self.logits, self.confidence, self.points, self.seed, self.shift)

    def reported(self, level: float) -> float:
        """The battery level as the device reports it."""
        if self.level_step == 0:
            return level
        steps = level / self.level_step
        whole = {"down": math.floor(steps + 1e-9), "nearest": math.floor(steps + 0.5), "up": math.ceil(steps - 1e-9)}
        return min(1.0, whole[self.level_rounding] * self.level_step)


def scenario_of(bundle: CascadeBundle, logits: ExitLogits, **parts: object) -> Scenario:
    """A Scenario of a bundle's points and confidence. Raises DataError unless the logits are this bundle's."""
    manifest = bundle.manifest
    logits.check_belongs(manifest, bundle.artifacts_sha256)
    return Scenario(logits, manifest.proved_points, manifest.confidence, **parts)  # type: ignore[arg-type]


class Chooser(Protocol):
    """Asked at the beginning of each tick; told afterwards what was used."""

    def choose(self, number: int, state: DeviceState) -> Choice: ...

    def used(self, images: int, energy_j: float) -> None: ...


class PolicyChooser:
    """A PowerPolicy with its memory."""

    def __init__(self, policy: PowerPolicy, table: PowerTable) -> None:
        for name in policy.points:
            if name not in {row.name for row in table.rows}:
                known = ", ".join(row.name for row in table.rows)
                raise SimulationError(f"the policy names the operating point {name!r}; there are: {known}")
        self.policy, self.table, self.memory = policy, table, Memory()

    def choose(self, number: int, state: DeviceState) -> Choice:
        choice, self.memory = choose(self.policy, self.table, state, self.memory)
        return choice

    def used(self, images: int, energy_j: float) -> None:
        self.memory = used(self.memory, images, energy_j)


@dataclass(frozen=True)
class Served:
    """The images of a tick in which some may wait, each (count,): seconds until served and then, and whether they run
    at all.
    """

    waits: NDArray[np.float64]
    serve: NDArray[np.float64]
    run: NDArray[np.bool_]


class Device:
    """One device under one policy: its battery, temperature and queue, moved on by `run(tick)`."""

    def __init__(self, name: str, scenario: Scenario, replay: Replay, chooser: Chooser) -> None:
        profile, costs = scenario.profile, scenario.costs
        self.name, self.scenario, self.replay, self.chooser = name, scenario, replay, chooser
        self.thermal, self.base_w = profile.thermal, profile.base_w(scenario.screen)
        self.exit_s, self.exit_j = np.array(costs.exit_s), np.array(costs.exit_j)
        self.exit_s_list, self.exit_j_list = list(costs.exit_s), list(costs.exit_j)
        self.told_j_list = list(scenario.costs_on(scenario.told).exit_j)
        self.points = {point.name: k for k, point in enumerate(scenario.points)}
        self.capacity_j = profile.battery.joules
        self.battery_j = self.start_j = scenario.start_level * self.capacity_j
        self.temperature_c = self.hottest_c = self.thermal.ambient_c
        self.empty_s: float | None = None
        self.on, self.number, self.position, self.free_s = True, 0, 0, 0.0
        self.tally, self.latency, self.series = Tally(len(self.exit_j)), Latency(), Series(len(self.exit_j))
        self.at_target: Tally | None = None
        self.base_j = self.charged_j = self.lost_j = self.throttled_s = 0.0
        self.time_s = 0.0
        self.point_images = [0] * len(self.points)

    def state(self, tick: Tick) -> DeviceState:
        """What the policy sees at the beginning of a tick."""
        scenario = self.scenario
        level = self.battery_j / self.capacity_j
        below = scenario.profile.low_power_below
        left = None if scenario.target_s is None else max(0.0, scenario.target_s - tick.start_s)
        return DeviceState(
            battery_level=scenario.reported(level),
            charging=tick.charging,
            low_power=below is not None and level < below and not tick.charging,
            thermal=self.thermal.state(self.temperature_c),
            lifetime_s=left,
            time_s=tick.start_s,
            energy_left_j=self.battery_j if scenario.counter else None,
        )

    def run(self, tick: Tick) -> None:
        """Move on by one tick. Raises SimulationError for one of more images than are held in memory at a time."""
        if tick.count > MOST_IMAGES:
            found = f"{tick.count:,} images in one tick of {tick.seconds:g} s"
            raise SimulationError(f"{found}; expected at most {MOST_IMAGES:,}: give a smaller control_s")
        self.tally.arrived += tick.count
        if not self.on and self.battery_j >= RESTART_LEVEL * self.capacity_j:
            self.on, self.free_s = True, tick.start_s
        point = -1
        if self.on:
            choice = self.chooser.choose(self.number, self.state(tick))
            point = self.points[choice.point]
            on_s, spent_j = self.work(tick, point, choice)
        else:
            on_s = spent_j = 0.0
            self.tally.off += tick.count
            self.charge(tick.charge_j)
        self.heat(tick, on_s, spent_j)
        self.position += tick.count
        self.number += 1
        self.time_s = tick.start_s + tick.seconds
        target = self.scenario.target_s
        if target is not None and self.at_target is None and self.time_s >= target - 1e-6:
            self.at_target = self.tally.copy()
        level = self.battery_j / self.capacity_j
        self.series.add(self.time_s, level, self.temperature_c, point, self.tally, self.base_j)

    def heat(self, tick: Tick, on_s: float, spent_j: float) -> None:
        """Temperature over the tick, by the mean power."""
        if self.thermal.slowdown(self.temperature_c) > 1:
            self.throttled_s += on_s
        power_w = (self.base_w * on_s + spent_j) / tick.seconds
        self.temperature_c = self.thermal.after(self.temperature_c, power_w, tick.seconds)
        self.hottest_c = max(self.hottest_c, self.temperature_c)

    def work(self, tick: Tick, point: int, choice: Choice) -> tuple[float, float]:
        """The tick's images; seconds that the device was on and joules that images took."""
        stream = self.replay.stream(tick.start_s, point, choice.max_stage)
        slow = self.thermal.slowdown(self.temperature_c)
        served = None
        if not self.never_waits(tick, slow):
            served, self.free_s = self.queue(tick, stream, slow)
        elif tick.count:
            last = stream.exits[(self.position + tick.count - 1) % stream.size]
            self.free_s = tick.last_s + slow * self.exit_s_list[last]
        count, on_s, lost_j = tick.count, tick.seconds, 0.0
        exits, right = self.counted(stream, served, count)
        spent_j = self.joules(exits, self.exit_j_list)
        base_j, charge_j = self.base_w * tick.seconds, tick.charge_j
        emptied = False
        if self.battery_j - base_j - spent_j <= 0:
            count, on_s, lost_j, emptied = self.until_empty(tick, stream, served)
        if emptied:
            exits, right = self.counted(stream, served, count)
            spent_j = self.joules(exits, self.exit_j_list)
            base_j, charge_j = self.base_w * on_s, tick.charge_j * on_s / tick.seconds
            self.battery_j, self.on = 0.0, False
            self.empty_s = tick.start_s + on_s if self.empty_s is None else self.empty_s
            self.tally.off += tick.count - count
        else:
            full_j = self.battery_j + charge_j - base_j - spent_j
            charge_j -= max(0.0, full_j - self.capacity_j)
            self.battery_j = min(self.capacity_j, full_j)
        self.base_j += base_j
        self.charged_j += charge_j
        self.lost_j += lost_j
        self.count_latencies(exits, served, count, slow)
        answered = sum(exits)
        self.tally.add(exits, right, dropped=count - answered, uncertified=answered if choice.uncertified else 0)
        self.point_images[point] += answered
        self.chooser.used(answered, self.joules(exits, self.told_j_list))
        if emptied:
            self.charge(tick.charge_j * (1 - on_s / tick.seconds))
        return on_s, spent_j

    def charge(self, joules: float) -> None:
        """Into the battery of a device that is off, as much as it holds."""
        taken_j = min(joules, self.capacity_j - self.battery_j)
        self.battery_j += taken_j
        self.charged_j += taken_j

    def joules(self, exits: list[int], exit_j: list[float]) -> float:
        return sum(map(operator.mul, exits, exit_j))

    def never_waits(self, tick: Tick, slow: float) -> bool:
        """Whether even the slowest image is done before the next one comes."""
        if tick.count == 0:
            return True
        step_s = tick.step_s
        return step_s is not None and self.exit_s_list[-1] * slow <= step_s and self.free_s <= tick.first_s

    def counted(self, stream: Stream, served: Served | None, count: int) -> tuple[list[int], int]:
        """How many of the tick's first `count` images leave at each exit, and how many of them are right."""
        if served is None or served.run[:count].all():
            return stream.stretch(self.position, count)
        places = (self.position + np.flatnonzero(served.run[:count])) % stream.size
        marks = stream.sums[places + 1] - stream.sums[places]
        *exits, right = marks.sum(axis=0).tolist()
        return exits, right

    def queue(self, tick: Tick, stream: Stream, slow: float) -> tuple[Served, float]:
        """First come, first served; and when the device is free again.

        Lindley's recursion as a running maximum, as long as nobody waits too long; image by image otherwise.
        """
        arrive = tick.times - tick.start_s
        serve = slow * self.exit_s[stream.stretch_exits(self.position, tick.count)]
        total = serve.cumsum()
        free_s = self.free_s - tick.start_s
        done = total + np.maximum(np.maximum.accumulate(arrive - (total - serve)), free_s)
        waits = np.maximum(0.0, done - serve - arrive)
        limit = self.scenario.deadline_s
        if waits.max() <= limit:
            return Served(waits, serve, np.ones(tick.count, dtype=np.bool_)), tick.start_s + float(done[-1])
        free = [free_s]  # before each image, and after the last
        for at, take in zip(arrive.tolist(), serve.tolist(), strict=True):
            wait = free_s - at
            if wait <= limit:
                free_s = (at + wait if wait > 0 else at) + take
            free.append(free_s)
        waits = np.maximum(0.0, np.array(free[:-1]) - arrive)
        return Served(waits, serve, waits <= limit), tick.start_s + free_s

    def until_empty(self, tick: Tick, stream: Stream, served: Served | None) -> tuple[int, float, float, bool]:
        """Images before the battery is empty, seconds until then, joules too few for one more image; and if it is."""
        arrive = tick.times - tick.start_s
        energy = self.exit_j[stream.stretch_exits(self.position, tick.count)]
        if served is not None:
            energy = np.where(served.run, energy, 0.0)
        gain_w = tick.charge_j / tick.seconds - self.base_w
        after = energy.cumsum()
        before_j = self.battery_j + gain_w * arrive - (after - energy)
        short = (before_j < energy) | (before_j <= 0)
        count = int(short.argmax()) if short.any() else tick.count
        if count < tick.count and before_j[count] > 0:
            return count, float(arrive[count]), float(before_j[count]), True
        left_j = self.battery_j - (float(after[count - 1]) if count else 0.0)
        end_s = float(arrive[count]) if count < tick.count else tick.seconds
        drained_s = left_j / -gain_w if gain_w < 0 else math.inf
        if count == tick.count and drained_s > end_s:
            return count, tick.seconds, 0.0, False
        return count, max(0.0, min(drained_s, end_s)), 0.0, True

    def count_latencies(self, exits: list[int], served: Served | None, count: int, slow: float) -> None:
        deadline_s = self.scenario.deadline_s
        if served is None:
            for seconds, images in zip(self.exit_s_list, exits, strict=True):
                self.latency.add_equal(slow * seconds, images)
                self.tally.late += images if slow * seconds > deadline_s else 0
            return
        times = (served.waits[:count] + served.serve[:count])[served.run[:count]]
        self.latency.add(times)
        self.tally.late += int((times > deadline_s).sum())

    def outcome(self) -> Outcome:
        scenario = self.scenario
        costs = scenario.costs
        stages = len(self.exit_j)
        images = [sum(self.tally.exits[k:]) for k in range(stages)]
        energy = Energy(
            start_j=self.start_j,
            end_j=self.battery_j,
            charged_j=self.charged_j,
            base_j=self.base_j,
            stage_j=tuple(n * j for n, j in zip(images, costs.stage_j, strict=True)),
            image_j=images[0] * costs.image_j,
            lost_j=self.lost_j,
        )
        return Outcome(
            policy=self.name,
            points=tuple(point.name for point in scenario.points),
            point_images=tuple(self.point_images),
            simulated_s=self.time_s,
            target_s=scenario.target_s,
            empty_s=self.empty_s,
            total=self.tally.frozen(self.replay.labelled),
            until_target=None if self.at_target is None else self.at_target.frozen(self.replay.labelled),
            latency_s=self.latency.percentiles(),
            energy=energy,
            hottest_c=self.hottest_c,
            throttled_s=self.throttled_s,
            basis=scenario.profile.bases(costs),
            series=self.series.columns(),
        )


def simulate(scenario: Scenario, policy: PowerPolicy, name: str = "policy") -> Outcome:
    """What `policy` makes of the scenario. Raises SimulationError, SchemaError or WorkloadError for what cannot be."""
    return compare(scenario, {name: policy})[name]


def compare(
    scenario: Scenario, policies: Mapping[str, PowerPolicy | Chooser], replay: Replay | None = None
) -> dict[str, Outcome]:
    """Each policy on the same images at the same times, tick by tick side by side; `replay` as `scenario.replay()`."""
    replay = replay or scenario.replay()
    table = scenario.power_table
    devices = [
        Device(name, scenario, replay, PolicyChooser(p, table) if isinstance(p, PowerPolicy) else p)
        for name, p in policies.items()
    ]
    for tick in scenario.workload.ticks(scenario.control_s):
        for device in devices:
            device.run(tick)
    return {device.name: device.outcome() for device in devices}
