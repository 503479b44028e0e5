"""The clairvoyant's timetable: never empty where that can be, and not worse than any mix that lasts too."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dvt_edge.simulation.clairvoyant import timetable

FLOATS = NDArray[np.float64]
TICKS = 48


def lowest(energy: FLOATS, charge_j: FLOATS, base_j: FLOATS, start_j: float, capacity_j: float) -> float:
    """The lowest level that ticks of these energies (ticks,) reach; below 0 in joules that are missing."""
    level_j, found = start_j, start_j
    for spent, charge, base in zip(energy.tolist(), charge_j.tolist(), base_j.tolist(), strict=True):
        level_j = min(capacity_j, level_j + charge - base - spent)
        found = min(found, level_j)
    return found


@settings(max_examples=200)
@given(
    seed=st.integers(0, 10_000),
    alike=st.booleans(),
    windows=st.lists(st.tuples(st.integers(1, TICKS - 2), st.integers(1, 8), st.floats(0.5, 60.0)), max_size=4),
    capacity_j=st.floats(20.0, 200.0),
    level=st.floats(0.2, 1.0),
)
def test_a_timetable_lasts_where_the_cheapest_points_do(
    seed: int, alike: bool, windows: list[tuple[int, int, float]], capacity_j: float, level: float
) -> None:
    random = np.random.default_rng(seed)
    noise = np.ones((TICKS, 1)) if alike else random.uniform(0.8, 1.2, (TICKS, 1))
    energy, right = noise * np.array([1.0, 2.0, 5.0]), noise * np.array([6.0, 7.5, 8.0])
    charge_j, base_j = np.zeros(TICKS), np.full(TICKS, 2.0)
    for first, ticks, joules in windows:
        charge_j[first : first + ticks] = joules
    start_j = level * capacity_j
    columns = timetable(energy, right, charge_j, base_j, start_j, capacity_j)
    rows = np.arange(TICKS)
    lasting = [k for k in range(3) if lowest(energy[:, k], charge_j, base_j, start_j, capacity_j) >= 0]
    if not lasting:
        return
    tick_j = energy.max()  # a weak charger's ticks may be planned in the wrong order
    assert lowest(energy[rows, columns], charge_j, base_j, start_j, capacity_j) >= -tick_j
    planned = right[rows, columns].sum()
    assert planned >= right[:, lasting[-1]].sum() - 1e-9  # a point that lasts alone is one of the plans
    if lasting[-1] == 2:
        assert (columns == 2).all()
    for _ in range(20):  # nor do two points, changed at a random time
        early, late, change = random.integers(0, 3), random.integers(0, 3), random.integers(1, TICKS)
        mixed = np.where(rows < change, early, late)
        if lowest(energy[rows, mixed], charge_j, base_j, start_j, capacity_j) >= 0:
            assert planned >= right[rows, mixed].sum() - 2.5  # a tick's images or so: points cannot be split
