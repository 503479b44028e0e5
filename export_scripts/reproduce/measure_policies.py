"""The figures of docs/simulator.md: power policies on the example profiles, and the simulator's speed, as Markdown.

    python export_scripts/reproduce/measure_policies.py BUNDLE LOGITS

LOGITS is a folder of the bundle's own logits, as `dvt-edge calibrate` and `simulate` cache them. The profiles are
estimates.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path

from dvt_edge import machine
from dvt_edge.calibration.recalibrate import cached_logits
from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.device.power_policy import EnergyQueue, PowerPolicy
from dvt_edge.simulation.baselines import compare_policies, standard_policies
from dvt_edge.simulation.device_profile import DeviceProfile, open_profile
from dvt_edge.simulation.outcome import Outcome
from dvt_edge.simulation.replay import Shift
from dvt_edge.simulation.simulator import Scenario, scenario_of, simulate
from dvt_edge.simulation.workload import DAY, HOUR, ChargeWindow, Diurnal, FixedRate, Poisson, Workload

LONGER = 1.15  # simulated past the target, to see when the battery is empty
RATE = 15  # images a second on the camera, which has 67 ms for each: enough for the last exit


def scenario(bundle: CascadeBundle, logits: Path, profile: DeviceProfile, load: Workload, **parts: object) -> Scenario:
    return scenario_of(bundle, cached_logits(bundle, logits), profile=profile, workload=load, **parts)


def to_target(outcome: Outcome) -> str:
    if outcome.empty_s is None or outcome.target_s is None:
        return "later"
    return f"{outcome.empty_s / outcome.target_s - 1:+.2%}"


def row(what: str, bundle: CascadeBundle, case: Scenario, told_rate: float | None = None) -> str:
    default = bundle.manifest.default_operating_point
    found = compare_policies(case, default, allow_uncertified=True)
    last, queue, plan = (found.outcomes[n] for n in ("always-last", "energy-queue", "clairvoyant"))
    if told_rate is not None:
        queue = simulate(case, PowerPolicy(default, queue=EnergyQueue(images_per_s=told_rate), allow_uncertified=True))
    mine, best = queue.judged.right_share or 0.0, plan.judged.right_share or 0.0
    cells = (what, to_target(last), to_target(queue), f"{mine:.2%}", f"{best:.2%}", f"{100 * (best - mine):.2f}")
    return f"| {' | '.join(cells)} |"


def seconds(work: Callable[[], object], runs: int = 5) -> float:
    """Processor seconds of the fastest run."""
    times = []
    for _ in range(runs):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def main(folder: str, cache: str) -> None:
    bundle, logits = CascadeBundle.open(folder), Path(cache)
    camera, phone = open_profile("camera-a53"), open_profile("phone-cpu")
    print(
        "| target | always-last | energy queue | right of all | clairvoyant | gap, points |\n|---|---|---|---|---|---|"
    )
    for hours in (21, 22, 23, 24, 25, 26, 27, 28):
        load = FixedRate(RATE, LONGER * hours * HOUR)
        print(row(f"{hours} h", bundle, scenario(bundle, logits, camera, load, target_s=hours * HOUR)))
    day = {"target_s": DAY}
    print(row("24 h, Poisson", bundle, scenario(bundle, logits, camera, Poisson(RATE, LONGER * DAY, seed=1), **day)))
    steady = FixedRate(RATE, LONGER * DAY)
    harder = scenario(bundle, logits, camera, steady, shift=Shift(DAY / 2), **day)
    print(row("24 h, harder images from 12 h on", bundle, harder))
    smaller = dataclasses.replace(camera, battery=dataclasses.replace(camera.battery, capacity_mah=3200))
    for depth in (0.3, 0.8):
        swinging = Diurnal(RATE / 2, LONGER * DAY, depth=depth, seed=1)
        case = scenario(bundle, logits, smaller, swinging, **day)
        print(row(f"24 h, diurnal ({RATE / 2:g} a second, depth {depth}, 3200 mAh)", bundle, case))
        print(row("the same, told the mean rate", bundle, case, told_rate=RATE / 2))
    load = FixedRate(30, LONGER * 11 * HOUR)
    screen = scenario(bundle, logits, phone, load, target_s=11 * HOUR, screen=1.0)
    print(row("11 h, `phone-cpu`, screen on", bundle, screen), end="\n\n")
    for step, rounding in ((0.0, "down"), (0.01, "down"), (0.01, "nearest"), (0.01, "up"), (0.05, "down")):
        ends = []
        for hours in (22, 26):
            load = FixedRate(RATE, LONGER * hours * HOUR)
            how = {"level_step": step, "level_rounding": rounding, "target_s": hours * HOUR}
            case = scenario(bundle, logits, camera, load, **how)
            ends.append(to_target(simulate(case, queue_of(bundle, case))))
        print(f"level in steps of {step:g} rounded {rounding}: queue at 22 h and 26 h {' and '.join(ends)}")
    beliefs(bundle, logits, camera)
    (estimate,) = (e for e in camera.counted if e.target == bundle.manifest.target)
    fast = dataclasses.replace(estimate, clock_ghz=25.0)
    battery = dataclasses.replace(camera.battery, capacity_mah=8000.0)
    quick = dataclasses.replace(camera, counted=(fast,), battery=battery)
    speed(bundle, scenario(bundle, logits, quick, FixedRate(30, DAY), **day))
    slow = dataclasses.replace(camera, counted=(estimate,))
    speed(bundle, scenario(bundle, logits, slow, FixedRate(30, DAY), **day))


def beliefs(bundle: CascadeBundle, logits: Path, profile: DeviceProfile) -> None:
    """How far from its target the queue ends that believes its device to be another one, at 22 and 26 hours."""
    print("\n| believed, times the truth | by the level | with a counter |\n|---|---|---|")
    wrong = ({"base": 0.8}, {"base": 1.2}, {"capacity": 0.8}, {"capacity": 1.2}, {"energy": 0.8}, {"energy": 1.2})
    for factors in ({}, *wrong):
        cells = []
        for counter in (False, True):
            ends = []
            for hours in (22, 26):
                load = FixedRate(RATE, LONGER * hours * HOUR)
                how = {"target_s": hours * HOUR, "believed": profile.believed(**factors), "counter": counter}
                case = scenario(bundle, logits, profile, load, **how)
                ends.append(to_target(simulate(case, queue_of(bundle, case))))
            cells.append(" and ".join(ends))
        words = ", ".join(f"{name} {factor:g}" for name, factor in factors.items()) or "all as it is"
        print(f"| {words} | {' | '.join(cells)} |")


def queue_of(bundle: CascadeBundle, case: Scenario) -> PowerPolicy:
    return standard_policies(case.power_table, bundle.manifest.default_operating_point, True)["energy-queue"]


def speed(bundle: CascadeBundle, case: Scenario) -> None:
    default = bundle.manifest.default_operating_point
    policies = standard_policies(case.power_table, default, True)
    print(f"\none core of {machine.describe()}, processor time, {case.profile.counted[0].clock_ghz:g} GHz:")
    for name in ("fixed", "energy-queue"):
        took = seconds(lambda name=name: simulate(case, policies[name]))  # type: ignore[misc]
        print(f"{name}: {30 * DAY / took / 1e6:.0f} million decisions a second")
    for name, load in (("fixed rate", case.workload), ("Poisson", Poisson(30, DAY))):
        several = dataclasses.replace(case, workload=load)
        print(f"a day, six policies, {name}: {seconds(lambda s=several: compare_policies(s, default), 2):.2f} s")  # type: ignore[misc]
    for days in (1, 40):
        load = FixedRate(30, days * DAY, (ChargeWindow(0, days * DAY, 3.0),))
        outcome = simulate(dataclasses.replace(case, workload=load), policies["energy-queue"])
        megabytes = machine.peak_memory() / 2**20
        print(f"{days} days, {outcome.total.arrived:,} images: {megabytes:.0f} MiB at most so far")


if __name__ == "__main__":
    main(*sys.argv[1:])
