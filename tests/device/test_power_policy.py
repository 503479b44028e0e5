"""The power policy of docs/power-policy.md, case by case; tests/golden/power_policy.json is for the other languages."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_bundle import FakeEngine, write_bundle

from dvt_edge.device import runtime as runtime_module
from dvt_edge.device.bundle import CascadeBundle, set_policy
from dvt_edge.device.device_state import THERMAL, DeviceState
from dvt_edge.device.operating_point import Certificate, OperatingPoint
from dvt_edge.device.power_policy import (
    Choice,
    EnergyQueue,
    Memory,
    PointRow,
    PowerPolicy,
    PowerTable,
    Rule,
    base_draw,
    choose,
    mean_cost,
    power_table,
    used,
)
from dvt_edge.device.runtime import Runtime
from dvt_edge.device.schema import from_json
from dvt_edge.errors import ManifestError, SchemaError

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/power_policy.json").read_text())
ROWS = tuple(from_json(PointRow, row, "row") for row in GOLDEN["table"]["rows"])
TABLE = PowerTable(GOLDEN["table"]["stages"], ROWS, None, GOLDEN["table"]["capacity_j"], GOLDEN["table"]["base_w"])


def numbers(values: dict[str, Any]) -> dict[str, Any]:
    """Numbers that JSON lacks stand as strings."""
    return {k: float(v) if v in ("nan", "inf", "-inf") else v for k, v in values.items()}


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda c: c["name"])
def test_golden_cases_hold(case: dict[str, Any]) -> None:
    policy: PowerPolicy = from_json(PowerPolicy, case["policy"], "policy")
    table = TABLE
    if "certified" in case:
        rows = tuple(dataclasses.replace(r, certified=r.name in case["certified"]) for r in ROWS)
        table = dataclasses.replace(TABLE, rows=rows)
    memory = Memory()
    for step in case["steps"]:
        memory = used(memory, **numbers(step.get("used", {"images": 0, "energy_j": 0.0})))
        choice, memory = choose(policy, table, DeviceState(**numbers(step["state"])), memory)
        expected = dict(step["expected"])
        if "queue_j" in expected:
            queue_j = expected.pop("queue_j")
            assert memory.queue_j == (None if queue_j is None else pytest.approx(queue_j, rel=GOLDEN["tolerance"]))
        if "base_w" in expected:
            learned = pytest.approx(expected.pop("base_w"), rel=GOLDEN["tolerance"])
            assert base_draw(policy, table, memory.drain) == learned
        assert dataclasses.asdict(choice) == expected


@pytest.mark.parametrize("case", GOLDEN["costs"]["cases"], ids=str)
def test_golden_costs_hold(case: dict[str, Any]) -> None:
    joules = None if case["exit_j"] is None else tuple(case["exit_j"])
    choice = Choice(case["point"], case["max_stage"], uncertified=True)
    found = mean_cost(dataclasses.replace(TABLE, exit_j=joules), choice)
    assert found == pytest.approx(case["cost"], rel=GOLDEN["tolerance"])


@pytest.mark.parametrize("case", GOLDEN["tables"]["cases"], ids=["energies", "energies unknown"])
def test_golden_tables_hold(case: dict[str, Any]) -> None:
    """The accuracy that policies weigh: the expected top-1, else the top-1, else the agreement."""
    golden = GOLDEN["tables"]
    certificate = Certificate(
        "disagreement", "always-last", 0.0, 0.0, 0, "0" * 64, "0" * 64, (0.5, 0.5, 0.0), "max_softmax", (1.0,) * 3, 1
    )
    points = [
        OperatingPoint(
            **{k: tuple(v) if k == "exit_shares" else v for k, v in values.items() if k != "certified"},
            thresholds=(0.5, 0.5, 0.0),
            mean_macs=1.0,
            images=10,
            data="given",
            certificate=certificate if values["certified"] else None,
        )
        for values in golden["points"]
    ]
    rows = power_table(points, case["exit_j"]).rows
    assert [row.name for row in rows] == [p["name"] for p in golden["points"]]
    assert [row.certified for row in rows] == [p["certified"] for p in golden["points"]]
    assert [row.accuracy for row in rows] == golden["accuracy"]
    if case["exit_j"] is None:
        assert [row.energy_j for row in rows] == case["energy_j"]
    else:
        assert [row.energy_j for row in rows] == pytest.approx(case["energy_j"], rel=GOLDEN["tolerance"])


levels = st.one_of(st.none(), st.floats(), st.floats(0, 1))
wild = st.one_of(st.none(), st.floats(), st.floats(0, 8e4), st.sampled_from([5e-324, 1e-300, 1e300]))
states = st.builds(
    DeviceState,
    battery_level=levels,
    charging=st.booleans(),
    low_power=st.booleans(),
    thermal=st.sampled_from(THERMAL),
    lifetime_s=wild,
    time_s=st.floats(0, 8e4),
    energy_left_j=wild,
)
names = st.sampled_from([row.name for row in ROWS])
rules = st.builds(
    Rule,
    point=names,
    max_stage=st.one_of(st.none(), st.integers(0, 3)),
    battery_below=st.one_of(st.none(), st.floats(0.01, 1)),
    charging=st.one_of(st.none(), st.booleans()),
    low_power=st.one_of(st.none(), st.booleans()),
    thermal_at_least=st.one_of(st.none(), st.sampled_from(THERMAL)),
)
policies = st.builds(
    PowerPolicy,
    otherwise=names,
    rules=st.lists(rules, max_size=4).map(tuple),
    queue=st.one_of(st.none(), st.builds(EnergyQueue, st.floats(1, 1e4), st.one_of(st.none(), st.floats(0.01, 100)))),
    hysteresis=st.floats(0, 0.2),
    dwell_s=st.floats(0, 100),
    cool_s=st.floats(0, 100),
    allow_uncertified=st.booleans(),
)
History = list[tuple[DeviceState, int, float]]
steps = st.lists(st.tuples(states, st.integers(0, 1000), st.floats()), min_size=1, max_size=12)


@given(policies, steps, st.lists(wild, min_size=12, max_size=12))
def test_any_state_has_an_answer_that_keeps_the_certificates(
    policy: PowerPolicy, history: History, clock: list[float | None]
) -> None:
    memory = Memory()
    for (state, images, joules), time_s in zip(history, clock, strict=False):
        state = dataclasses.replace(state, time_s=time_s)
        choice, memory = choose(policy, TABLE, state, used(memory, images, joules))
        row = next(r for r in ROWS if r.name == choice.point)
        assert choice.uncertified == (not row.certified or choice.max_stage is not None)
        assert policy.allow_uncertified or not choice.uncertified
        assert memory.queue_j is None or 0 <= memory.queue_j < math.inf
        assert math.isfinite(memory.now_s) and math.isfinite(base_draw(policy, TABLE, memory.drain))
        assert choose(policy, TABLE, state, memory) == choose(policy, TABLE, state, memory)


def rank(choice: Choice) -> tuple[float, int]:
    """By the stages that an image runs on average, where energies are not known; then by the table."""
    last = TABLE.stages - 1 if choice.max_stage is None else choice.max_stage
    shares = next(row.exit_shares for row in ROWS if row.name == choice.point)
    stages = sum(share * (1 + min(k, last)) for k, share in enumerate(shares))
    return round(stages, 9), [row.name for row in ROWS].index(choice.point)


def by_heat(policy: PowerPolicy, memory: Memory) -> bool:
    return memory.rule is not None and policy.rules[memory.rule].thermal_at_least is not None


def wanted(policy: PowerPolicy, state: DeviceState, memory: Memory) -> Choice:
    """What the policy chooses of this state without a dwell."""
    return choose(dataclasses.replace(policy, dwell_s=0.0), TABLE, state, memory)[0]


@given(policies, steps)
def test_only_costlier_choices_wait_for_the_dwell_and_heat_never_does(policy: PowerPolicy, history: History) -> None:
    memory, changed, before = Memory(), 0.0, None
    for state, _, _ in sorted(history, key=lambda step: step[0].time_s):
        asked = wanted(policy, state, memory)
        choice, memory = choose(policy, TABLE, state, memory)
        if before is not None and choice != asked:
            assert choice == before and rank(asked) > rank(before)
            assert state.time_s - changed < policy.dwell_s + 1e-6 and not by_heat(policy, memory)
        if before is not None and choice != before and rank(choice) > rank(before):
            assert by_heat(policy, memory) or state.time_s - changed >= policy.dwell_s - 1e-6
        changed = state.time_s if choice != before else changed
        before = choice


@given(policies, steps, st.lists(wild, min_size=12, max_size=12))
def test_no_clock_disables_anything_for_good(policy: PowerPolicy, history: History, clock: list[float | None]) -> None:
    """Whatever times came, after two good ones that are far enough apart the policy does what it wants."""
    memory = Memory()
    for (state, images, joules), time_s in zip(history, clock, strict=False):
        _, memory = choose(policy, TABLE, dataclasses.replace(state, time_s=time_s), used(memory, images, joules))
    calm = DeviceState(time_s=1000.0)
    _, memory = choose(policy, TABLE, calm, memory)
    calm = DeviceState(time_s=1000.0 + policy.dwell_s + policy.cool_s + 1.0)
    choice, _ = choose(policy, TABLE, calm, memory)
    assert choice == choose(policy, TABLE, calm, Memory())[0]


@pytest.mark.parametrize("tick", [1.0, 5.0, 60.0])
def test_a_thermal_rule_is_left_a_stated_time_after_the_heat_whatever_the_tick(tick: float) -> None:
    policy = PowerPolicy("full", (Rule("fast", thermal_at_least="serious"),), cool_s=120.0, dwell_s=0.0)
    policy = dataclasses.replace(policy, otherwise="accurate", allow_uncertified=True)
    memory, left_s = Memory(), None
    for k in range(round(600 / tick)):
        hot = 60 <= k * tick < 180  # and nominal from then on
        state = DeviceState(thermal="serious" if hot else "nominal", time_s=k * tick)
        choice, memory = choose(policy, TABLE, state, memory)
        if choice.point == "accurate" and k * tick >= 60:
            left_s = k * tick
            break
    assert left_s is not None and 180 + 120 - tick <= left_s <= 180 + 120


@given(st.floats(0.05, 0.95), st.lists(st.floats(-0.014, 0.014), min_size=2, max_size=30))
def test_a_level_that_dithers_less_than_the_hysteresis_changes_the_point_at_most_once(
    limit: float, noise: list[float]
) -> None:
    policy = PowerPolicy("accurate", (Rule("fast", battery_below=limit),), hysteresis=0.03, dwell_s=0)
    memory, points = Memory(), []
    for wobble in noise:
        choice, memory = choose(policy, TABLE, DeviceState(battery_level=limit + wobble), memory)
        points.append(choice.point)
    assert sum(a != b for a, b in itertools.pairwise(points)) <= 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rules": [{"point": "fast", "battery_below": 1.5}]}, r"rules\[0\]: battery_below 1.5; expected above 0"),
        ({"rules": [{"point": "fast", "thermal_at_least": "hot"}]}, "found 'hot'; expected 'nominal' or"),
        ({"rules": [{"point": "fast", "max_stage": -1}]}, "max_stage -1"),
        ({"queue": {"window_s": 0}}, "window_s 0"),
        ({"queue": {"images_per_s": -3}}, "images_per_s -3"),
        ({"hysteresis": -0.1}, "hysteresis -0.1"),
        ({"dwell_s": -1}, "dwell_s -1"),
        ({"cool_s": -1}, "cool_s -1"),
        ({"otherwise": 3}, "policy.otherwise: found 3; expected str"),
        ({"extra": 1}, "unknown field 'extra'"),
    ],
)
def test_a_bad_policy_names_its_place(change: dict[str, Any], words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        from_json(PowerPolicy, {"otherwise": "fast"} | change, "policy")


# -- in a bundle and its runtime ---------------------------------------------------------------------------------------

EASY, HARD = [9.0, 0.0, 0.0], [0.2, 0.1, 0.0]
LOW = DeviceState(battery_level=0.1)


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CascadeBundle:
    """eager (leaves at once), accurate (threshold 0.9, the default) and full; none certified."""
    engine = FakeEngine([HARD, HARD, EASY])
    monkeypatch.setattr(runtime_module, "engine_for", lambda name: engine.load_stage)
    return write_bundle(tmp_path / "bundle")


SAVING = PowerPolicy("full", (Rule("eager", battery_below=0.2),), dwell_s=0, allow_uncertified=True)


def test_a_bundle_without_a_policy_is_always_at_its_default(bundle: CascadeBundle, image: Any) -> None:
    result = Runtime(bundle).run(image, LOW)
    assert (result.operating_point, result.exit, result.max_stage, result.uncertified) == ("accurate", 2, None, True)


def test_the_bundles_policy_follows_the_battery(bundle: CascadeBundle, image: Any) -> None:
    runtime = Runtime(set_policy(bundle, SAVING))
    assert runtime.run(image, LOW).operating_point == "eager"
    assert runtime.run(image, DeviceState(battery_level=0.9)).operating_point == "full"
    assert runtime.run(image, LOW, operating_point="accurate").operating_point == "accurate"
    assert runtime.run(image, DeviceState(0, battery_level=0.9)).max_stage == 0
    assert Runtime(runtime.bundle, "accurate").run(image, LOW).operating_point == "accurate"
    assert Runtime(runtime.bundle, thresholds=(2, 2, 0)).run(image, LOW).operating_point == "custom"


def test_the_dwell_goes_by_the_runtimes_clock_where_the_app_has_none(
    bundle: CascadeBundle, image: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [500.0]
    monkeypatch.setattr(runtime_module.time, "monotonic", lambda: now[0])
    runtime = Runtime(bundle, policy=dataclasses.replace(SAVING, dwell_s=60.0))
    high = DeviceState(battery_level=0.9)
    points = [runtime.run(image, high).operating_point, runtime.run(image, LOW).operating_point]
    for now[0] in (550.0, 561.0):
        points.append(runtime.run(image, high).operating_point)
    assert points == ["full", "eager", "eager", "full"]


def test_a_policy_of_the_app_replaces_the_bundles_and_its_cap_holds(bundle: CascadeBundle, image: Any) -> None:
    capped = PowerPolicy("full", (Rule("full", 1, low_power=True),), dwell_s=0, allow_uncertified=True)
    runtime = Runtime(set_policy(bundle, SAVING), policy=capped)
    result = runtime.run(image, DeviceState(low_power=True))
    assert (result.operating_point, result.max_stage, result.exit) == ("full", 1, 1)
    assert runtime.run(image, DeviceState(0, low_power=True)).max_stage == 0


def test_the_runtime_tells_the_queue_what_images_took(bundle: CascadeBundle, image: Any) -> None:
    queue = PowerPolicy("eager", queue=EnergyQueue(100.0, 1.0), dwell_s=0, allow_uncertified=True)
    power = power_table(bundle.manifest.operating_points, (1.0, 2.0, 4.0), capacity_j=1000.0, base_w=0.0)
    runtime = Runtime(bundle, policy=queue, power=power)
    runtime.run(image, DeviceState(battery_level=1.0, lifetime_s=100.0), operating_point="full")
    assert (runtime.memory.images, runtime.memory.used_j) == (1, 4.0)
    runtime.run(image, DeviceState(battery_level=1.0, lifetime_s=100.0))
    assert (runtime.memory.images, runtime.memory.used_j) == (1, 1.0)
    runtime.run(image, DeviceState(battery_level=1.0, lifetime_s=100.0, time_s=1.0))
    assert runtime.memory.seen == 3 and runtime.memory.images == 1


def test_several_threads_share_one_memory(bundle: CascadeBundle, image: Any) -> None:
    queue = PowerPolicy("eager", queue=EnergyQueue(100.0, 1.0), allow_uncertified=True)
    power = power_table(bundle.manifest.operating_points, (1.0, 2.0, 4.0), capacity_j=1e6)
    runtime = Runtime(bundle, policy=queue, power=power)
    state = DeviceState(battery_level=1.0, lifetime_s=100.0)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: runtime.run(image, state), range(400)))
    assert len(results) == runtime.memory.seen == 400


def test_writing_a_policy_is_checked_and_can_be_undone(bundle: CascadeBundle) -> None:
    before = (bundle.folder / "manifest.json").read_bytes()
    with pytest.raises(ManifestError, match="no operating point 'best'; the bundle has: eager, accurate, full"):
        set_policy(bundle, PowerPolicy("best"))
    assert (bundle.folder / "manifest.json").read_bytes() == before
    assert set_policy(bundle, SAVING).manifest.policy == SAVING
    assert set_policy(bundle, None).manifest.policy is None
    with pytest.raises(ManifestError, match="best"):
        Runtime(bundle, policy=PowerPolicy("best"))


@pytest.fixture
def image() -> Any:
    import numpy as np

    return np.zeros((4, 4, 3), np.uint8)
