"""The simulator: energy is conserved, the fast engine is the plain one, and the must-reach figures are reached."""

from __future__ import annotations

import dataclasses
import math
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.plain_simulator import Plain, plain_simulate
from support.simulated import MACS, POINTS, made_up_logits, point, small_profile
from support.synthetic import cascade_logits

from dvt_edge import CascadeBundle
from dvt_edge.calibration.exit_logits import ExitLogits, in_memory
from dvt_edge.calibration.thresholds import calibrate
from dvt_edge.device.manifest import ConfidenceSpec
from dvt_edge.device.power_policy import EnergyQueue, PowerPolicy, Rule
from dvt_edge.errors import DataError, SchemaError, SimulationError, WorkloadError
from dvt_edge.simulation import outcome as outcome_module
from dvt_edge.simulation.baselines import compare_policies, standard_policies
from dvt_edge.simulation.clairvoyant import knapsack, timetable
from dvt_edge.simulation.device_profile import MeasuredStages, open_profile
from dvt_edge.simulation.outcome import Latency, Outcome
from dvt_edge.simulation.replay import Shift
from dvt_edge.simulation.simulator import Rounding, Scenario, compare, scenario_of, simulate
from dvt_edge.simulation.workload import ChargeWindow, Diurnal, FixedRate, Poisson, Trace, Workload

HOUR = 3600.0


def scenario(workload: Workload, joules: float = 30.0, **parts: object) -> Scenario:
    thermal = parts.pop("thermal", {})
    return Scenario(
        made_up_logits(),
        POINTS,
        ConfidenceSpec("max_softmax", (1.0, 1.0, 1.0)),
        small_profile(joules, **thermal),  # type: ignore[arg-type]
        workload,
        **{"control_s": 5.0, **parts},  # type: ignore[arg-type]
    )


def policies(queue: bool) -> PowerPolicy:
    rules = (Rule("fast", thermal_at_least="serious", max_stage=1), Rule("fast", battery_below=0.3))
    return PowerPolicy("full", rules, EnergyQueue(30.0) if queue else None, dwell_s=7.0, allow_uncertified=True)


workloads = st.one_of(
    st.builds(FixedRate, st.sampled_from([0.0, 0.3, 7.0, 60.0, 150.0]), st.sampled_from([3.0, 40.0, 61.0])),
    st.builds(Poisson, st.sampled_from([2.0, 60.0, 200.0]), st.just(41.0), st.integers(0, 5)),
    st.builds(Diurnal, st.sampled_from([20.0, 90.0]), st.just(33.0), st.just(1.0), st.just(0.002), st.integers(0, 5)),
)
windows = st.tuples(st.floats(0, 40), st.floats(0.5, 20), st.floats(0.1, 9))
charges = st.lists(windows.map(lambda c: ChargeWindow(c[0], c[0] + c[1], c[2])), max_size=2).map(tuple)
COOL = {"limit_c": 60.0, "fair_c": 50.0, "serious_c": 60.0}
WARM = {"limit_c": 26.0, "fair_c": 25.5, "serious_c": 26.0, "slowdown_per_k": 0.5, "tau_s": 10.0}
WILD = {"limit_c": 25.2, "fair_c": 25.3, "serious_c": 30.0, "slowdown_per_k": 9.0, "max_slowdown": 6.0, "tau_s": 3.0}


@settings(max_examples=150)
@given(
    workload=workloads,
    charging=charges,
    joules=st.floats(1.0, 60.0),
    queue=st.booleans(),
    target=st.sampled_from([None, 20.0, 50.0]),
    thermal=st.sampled_from([COOL, WARM, WILD]),
    shift=st.sampled_from([None, 11.0]),
    step=st.sampled_from([0.0, 0.05]),
    rounding=st.sampled_from(["down", "nearest", "up"]),
    deadline=st.sampled_from([0.0051234, 0.0534321, 1.0123]),  # no wait is equal to them but for rounding
)
def test_the_fast_engine_agrees_with_the_plain_one(
    workload: Workload,
    charging: tuple[ChargeWindow, ...],
    joules: float,
    queue: bool,
    target: float | None,
    thermal: dict[str, float],
    shift: float | None,
    step: float,
    rounding: str,
    deadline: float,
) -> None:
    case = scenario(
        dataclasses.replace(workload, charging=charging),  # type: ignore[type-var]
        joules,
        target_s=target,
        level_step=step,
        level_rounding=rounding,
        deadline_s=deadline,
        shift=None if shift is None else Shift(shift),
        thermal=thermal,
    )
    fast, plain = simulate(case, policies(queue)), plain_simulate(case, policies(queue))
    check_same(fast, plain)


def check_same(fast: Outcome, plain: Plain) -> None:
    counts = fast.total
    found = (counts.arrived, counts.answered, counts.dropped, counts.off, counts.late, counts.right, counts.uncertified)
    assert found == (
        *(plain.arrived, plain.answered, plain.dropped, plain.off, plain.late, plain.right, plain.uncertified),
    )
    assert counts.exits == tuple(plain.exits)
    assert counts.arrived == counts.answered + counts.dropped + counts.off
    assert (fast.empty_s is None) == (plain.empty_s is None)
    if fast.empty_s is not None:
        assert fast.empty_s == pytest.approx(plain.empty_s, abs=1e-6)
    energy = fast.energy
    assert energy.end_j == pytest.approx(plain.battery_j, abs=1e-6)
    assert energy.base_j == pytest.approx(plain.base_j, abs=1e-6)
    assert sum(energy.stage_j) + energy.image_j == pytest.approx(plain.image_j, abs=1e-6)
    assert energy.charged_j == pytest.approx(plain.charged_j, abs=1e-6)
    assert energy.lost_j == pytest.approx(plain.lost_j, abs=1e-6)
    assert abs(energy.imbalance_j) <= 1e-9 * (energy.start_j + energy.charged_j)
    assert fast.series["level"].tolist() == pytest.approx(plain.levels, abs=1e-7)
    assert fast.series["temperature_c"].tolist() == pytest.approx(plain.temperatures, abs=1e-6)
    names = [None if p < 0 else fast.points[int(p)] for p in fast.series["point"]]
    assert names == plain.choices
    if plain.latencies:
        for name, share in (("p50", 50), ("p95", 95), ("p99", 99)):
            exact = np.percentile(plain.latencies, share, method="inverted_cdf")
            assert fast.latency_s[name] == pytest.approx(exact, rel=0.011)
    else:
        assert set(fast.latency_s.values()) == {None}


def test_an_image_that_waits_across_ticks_is_seen_when_the_device_has_cooled() -> None:
    """The shortcut for images that cannot wait must not forget one that is still being worked on."""
    slow = {"limit_c": 34.6, "fair_c": 34.6, "serious_c": 34.6, "slowdown_per_k": 400.0, "max_slowdown": 80.0}
    case = scenario(FixedRate(20.0, 6.0), 60.0, deadline_s=2.0, control_s=0.5, thermal={**slow, "tau_s": 0.01})
    cooling = PowerPolicy("full", (Rule("fast", 0, thermal_at_least="serious"),), dwell_s=0, allow_uncertified=True)
    fast, plain = simulate(case, cooling), plain_simulate(case, cooling)
    assert max(plain.latencies) > 0.2
    check_same(fast, plain)


def test_the_battery_is_empty_at_the_very_image() -> None:
    """5 W of nothing but images: the one that cannot be paid for is the one after capacity / energy of an image."""
    case = scenario(FixedRate(10.0, 100.0), joules=1.0)
    profile = dataclasses.replace(case.profile, power=dataclasses.replace(case.profile.power, idle_w=0.0))
    case = dataclasses.replace(case, profile=profile)
    outcome = simulate(case, PowerPolicy("full", allow_uncertified=True))
    each = case.costs.exit_j[-1]
    paid = math.floor(1.0 / each)
    assert outcome.total.answered == paid and outcome.empty_s == pytest.approx(paid / 10)
    assert outcome.energy.lost_j == pytest.approx(1.0 - paid * each)


def test_an_empty_device_comes_back_when_it_is_charged() -> None:
    case = scenario(FixedRate(10.0, 200.0, (ChargeWindow(100.0, 200.0, 1.0),)), joules=20.0)
    outcome = simulate(case, PowerPolicy("full", allow_uncertified=True))
    assert outcome.empty_s is not None and outcome.empty_s < 60
    times, points = outcome.series["time_s"], outcome.series["point"]
    assert (points[(times > 70) & (times <= 100)] == -1).all() and (points[times > 110] == 2).all()
    assert outcome.energy.charged_j > 15


def test_it_is_deterministic_by_seed_and_policies_see_the_same_images() -> None:
    def run(seed: int) -> dict[str, Outcome]:
        case = scenario(Poisson(40.0, 60.0, seed=seed), seed=seed)
        return compare(case, {"a": policies(True), "b": policies(True), "c": policies(False)})

    first, again, other = run(1), run(1), run(2)
    assert first["a"].to_dict() == again["a"].to_dict()
    assert first["a"].to_dict() | {"policy": ""} == first["b"].to_dict() | {"policy": ""}
    assert first["a"].total != other["a"].total


def test_every_outcome_says_what_is_estimated_and_uncertified() -> None:
    case = scenario(FixedRate(20.0, 30.0), joules=500.0)
    outcome = simulate(case, PowerPolicy("fast", allow_uncertified=True))
    assert outcome.estimated == ("battery", "base power", "thermal model", "stage costs")
    assert outcome.total.uncertified == outcome.total.answered == 600
    mine = MeasuredStages(
        "given", case.logits.about.artifact_sha256, (1.0, 2.0, 3.0), (1.0, 2.0, 3.0), 0.0, 0.0, 9, "log"
    )
    measured = dataclasses.replace(case, profile=dataclasses.replace(case.profile, measured=(mine,)))
    outcome = simulate(measured, PowerPolicy("full", allow_uncertified=True))
    assert outcome.estimated == ("battery", "base power", "thermal model")
    assert outcome.energy.stage_j == pytest.approx((0.6, 1.2, 1.8))
    certified = dataclasses.replace(case, points=(dataclasses.replace(POINTS[0], name="x"), *POINTS[1:]))
    assert simulate(certified, PowerPolicy("x", allow_uncertified=False)).point_images == (0, 0, 600)


def test_without_labels_everything_but_accuracy_is_told() -> None:
    case = scenario(FixedRate(20.0, 30.0), joules=10.0, target_s=20.0)
    unlabelled = dataclasses.replace(case, logits=dataclasses.replace(case.logits, labels=None))
    known, blind = (compare_policies(c, "balanced") for c in (case, unlabelled))
    assert "clairvoyant" in known.outcomes and "clairvoyant" not in blind.outcomes and blind.bound is None
    for name, outcome in blind.outcomes.items():
        assert outcome.total.right is outcome.total.accuracy is outcome.judged.right_share is None
        assert outcome.empty_s == known.outcomes[name].empty_s


def test_memory_does_not_grow_with_the_length_of_the_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome_module, "SERIES_ROWS", 64)

    def peak(images: int) -> int:
        path = tmp_path / f"{images}.csv"
        with path.open("w") as file:
            file.write("time_s\n")
            for k in range(images):
                file.write(f"{k / 4}\n")
        case = scenario(Trace(path), joules=1e6, control_s=1.0)
        tracemalloc.start()
        outcome = simulate(case, PowerPolicy("full", allow_uncertified=True))
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert outcome.total.arrived == images
        return used

    full = 4 * 64  # images until the record over time is full: 4 a tick
    peak(8 * full)
    short = peak(8 * full)
    assert peak(80 * full) < 1.1 * short


def test_percentiles_are_within_half_a_percent() -> None:
    values = np.random.default_rng(0).lognormal(-4, 1, 20_000)
    histogram = Latency()
    histogram.add(values[:10_000])
    for value in values[10_000:].tolist():
        histogram.add_equal(value, 1)
    for name, share in (("p50", 50), ("p95", 95), ("p99", 99)):
        exact = np.percentile(values, share, method="inverted_cdf")
        assert histogram.percentiles()[name] == pytest.approx(exact, rel=0.0051)


@given(st.integers(1, 4), st.integers(1, 6), st.integers(0, 10_000), st.floats(0, 1))
def test_the_plan_keeps_its_budget_and_no_plan_beats_the_bound(
    columns: int, rows: int, seed: int, share: float
) -> None:
    random = np.random.default_rng(seed)
    energy = np.sort(random.random((rows, columns)), axis=1)
    right = np.sort(random.random((rows, columns)), axis=1)
    low, high = energy.min(axis=1).sum(), energy.max(axis=1).sum()
    budget = low + share * (high - low) + 1e-9
    plan = knapsack(energy, right, budget)
    assert energy[np.arange(rows), plan.columns].sum() <= budget + 1e-9
    grid = np.stack(np.meshgrid(*[np.arange(columns)] * rows, indexing="ij"), axis=-1).reshape(-1, rows)
    feasible = energy[np.arange(rows), grid].sum(axis=1) <= budget
    assert right[np.arange(rows), grid].sum(axis=1)[feasible].max() <= plan.bound + 1e-9


@pytest.mark.timeout(20)
@pytest.mark.parametrize("gain", [0.0, 1e-200, 1e-9])
def test_a_plan_ends_where_dear_points_give_nothing_more(gain: float) -> None:
    energy = np.tile([2.0, 1.0], (10, 1))
    right = np.tile([gain, 0.0], (10, 1))
    plan = knapsack(energy, right, 15.0)
    spent = float(energy[np.arange(10), plan.columns].sum())
    assert spent <= 15.0 and plan.bound >= right[np.arange(10), plan.columns].sum() and (gain or spent == 10.0)


@settings(max_examples=150)
@given(
    workload=workloads,
    charging=charges,
    joules=st.floats(0.5, 60.0),
    shift=st.sampled_from([None, 11.0]),
    thermal=st.sampled_from([COOL, WARM, WILD]),
    deadline=st.sampled_from([0.0, 0.0051234, 0.0534321, 1.0123, 1e3]),
    allow=st.booleans(),
    slower=st.sampled_from([1.0, 5.0, 40.0]),
)
def test_no_policy_beats_the_bound(
    workload: Workload,
    charging: tuple[ChargeWindow, ...],
    joules: float,
    shift: float | None,
    thermal: dict[str, float],
    deadline: float,
    allow: bool,
    slower: float,
) -> None:
    """Nor one that dies, comes back, drops images, is slowed down by heat, or caps its stages."""
    case = scenario(
        dataclasses.replace(workload, charging=charging),  # type: ignore[type-var]
        joules,
        target_s=workload.duration_s,
        deadline_s=deadline,
        shift=None if shift is None else Shift(shift),
        thermal=thermal,
    )
    estimates = tuple(dataclasses.replace(e, gmacs_per_s=e.gmacs_per_s / slower) for e in case.profile.estimated)
    case = dataclasses.replace(case, profile=dataclasses.replace(case.profile, estimated=estimates))
    own = {f"{k}": policies(queue) for k, queue in enumerate((False, True))}
    own |= {p.name: PowerPolicy(p.name, allow_uncertified=True) for p in POINTS}
    own["capped"] = PowerPolicy("full", (Rule("full", 1, charging=False),), allow_uncertified=True)
    found = compare_policies(case, "balanced", own, allow)
    for outcome in found.outcomes.values():
        counts = outcome.judged
        if counts.arrived:
            assert found.bound is not None and counts.right is not None
            assert counts.right <= found.bound * counts.arrived + 1e-6


def measured(case: Scenario, stage_ms: tuple[float, ...], stage_mj: tuple[float, ...]) -> Scenario:
    """The same with stages of these costs and nothing beside them."""
    stages = MeasuredStages("given", case.logits.about.artifact_sha256, stage_ms, stage_mj, 0.0, 0.0, 9, "made up")
    power = dataclasses.replace(case.profile.power, idle_w=0.0, screen_w=0.0)
    return dataclasses.replace(case, profile=dataclasses.replace(case.profile, measured=(stages,), power=power))


def test_the_bound_does_not_pay_for_images_that_a_slow_device_drops() -> None:
    """Every second image is wrong, dear, and dropped, because the one before is still in work: a lucky policy."""
    labels = np.array([0, 0])
    easy, hopeless = [[9.0, 0.0, 0.0]] * 3, [[0.0, 0.2, 0.1]] * 3
    logits = in_memory(np.array([easy, hopeless], np.float32), labels, MACS)
    case = dataclasses.replace(scenario(FixedRate(100.0, 60.0), 3.3, target_s=60.0, deadline_s=0.0), logits=logits)
    case = measured(case, (15.0, 5.0, 5.0), (1.0, 1.0, 8.0))
    found = compare_policies(case, "balanced", {"lucky": PowerPolicy("balanced", allow_uncertified=True)})
    lucky = found.outcomes["lucky"].judged
    assert lucky.right_share == pytest.approx(0.5, abs=0.001) and found.bound is not None
    assert lucky.right_share <= found.bound <= 0.51


def test_the_clairvoyant_knows_how_fast_its_device_is() -> None:
    """`full` takes twice the time that there is: half of its images would be dropped."""
    case = scenario(FixedRate(50.0, 60.0), 1e4, target_s=60.0, deadline_s=0.1)
    case = measured(case, (5.0, 5.0, 30.0), (1.0, 1.0, 2.0))
    own = {p.name: PowerPolicy(p.name, allow_uncertified=True) for p in POINTS}
    found = compare_policies(case, "balanced", own).outcomes
    best = max(found[name].judged.right or 0 for name in own)
    assert (found["full"].judged.right or 0) < 0.7 * best
    assert (found["clairvoyant"].judged.right or 0) >= 0.99 * best


def test_the_bound_is_near_where_nothing_is_dropped() -> None:
    case = scenario(FixedRate(30.0, 60.0), 30.0, target_s=60.0)
    found = compare_policies(case, "balanced", allow_uncertified=True)
    assert found.bound is not None and case.costs.exit_s[-1] < 1 / 30
    best = max(outcome.judged.right_share or 0.0 for outcome in found.outcomes.values())
    assert best <= found.bound < best + 0.03


@given(st.integers(0, 10_000), st.floats(0.2, 3.0))
def test_a_plan_with_charges_never_runs_dry_where_the_cheapest_does_not(seed: int, capacity: float) -> None:
    random = np.random.default_rng(seed)
    ticks = 40
    energy = np.sort(random.random((ticks, 3)), axis=1)
    right = np.sort(random.random((ticks, 3)), axis=1)
    charge = np.where(random.random(ticks) < 0.2, 5 * random.random(ticks), 0.0)
    base = np.full(ticks, 0.05)

    def lowest(columns: np.ndarray) -> float:
        level = least = 10 * capacity
        for k in range(ticks):
            level = min(10 * capacity, level + charge[k] - base[k] - energy[k, columns[k]])
            least = min(least, level)
        return least

    def missing(columns: np.ndarray) -> float:
        """Joules that a battery which is at worst empty could not give."""
        level, total = 10 * capacity, 0.0
        for k in range(ticks):
            level = min(10 * capacity, level + charge[k] - base[k] - energy[k, columns[k]])
            total, level = total + max(0.0, -level), max(0.0, level)
        return total

    cheapest = np.zeros(ticks, dtype=np.int64)
    columns = timetable(energy, right, charge, base, 10 * capacity, 10 * capacity)
    within = energy.max() + charge.max()  # a charge is spread over its tick, and a plan is made of whole ticks
    if lowest(cheapest) >= 0:
        assert lowest(columns) >= -within
    assert missing(columns) <= missing(cheapest) + 2 * within
    if lowest(cheapest) > within:
        assert right[np.arange(ticks), columns].sum() >= right[np.arange(ticks), cheapest].sum() - 1e-9


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"control_s": 0.0}, "control_s 0; expected"),
        ({"control_s": math.nan}, "control_s nan"),
        ({"start_level": 1.5}, "start_level 1.5; expected 0 to 1"),
        ({"target_s": -1.0}, "target_s -1"),
        ({"points": ()}, "no operating points"),
        ({"points": (point("two", 0.5, 0.0),)}, "'two' has 2 thresholds; the logits have 3 exits"),
        ({"confidence": ConfidenceSpec("max_softmax", (1.0,))}, "1 temperatures"),
    ],
)
def test_parts_that_do_not_fit_are_one_line(change: dict[str, object], words: str) -> None:
    with pytest.raises(SimulationError, match=words) as error:
        simulate(dataclasses.replace(scenario(FixedRate(1.0, 10.0)), **change), PowerPolicy("full"))  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_a_tick_of_too_many_images_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="3e\\+12 images a second; expected 0 to 1e\\+06"):
        FixedRate(3e12, 10.0)
    case = dataclasses.replace(scenario(FixedRate(900_000.0, 100.0)), control_s=100.0)
    with pytest.raises(SimulationError, match=r"90,000,000 images in one tick of 100 s; .* smaller control_s"):
        simulate(case, PowerPolicy("full"))


def test_logits_that_are_not_finite_name_image_and_exit() -> None:
    logits = made_up_logits()
    logits.logits[7, 1, 2] = np.nan
    with pytest.raises(SimulationError, match="image 7, exit 1"):
        simulate(dataclasses.replace(scenario(FixedRate(1.0, 10.0)), logits=logits), PowerPolicy("full"))


def test_a_profile_without_costs_for_the_target_says_which_it_has() -> None:
    case = dataclasses.replace(scenario(FixedRate(1.0, 10.0)), profile=open_profile("camera-a53"))
    with pytest.raises(SchemaError, match="none estimated for given; estimated: onnx-fp32, onnx-int8"):
        simulate(case, PowerPolicy("full"))
    with pytest.raises(SimulationError, match="names the operating point 'best'; there are: fast, balanced, full"):
        simulate(scenario(FixedRate(1.0, 10.0)), PowerPolicy("best"))


# -- the shipped cascade on an example profile -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def camera(zoo_bundle: CascadeBundle) -> Scenario:
    """The shipped cascade's stages, 30 images a second, on the example camera; 24 hours are more than it lasts.

    Images and points are made up, and enough of them, so that a point that costs more does give more.
    """
    drawn = cascade_logits(20_000, seed=1)
    about = dataclasses.replace(
        drawn.about, target="onnx-fp32", artifact_sha256=zoo_bundle.artifacts_sha256, macs=zoo_bundle.manifest.macs
    )
    logits = ExitLogits(drawn.logits, drawn.labels, about)
    searched = cascade_logits(8000, seed=2)
    found = calibrate(ExitLogits(searched.logits, searched.labels, dataclasses.replace(about, images=8000)))
    bundle = CascadeBundle(zoo_bundle.folder, found.apply_to(zoo_bundle.manifest))
    return scenario_of(
        bundle, logits, profile=open_profile("camera-a53"), workload=FixedRate(30.0, 24 * HOUR), target_s=24 * HOUR
    )


def images_per_s(case: Scenario) -> float:
    """30, or what the device can just run to the last exit."""
    return min(30.0, 0.8 / case.costs.exit_s[-1])


def binding_hours(case: Scenario) -> list[float]:
    """Targets between what the costliest and the cheapest point last."""
    table = case.power_table
    ends, rate = (table.rows[-1], table.rows[0]), images_per_s(case)
    lasts = [table.capacity_j / (table.base_w + rate * row.energy_j) / HOUR for row in ends]
    return [lasts[0] + share * (lasts[1] - lasts[0]) for share in (0.15, 0.5, 0.85)]


@pytest.mark.parametrize("rounding", ["down", "nearest", "up"])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_the_energy_queue_meets_its_target_and_loses_at_most_a_point(
    camera: Scenario, zoo_bundle: CascadeBundle, which: int, rounding: Rounding
) -> None:
    target_s = binding_hours(camera)[which] * HOUR
    load = FixedRate(images_per_s(camera), 1.2 * target_s)
    case = dataclasses.replace(camera, target_s=target_s, workload=load, level_rounding=rounding)
    found = compare_policies(case, zoo_bundle.manifest.default_operating_point)
    last, queue, plan = (found.outcomes[n] for n in ("always-last", "energy-queue", "clairvoyant"))
    assert last.empty_s is not None and last.empty_s < 0.99 * target_s, "the battery must be binding"
    assert queue.empty_s == pytest.approx(target_s, rel=0.01)
    assert plan.empty_s == pytest.approx(target_s, rel=0.01)
    assert queue.judged.right_share > plan.judged.right_share - 0.01
    assert found.bound is not None
    for outcome in found.outcomes.values():
        assert outcome.judged.right_share <= found.bound + 1e-9
        assert abs(outcome.energy.imbalance_j) <= 1e-12 * outcome.energy.start_j * outcome.series["time_s"].size


def test_a_queue_that_is_wrong_about_the_battery_still_comes_close(camera: Scenario, zoo_bundle: CascadeBundle) -> None:
    """It sees the true level, so that a wrong capacity or base power is mended on the way."""
    target_s = binding_hours(camera)[1] * HOUR
    power = dataclasses.replace(camera.profile.power, idle_w=0.95 * camera.profile.power.idle_w)
    case = dataclasses.replace(
        camera,
        target_s=target_s,
        workload=FixedRate(images_per_s(camera), 1.2 * target_s),
        believed=dataclasses.replace(camera.profile, power=power),
    )
    queue = standard_policies(case.power_table, zoo_bundle.manifest.default_operating_point, True)["energy-queue"]
    assert simulate(case, queue).empty_s == pytest.approx(target_s, rel=0.02)


def test_a_shift_to_harder_images_costs_energy_and_accuracy(camera: Scenario) -> None:
    def run(shift: Shift | None) -> Outcome:
        case = dataclasses.replace(camera, workload=FixedRate(images_per_s(camera), 2 * HOUR), shift=shift)
        return simulate(case, PowerPolicy(case.points[1].name, allow_uncertified=True))

    plain, shifted = run(None), run(Shift(HOUR))
    assert sum(shifted.energy.stage_j) > sum(plain.energy.stage_j)
    assert shifted.total.accuracy < plain.total.accuracy - 0.01
    before = plain.series["time_s"] <= HOUR
    for name in ("right", "answered_exit0"):
        assert (plain.series[name][before] == shifted.series[name][before]).all()


def best_of(runs: int, work: object, enough: float = 0.0) -> float:
    """Processor seconds of the fastest of `runs`, or of the first that takes no more than `enough`."""
    times = []
    for _ in range(runs):
        start = time.process_time()
        work()  # type: ignore[operator]
        times.append(time.process_time() - start)
        if times[-1] <= enough:
            break
    return min(times)


@pytest.mark.timed
def test_twenty_million_decisions_a_second_and_a_day_of_six_policies_in_two_seconds(
    camera: Scenario, zoo_bundle: CascadeBundle
) -> None:
    """On a device that keeps up with 30 images a second, whatever the cascade, and whose battery lasts the day."""
    default = zoo_bundle.manifest.default_operating_point
    estimate = dataclasses.replace(camera.profile.counted[0], clock_ghz=25.0)
    battery = dataclasses.replace(camera.profile.battery, capacity_mah=8000.0)
    day = dataclasses.replace(camera, profile=dataclasses.replace(camera.profile, counted=(estimate,), battery=battery))
    queue = standard_policies(day.power_table, default, True)["energy-queue"]
    assert simulate(day, queue).total.answered == 2_592_000
    assert 2_592_000 / best_of(100, lambda: simulate(day, queue), enough=2_592_000 / 20e6) >= 20e6
    six = compare_policies(day, default)
    assert len(six.outcomes) == 6 and all(o.total.answered == 2_592_000 for o in six.outcomes.values())
    assert best_of(2, lambda: compare_policies(day, default)) < 2


def test_logits_of_another_bundle_are_refused(zoo_bundle: CascadeBundle) -> None:
    with pytest.raises(DataError, match="came from given artifacts"):
        scenario_of(zoo_bundle, made_up_logits())
