"""The figures of docs/calibration.md: python export_scripts/reproduce/measure_calibration.py LOGITS_FOLDER

1. the whole Pareto front of 50,000 made-up images and three exits against the published search, in one run;
2. our curve less the published one, on images that neither searched, for real logits;
3. what points lose on such images, of what they aim to lose, found with labels alone or with the last exit's help;
4. how often certificates miss, and what they certify.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from dvt_edge import machine
from dvt_edge.calibration.confidence import exit_confidences
from dvt_edge.calibration.exit_logits import open_logits
from dvt_edge.calibration.gains import calibrated_gains, steadied
from dvt_edge.calibration.paper_search import SETTINGS, paper_curve, shares
from dvt_edge.calibration.pareto import pareto_front
from dvt_edge.calibration.risk import certify
from dvt_edge.device.exit_rule import simulate_exits
from dvt_edge.device.manifest import ConfidenceSpec

IMAGES, EXITS = 50_000, 3


def walk(values: torch.Tensor, p: int) -> list[float]:
    """The published search as described: a walk over tensors, one image after another."""
    left, found = torch.zeros(values.shape[0]), []
    for k in range(values.shape[1] - 1):
        wanted, count, threshold = int(np.float32(values.shape[0]) * shares(p, values.shape[1])[k]), 0, 1e8
        for i in values[:, k].argsort(descending=True):
            if left[i] == 0:
                count += 1
                if count == wanted:
                    threshold = float(values[i, k])
                    break
        left += values[:, k] >= threshold
        found.append(threshold)
    return [*found, -1e8]


def times() -> None:
    rng = np.random.default_rng(0)
    evidence = rng.normal(size=(IMAGES, 1)) + rng.normal(1.0, 1.0, (IMAGES, EXITS)) + 0.5 * np.arange(EXITS)
    values = (1 / (1 + np.exp(-evidence))).astype(np.float32)
    right = rng.random(values.shape) < values
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        front = pareto_front(values, right, (1.0, 3.0, 7.0))
        taken.append(time.perf_counter() - start)
    start = time.perf_counter()
    theirs = [walk(torch.from_numpy(values), p) for p in SETTINGS]
    walked = time.perf_counter() - start
    start = time.perf_counter()
    ours = paper_curve(values)
    print(f"front of {len(front)} points: {min(taken):.3f} s (worst of five {max(taken):.3f})")
    print(f"published walk, 59 points: {walked:.1f} s, {walked / min(taken):.0f} times as long")
    print(
        f"the same thresholds by paper_search: {time.perf_counter() - start:.3f} s",
        np.array_equal(ours, np.array(theirs, np.float32)),
    )


def curve(values: np.ndarray, right: np.ndarray, cost: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """(points, 2): mean cost and accuracy."""
    left = [simulate_exits(values, t) for t in thresholds]
    return np.array([(cost[e].mean(), right[np.arange(len(right)), e].mean()) for e in left])


def gap(
    values: np.ndarray,
    right: np.ndarray,
    predicted: np.ndarray,
    cost: np.ndarray,
    seen: np.ndarray,
    new: np.ndarray,
    raw: bool = False,
) -> float:
    """Ours less the published curve in points, both searched on `seen` and measured on `new`, at the latter's costs.

    `raw` is without smoothing, by labels alone.
    """
    good = right[seen] if raw else steadied(right[seen], predicted[seen])
    front = pareto_front(values[seen], good, cost.tolist(), smooth=not raw)
    published = paper_curve(values[seen])
    spent = curve(values[seen], right[seen], cost, published)[:, 0]
    chosen = sorted({i for c in spent if (i := front.within(c)) is not None})
    ours = curve(values[new], right[new], cost, front.thresholds[chosen])
    ours = ours[np.argsort(ours[:, 0])]
    theirs = curve(values[new], right[new], cost, published)
    inside = theirs[theirs[:, 0] >= ours[0, 0]]
    return float(100 * (np.interp(inside[:, 0], *ours.T) - inside[:, 1]).mean())


def gaps(folder: str, draws: int = 20) -> None:
    data = open_logits(folder)
    values = exit_confidences(data, ConfidenceSpec("max_softmax", (1.0,) * data.about.exits))
    right, cost = data.correct, np.array(data.about.macs, dtype=np.float64)
    half = len(data) // 2
    orders = [np.random.default_rng(seed).permutation(len(data)) for seed in range(draws)]
    print(f"{data.about.target} on {data.about.data}: ours less the published curve at its cost, mean of {draws} draws")
    for searched in (200, 500, 1000, half):
        helps = [calibrated_gains(data, data.take(o[:searched])) for o in orders]
        ours, bare = (
            [
                gap(values, right, predicted, cost, o[:searched], o[half:], raw)
                for o, predicted in zip(orders, helps, strict=True)
            ]
            for raw in (False, True)
        )
        said = [f"{np.mean(g):+.2f} points (sd {np.std(g):.2f})" for g in (ours, bare)]
        print(f"  {searched} searched: {said[0]}; labels alone, unsmoothed {said[1]}", flush=True)
    print("the same, 5,000 searched, where the second exit repeats the first on a share of the images:")
    for share in (0.5, 0.8, 1.0):
        repeats = np.random.default_rng(0).random(len(data)) < share
        found = []
        for o in orders:
            tables = (values, right, calibrated_gains(data, data.take(o[:half])))
            seen, truth, gains = (
                np.column_stack([t[:, 0], np.where(repeats, t[:, 0], t[:, 1]), t[:, 2]]) for t in tables
            )
            found.append(gap(seen, truth, gains, cost, o[:half], o[half:]))
        print(f"  {share:.0%}: {np.mean(found):+.2f} points (sd {np.std(found):.2f})", flush=True)
    print("top-1 lost on images not searched, in points; mean MMACs:")
    for searched in (192, 500, 1000, half):
        helps = [calibrated_gains(data, data.take(o[:searched])) for o in orders]
        for aim in (0.005, 0.01, 0.02):
            said = []
            for raw in (False, True):
                lost, spent = np.array(
                    [losing(values, right, p, cost, o, searched, aim, raw) for o, p in zip(orders, helps, strict=True)]
                ).T
                said.append(f"{lost.mean():.2f} (sd {lost.std():.2f}) at {spent.mean() / 1e6:.1f}")
            print(f"  {searched} searched, aim {100 * aim:.1f}: {said[0]}; by labels alone {said[1]}", flush=True)


def losing(
    values: np.ndarray,
    right: np.ndarray,
    predicted: np.ndarray,
    cost: np.ndarray,
    order: np.ndarray,
    searched: int,
    aim: float,
    raw: bool,
) -> tuple[float, float]:
    """(points of top-1 that a point aimed to lose `aim` loses on the second half of `order`, its mean cost there)."""
    seen, new = order[:searched], order[len(order) // 2 :]
    front = pareto_front(values[seen], right[seen] if raw else steadied(right[seen], predicted[seen]), cost.tolist())
    index = front.reaching(front.last - aim)
    [(spent, top1)] = curve(values[new], right[new], cost, front.thresholds[[-1 if index is None else index]])
    return float(100 * (right[new, -1].mean() - top1)), float(spent)


def coverage(draws: int = 4000) -> None:
    print(
        f"certificates of an accuracy loss or a disagreement over {draws} draws: share of misses, mean risk certified"
    )
    for epsilon, delta, images in ((0.01, 0.1, 2000), (0.02, 0.1, 800), (0.05, 0.05, 400), (0.1, 0.2, 200)):
        risks = epsilon * np.array([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.001, 1.02, 1.1, 1.5, 2, 3])
        for method in ("hoeffding-bentkus", "binomial", "wsr", "crc"):
            line = []
            for lowest in (0, -1):
                rng, found = np.random.default_rng(0), []
                for _ in range(draws):
                    u = rng.random((images, 1))
                    loss = (
                        (u < risks).astype(np.int8)
                        if lowest == 0
                        else (u < 2 * risks).astype(np.int8) - (u > 1 - risks)
                    )
                    found.append(risks[certify(loss, epsilon, None if method == "crc" else delta, method, lowest) or 0])
                line.append(f"{np.mean(np.array(found) > epsilon):.3f} {np.mean(found) / epsilon:.2f} epsilon")
            level = "expectation" if method == "crc" else f"delta {delta}"
            print(
                f"  epsilon {epsilon} {level} n {images} {method}: disagreement {line[0]}; accuracy {line[1]}",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logits")
    torch.set_num_threads(1)
    print(machine.describe())
    times()
    gaps(parser.parse_args().logits)
    coverage()
