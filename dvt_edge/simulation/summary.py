"""Everything that a simulation's report shows, as data: `dvt-edge simulate --json` writes it, `--report` draws it.

Beside the outcomes: the exit mix against the battery level, and how much hangs on the battery's capacity and on the
ambient temperature.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from dvt_edge import machine
from dvt_edge.quiet import Report
from dvt_edge.simulation.baselines import Comparison
from dvt_edge.simulation.device_profile import changed
from dvt_edge.simulation.outcome import Outcome
from dvt_edge.simulation.simulator import Scenario
from dvt_edge.simulation.workload import HOUR, Workload
from dvt_edge.version import __version__

CAPACITIES = (0.7, 0.85, 1.0, 1.15)  # times the profile's
AMBIENTS_K = (-20.0, -10.0, 0.0, 10.0, 20.0)  # added to the profile's ambient temperature
LEVEL_BINS = 20
SHOWN_ROWS = 400  # of a series, in a plot


def summarize(
    scenario: Scenario,
    comparison: Comparison,
    again: Callable[[Scenario], Comparison],
    command: str,
    report: Report | None = None,
) -> dict[str, Any]:
    """For JSON and for `simulation_page.write_simulation_report`; `again` compares the same policies elsewhere.

    `basis` says of each part of the profile whether it was measured or estimated, and from what.
    """
    profile, about = scenario.profile, scenario.logits.about
    costs = scenario.costs
    sources = {
        "battery": profile.battery.source,
        "base power": profile.power.source,
        "thermal model": profile.thermal.source,
        "stage costs": costs.source,
    }
    bases = profile.bases(costs)
    summary = comparison.to_dict(scenario)
    for name, outcome in comparison.outcomes.items():
        summary["outcomes"][name]["exit_mix"] = exit_mix(outcome)
    return {
        "command": command,
        "dvt_edge": __version__,
        "machine": machine.describe(),
        "basis": {part: {"basis": basis, "source": sources[part]} for part, basis in bases.items()},
        "model": about.name,
        "images": about.images,
        "workload": workload_words(scenario.workload),
        "charging_h": [[w.start_s / HOUR, w.end_s / HOUR] for w in getattr(scenario.workload, "charging", ())],
        "deadline_s": scenario.deadline_s,
        "believed": None if scenario.believed is None else dataclasses.asdict(scenario.believed),
        "counter": scenario.counter,
        "screen": scenario.screen,
        "start_level": scenario.start_level,
        "shift": None if scenario.shift is None else dataclasses.asdict(scenario.shift),
        "profile": dataclasses.asdict(profile),
        "points": [dataclasses.asdict(point) for point in scenario.points],
        **summary,
        "sensitivity": sensitivity(scenario, again, report),
    }


def workload_words(workload: Workload) -> str:
    """Its class and fields: "FixedRate, images_per_s 30, duration_s 86400"."""
    fields = dataclasses.fields(workload)  # type: ignore[arg-type]
    parts = [f"{f.name} {getattr(workload, f.name)}" for f in fields if f.name != "charging"]
    return ", ".join((type(workload).__name__, *parts))


def exit_mix(outcome: Outcome) -> list[dict[str, Any]]:
    """In bins of the battery level, from full to empty: images answered there, and the share that left at each exit.

    Only bins in which images were answered. An image counts where the level was at the end of its row of the series.
    """
    series = outcome.series
    exits = [series[f"answered_exit{k}"] for k in range(len(outcome.total.exits))]
    answered = np.stack([np.diff(column, prepend=0.0) for column in exits], axis=1)
    bins = np.minimum((series["level"] * LEVEL_BINS).astype(np.int64), LEVEL_BINS - 1)
    found = []
    for k in reversed(range(LEVEL_BINS)):
        counts = answered[bins == k].sum(axis=0)
        if total := counts.sum():
            level = (k + 0.5) / LEVEL_BINS
            found.append({"level": level, "answered": int(total), "shares": (counts / total).tolist()})
    return found


def sensitivity(
    scenario: Scenario, again: Callable[[Scenario], Comparison], report: Report | None = None
) -> dict[str, Any]:
    """The same comparison with another battery, and in another climate; the policies are told of the battery unless the
    scenario's believe in another one.

    A row for each value and policy: seconds until the battery was first empty (null: never), right of all images and
    of those answered until the target, the hottest the device was, latency, and how long it was slowed down.
    """
    battery, thermal = scenario.profile.battery, scenario.profile.thermal
    variants: list[tuple[str, float, Any]] = []
    for factor in CAPACITIES:
        other = changed(battery, capacity_mah=battery.capacity_mah * factor)
        variants.append(("capacity", factor, dataclasses.replace(scenario.profile, battery=other)))
    for kelvin in AMBIENTS_K:
        climate = changed(thermal, ambient_c=thermal.ambient_c + kelvin)
        variants.append(("ambient_c", climate.ambient_c, dataclasses.replace(scenario.profile, thermal=climate)))
    rows: dict[str, Any] = {"capacity": [], "ambient_c": []}
    for number, (name, value, profile) in enumerate(variants, start=1):
        for policy, outcome in again(dataclasses.replace(scenario, profile=profile)).outcomes.items():
            rows[name].append(
                {
                    name: value,
                    "policy": policy,
                    "empty_s": outcome.empty_s,
                    "simulated_s": outcome.simulated_s,
                    "right_share": outcome.judged.right_share,
                    "accuracy": outcome.judged.accuracy,
                    "hottest_c": outcome.hottest_c,
                    "p99_s": outcome.latency_s["p99"],
                    "throttled_s": outcome.throttled_s,
                    "missed": outcome.total.missed,
                }
            )
        if report:
            report("sensitivity to capacity and ambient temperature", number, len(variants))
    return rows
