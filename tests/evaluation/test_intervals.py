"""Intervals hold what they promise: known values, 95 % of draws, and less width where answers are paired."""

from __future__ import annotations

import numpy as np
import pytest

from dvt_edge.evaluation.intervals import (
    bootstrap,
    paired_difference,
    times_fewer,
    times_less,
    unpaired_difference,
)


def test_newcombes_own_example() -> None:
    """R. G. Newcombe (1998), table II, (a) 56/70 and 48/80: method 10 gives 0.0524 to 0.3339."""
    low, high = unpaired_difference((56, 70), (48, 80))
    assert (low, high) == (pytest.approx(0.0524, abs=5e-5), pytest.approx(0.3339, abs=5e-5))


def test_95_of_100_intervals_hold_the_difference() -> None:
    draw = np.random.default_rng(1)
    held = {"paired": 0, "unpaired": 0}
    for _ in range(200):
        hard = draw.random(400)
        ours, theirs = hard < 0.85, (hard < 0.80) ^ (draw.random(400) < 0.05)
        truth = 0.85 - (0.80 * 0.95 + 0.20 * 0.05)
        for name, (low, high) in {
            "paired": paired_difference(ours, theirs),
            "unpaired": unpaired_difference((int(ours.sum()), 400), (int(theirs.sum()), 400)),
        }.items():
            held[name] += low <= truth <= high
    assert 180 <= held["paired"] <= 199 and held["unpaired"] >= held["paired"]


def test_shares_give_what_their_images_give() -> None:
    """MACs from counts and MACs image by image are the same draws."""
    costs = np.repeat([10.0, 30.0], [700, 300])
    low, high = times_fewer(costs, 30.0)
    assert times_fewer([10.0, 30.0], 30.0, [700, 300]) == (low, high)
    assert low < 30 / 16 < high and high - low < 0.2
    assert times_fewer([10.0], 30.0, [5]) == (3.0, 3.0)


def test_times_are_drawn_with_their_images() -> None:
    slow = np.random.default_rng(0).gamma(2, 1, 300)
    assert times_less((2 * slow).tolist(), slow.tolist()) == (pytest.approx(2), pytest.approx(2))
    apart = times_less((2 * slow).tolist(), slow[::-1].tolist())
    assert apart[1] - apart[0] > 0.3


def test_the_same_call_gives_the_same_interval() -> None:
    rows = np.random.default_rng(0).random((50, 2))
    assert bootstrap(rows, lambda m: m[:, 0]) == bootstrap(rows, lambda m: m[:, 0])
