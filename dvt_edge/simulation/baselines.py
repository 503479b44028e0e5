"""The simple policies, one's own, and the one that knows the workload, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dvt_edge.device.operating_point import OperatingPoint
from dvt_edge.device.power_policy import EnergyQueue, PowerPolicy, PowerTable, Rule, allowed_rows
from dvt_edge.errors import SimulationError
from dvt_edge.simulation.clairvoyant import PlanChooser, best_plan
from dvt_edge.simulation.outcome import Outcome
from dvt_edge.simulation.simulator import Chooser, Scenario, compare
from dvt_edge.simulation.workload import HOUR

CLAIRVOYANT = "clairvoyant"


def uncertified_allowed(points: Sequence[OperatingPoint]) -> bool:
    """Whether policies need uncertified points to have a choice: nothing is certified but always the last exit."""
    return all(point.certificate is None or point.certificate.method == "always-last" for point in points)


def standard_policies(table: PowerTable, default: str, allow_uncertified: bool) -> dict[str, PowerPolicy]:
    """Always the costliest point, certified or not; and, within what is allowed, one fixed point, a rule table, battery
    level alone, and the energy queue.
    """
    fixed = PowerPolicy(default, allow_uncertified=allow_uncertified)
    names = [table.rows[k].name for k in allowed_rows(fixed, table)]
    cheapest, middle, costliest = names[0], names[len(names) // 2], names[-1]
    bands = len(names)

    def policy(otherwise: str, rules: Sequence[Rule] = (), queue: EnergyQueue | None = None) -> PowerPolicy:
        return PowerPolicy(otherwise, tuple(rules), queue, allow_uncertified=allow_uncertified)

    return {
        "always-last": PowerPolicy(table.rows[-1].name, allow_uncertified=True),
        "fixed": fixed,
        "rules": policy(
            default,
            [
                Rule(cheapest, thermal_at_least="serious"),
                Rule(costliest, charging=True),
                Rule(cheapest, battery_below=0.2),
                Rule(cheapest, low_power=True),
                Rule(middle, battery_below=0.5),
            ],
        ),
        "battery-only": policy(
            costliest, [Rule(name, battery_below=(k + 1) / bands) for k, name in enumerate(names[:-1])]
        ),
        "energy-queue": policy(default, queue=EnergyQueue()),
    }


@dataclass(frozen=True)
class Comparison:
    """Policies side by side; `bound` is the share of arriving images that no policy can beat until the target."""

    outcomes: dict[str, Outcome]
    bound: float | None
    allow_uncertified: bool

    def to_dict(self, scenario: Scenario) -> dict[str, Any]:
        """For JSON: what was simulated, the bound, and every outcome."""
        about = scenario.logits.about
        return {
            "device": scenario.profile.name,
            "artifact_sha256": about.artifact_sha256,
            "target": about.target,
            "data": about.data,
            "data_sha256": about.data_sha256,
            "target_s": scenario.target_s,
            "control_s": scenario.control_s,
            "seed": scenario.seed,
            "allow_uncertified": self.allow_uncertified,
            "bound": self.bound,
            "outcomes": {name: outcome.to_dict() for name, outcome in self.outcomes.items()},
        }


def with_own(standard: dict[str, PowerPolicy], own: dict[str, PowerPolicy]) -> dict[str, PowerPolicy]:
    """Both. Raises SimulationError where one's own has a standard name."""
    for name in own:
        if name in (*standard, CLAIRVOYANT):
            raise SimulationError(f"own policy {name!r}: the name of a standard policy; give it another")
    return {**standard, **own}


def compare_policies(
    scenario: Scenario,
    default: str,
    more: dict[str, PowerPolicy] | None = None,
    allow_uncertified: bool | None = None,
) -> Comparison:
    """The standard policies, `more`, and the clairvoyant where there is a target and labels are known.

    `allow_uncertified` None: `uncertified_allowed`. Raises SimulationError where one of `more` has a standard name, and
    where the workload ends before the target.
    """
    allow = uncertified_allowed(scenario.points) if allow_uncertified is None else allow_uncertified
    table = scenario.power_table
    policies: dict[str, PowerPolicy | Chooser] = {**with_own(standard_policies(table, default, allow), more or {})}
    plan, replay = None, scenario.replay()
    if scenario.target_s is not None and scenario.logits.labels is not None:
        plan = best_plan(scenario, allow, replay)
        policies[CLAIRVOYANT] = PlanChooser(plan, table)
    outcomes = compare(scenario, policies, replay)
    first = next(iter(outcomes.values()))
    if first.target_s is not None and first.until_target is None:
        ends, target = f"{first.simulated_s / HOUR:.4g} h", f"{first.target_s / HOUR:.4g} h"
        raise SimulationError(f"the workload ends after {ends}, the target is {target}; simulate at least that long")
    return Comparison(outcomes, plan.bound if plan else None, allow)
