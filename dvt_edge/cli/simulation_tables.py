"""What `dvt-edge simulate` prints: policies side by side, and what of it is only estimated."""

from __future__ import annotations

from rich.console import Console

from dvt_edge.cli.tables import percent, shares, table
from dvt_edge.simulation.baselines import Comparison
from dvt_edge.simulation.outcome import Outcome
from dvt_edge.simulation.simulator import Scenario
from dvt_edge.simulation.workload import HOUR


def basis_line(outcome: Outcome) -> str:
    """What is estimated and what measured, as it must stand beside every figure."""
    parts = {
        kind: [part for part, basis in outcome.basis.items() if basis == kind] for kind in ("estimated", "measured")
    }
    return "; ".join(f"{kind.upper()}: {', '.join(names)}" for kind, names in parts.items() if names)


def believed_line(scenario: Scenario) -> str | None:
    """What policies believe of the device where that is wrong; the clairvoyant is never wrong."""
    told, true = scenario.told, scenario.profile
    pairs = {
        "base power": (told.base_w(scenario.screen), true.base_w(scenario.screen), "W"),
        "battery": (told.battery.joules / HOUR, true.battery.joules / HOUR, "Wh"),
        "an image to the last exit": (scenario.costs_on(told).exit_j[-1] * 1e3, scenario.costs.exit_j[-1] * 1e3, "mJ"),
    }
    wrong = [f"{what} {a:.4g} {unit} (is {b:.4g})" for what, (a, b, unit) in pairs.items() if a != b]
    return f"policies believe: {', '.join(wrong)}" if wrong else None


def lifetime(outcome: Outcome) -> str:
    if outcome.empty_s is None:
        return f"> {outcome.simulated_s / HOUR:.2f}"
    return f"{outcome.empty_s / HOUR:.2f}"


def against_target(outcome: Outcome) -> str:
    if outcome.target_s is None or outcome.empty_s is None:
        return "-"
    return f"{outcome.empty_s / outcome.target_s - 1:+.2%}"


def print_comparison(console: Console, scenario: Scenario, comparison: Comparison) -> None:
    outcomes = list(comparison.outcomes.values())
    first, about = outcomes[0], scenario.logits.about
    console.print(
        f"{about.name} {about.target} on {scenario.profile.name}, {scenario.profile.battery.joules / HOUR:.1f} Wh; "
        f"{first.total.arrived:,} images in {first.simulated_s / HOUR:.2f} h, replayed from {len(scenario.logits)} "
        f"of {about.data}",
        highlight=False,
        soft_wrap=True,
    )
    console.print(basis_line(first), highlight=False, soft_wrap=True)
    if told := believed_line(scenario):
        console.print(told, highlight=False, soft_wrap=True)
    if comparison.allow_uncertified:
        console.print("operating points without a certificate are allowed: UNCERTIFIED", highlight=False)
    until = "" if scenario.target_s is None else f", until the target of {scenario.target_s / HOUR:g} h"
    lives = table(f"policies{until}", "policy", "battery h", "to target", "right of all", "of answered", "exits")
    times = table("the whole time", "policy", "p50 ms", "p95 ms", "p99 ms", "missed", "hottest C", "uncertified")
    stages = [f"stage{k}" for k in range(len(first.energy.stage_j))]
    costs = table("Wh over the whole time", "policy", "base", *stages, "images", "charged", "left")
    for made in (lives, times, costs):
        made.columns[0].no_wrap = True
    for o in outcomes:
        counts, every, energy = o.judged, o.total, o.energy
        mix = [n / max(1, counts.answered) for n in counts.exits]
        right = precise(counts.right_share), precise(counts.accuracy)
        lives.add_row(o.policy, lifetime(o), against_target(o), *right, shares(mix))
        times.add_row(
            o.policy,
            *("-" if s is None else f"{s * 1e3:.1f}" for s in o.latency_s.values()),
            percent(every.missed / max(1, every.arrived)),
            f"{o.hottest_c:.1f}",
            percent(every.uncertified / max(1, every.answered)),
        )
        joules = (energy.base_j, *energy.stage_j, energy.image_j, energy.charged_j, energy.end_j)
        costs.add_row(o.policy, *(f"{j / HOUR:.2f}" for j in joules))
    console.print(lives)
    if comparison.bound is not None:
        line = f"no policy over these points has more than {comparison.bound:.2%} right of all"
        console.print(line, highlight=False, soft_wrap=True)
    console.print(times)
    console.print(costs)


def precise(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"
