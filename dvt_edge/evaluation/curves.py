"""What early exit is worth: top-1 against compute, time and throughput, on images that chose nothing.

held-out logits -> thresholds ─┐
test logits ───────────────────┴─> curves, per-exit and anytime top-1
bundle + test images + thresholds -> measured milliseconds at batch 1, taking turns with other bundles
cascade + test images + thresholds -> images a second at batch 64, answered images leaving the batch
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dvt_edge.calibration.confidence import check_finite, exit_confidences, wilson
from dvt_edge.calibration.exit_logits import ExitLogits
from dvt_edge.calibration.gains import calibrated_gains, steadied
from dvt_edge.calibration.paper_search import paper_curve
from dvt_edge.calibration.pareto import NEVER, Front, pareto_front
from dvt_edge.data.dealing import open_training_data
from dvt_edge.data.images import LabelledImages, no_labels, numbered
from dvt_edge.data.reading import has_training_split, open_images
from dvt_edge.device.exit_rule import simulate_exits
from dvt_edge.device.manifest import ConfidenceSpec
from dvt_edge.device.preprocess import preprocess
from dvt_edge.device.runtime import Result, Runtime
from dvt_edge.device.trained_on import TrainedOn
from dvt_edge.errors import DataError
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.pixels import evaluation_batch, normalise
from dvt_edge.network.stages import split

CURVE_POINTS = 30
TURN = 50  # images that one runtime answers before the next one's turn
REPEATS = 3  # of each image; its median counts, so that a pause of the machine falls on none
Method = Literal["joint", "shared", "paper"]  # how thresholds are found: docs/calibration.md


class TorchSource:
    """A cascade in PyTorch, float32, in batches, on a GPU where there is one: a `LogitSource`."""

    target = "pytorch"

    def __init__(self, cascade: Cascade, artifact_sha256: str, classes: Sequence[str] = ()) -> None:
        config = cascade.config
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.cascade, self.name, self.artifact_sha256 = cascade.eval().to(self.device), config.name, artifact_sha256
        self.classes = tuple(classes) or numbered(config.num_classes)
        self.grids, self.macs = config.grids, cumulative_macs(cascade)
        self.sees = config.resize, config.image_size

    def pixels(self, image: Any) -> NDArray[np.uint8]:
        config = self.cascade.config
        return preprocess(image, config.image_size, config.resize)

    @torch.inference_mode()
    def logits(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], None]:
        config = self.cascade.config
        images = normalise(torch.from_numpy(pixels), config).split(evaluation_batch(config, self.device))
        exits = [self.cascade(some.to(self.device)) for some in images]
        return torch.cat([torch.stack(z, dim=1).float().cpu() for z in exits]).numpy(), None


def cumulative_macs(cascade: Cascade) -> tuple[int, ...]:
    """Multiply-accumulates of one image that leaves at each exit."""
    return tuple(np.cumsum([stage.macs() for stage in split(cascade)]).tolist())


class Images(NamedTuple):
    """To find thresholds on and to report on; where they come from in words, and as the hold-out that they are."""

    search: LabelledImages
    test: LabelledImages
    words: str
    dealt: TrainedOn | None  # None: no training images


def search_and_test(data: str, known: TrainedOn | None, holdout: int | None = None, seed: int | None = None) -> Images:
    """The images of an evaluation.

    Those to search on are what training kept out of the training split: `known` says which, else `holdout` and `seed`.
    Where neither does, or there is no training split, the test images are dealt into two halves. Raises DataError
    where labels are not known, for a `holdout` or `seed` that `known` contradicts, and without test images.
    """
    apart = has_training_split(data)
    if known and known.fingerprint == open_images(data, "train" if apart else "test").fingerprint:
        if not apart:
            raise DataError(f"{data}: the images that the cascade was trained on; expected test images beside them")
        if holdout not in (None, known.holdout) or seed not in (None, known.seed):
            words = f"{known.holdout} held out by seed {known.seed}"
            raise DataError(f"the cascade was trained on these images with {words}; leave --holdout and --seed out")
        holdout, seed = known.holdout, known.seed
    seed = seed or 0
    if apart and holdout is not None:
        _, held_out, test, dealt = open_training_data(data, holdout, seed)
        words = f"thresholds from {len(held_out)} images of {held_out.source}"
        return Images(held_out, test, f"{words}, figures from {len(test)} images of {test.source}", dealt)
    images = open_images(data, "test")
    if images.labels is None:
        raise no_labels(images.source)
    if len(images) < 2:
        raise DataError(f"{images.source}: one image; expected two or more")
    order = np.random.default_rng(seed).permutation(len(images))
    half = len(images) // 2
    search, test = images.take(np.sort(order[:half]).tolist()), images.take(np.sort(order[half:]).tolist())
    why = "which of its training images were held out is not known" if apart else "it has no training split"
    words = f"{images.source}, {why}: thresholds from {half} of its images, drawn by seed {seed}"
    return Images(search, test, f"{words}, figures from the other {len(test)}", None)


@dataclass(frozen=True)
class Point:
    """Thresholds, and what they give on the test images. `cost` is mean MACs."""

    thresholds: tuple[float, ...]
    cost: float
    top1: float
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Evaluation:
    """One artifact's figures. `exits` are (top-1, 95 % interval) of each exit; anytime top-1 is the same against
    `macs`, cumulative."""

    name: str
    target: str
    artifact_sha256: str
    data: str
    images: int
    search_images: int
    macs: tuple[int, ...]
    top1: tuple[float, ...]
    interval: tuple[tuple[float, float], ...]
    curves: dict[Method, tuple[Point, ...]]
    last_share: float  # of images that no exit but the last answers rightly


@dataclass(frozen=True, eq=False)
class Evidence:
    """One artifact's logits, with labels: thresholds are found on `search`, figures taken on `test`.

    Raises DataError for logits of two artifacts, and for such as are not finite.
    """

    search: ExitLogits
    test: ExitLogits

    def __post_init__(self) -> None:
        check_finite(self.search)
        check_finite(self.test)
        search, test = self.search.about, self.test.about
        if search.artifact_sha256 != test.artifact_sha256:
            raise DataError(f"logits of {search.target} and of {test.target}: expected one artifact's")

    @cached_property
    def search_confidences(self) -> NDArray[np.float32]:  # (images, exits)
        return confidence_of(self.search)

    @cached_property
    def test_confidences(self) -> NDArray[np.float32]:  # (images, exits)
        return confidence_of(self.test)

    @cached_property
    def front(self) -> Front:
        """The search images' thresholds that no others beat in cost and top-1."""
        good = steadied(self.search.correct, calibrated_gains(self.search, self.search))
        return pareto_front(self.search_confidences, good, self.search.about.macs)

    def reaching(self, top1: float) -> NDArray[np.float32]:
        """The front's cheapest thresholds of at least this expected top-1 on the search images, else its costliest."""
        index = self.front.reaching(top1)
        return self.front.thresholds[-1 if index is None else index]

    def within(self, macs: float) -> NDArray[np.float32] | None:
        """The front's best thresholds of at most these mean MACs on the search images; None where all cost more."""
        index = self.front.within(macs)
        return None if index is None else self.front.thresholds[index]

    def losing(self, loss: float) -> NDArray[np.float32]:
        """`reaching` the last exit's top-1 less `loss`."""
        return self.reaching(self.front.last - loss)

    def crossing(self, top1: float) -> Point | None:
        """The cheapest of all the front's points of at least this top-1 on the test images; None where there is none.

        It is chosen on the test images: thresholds found elsewhere cost more.
        """
        points = map(self.at, self.front.thresholds)
        return min((p for p in points if p.top1 >= top1), key=lambda p: p.cost, default=None)

    def at(self, thresholds: NDArray[np.float32]) -> Point:
        """What thresholds give on the test images."""
        return point_at(self.test, self.test_confidences, thresholds)

    @cached_property
    def evaluation(self) -> Evaluation:
        return evaluate(self)


def evaluate(evidence: Evidence) -> Evaluation:
    """An artifact's figures. Raises DataError for logits without labels."""
    test = evidence.test
    right = test.correct
    return Evaluation(
        name=test.about.name,
        target=test.about.target,
        artifact_sha256=test.about.artifact_sha256,
        data=test.about.data,
        images=len(test),
        search_images=len(evidence.search),
        macs=test.about.macs,
        top1=test.top1,
        interval=tuple(wilson(int(hits), len(test)) for hits in right.sum(axis=0)),
        curves={name: tuple(map(evidence.at, rows)) for name, rows in thresholds_of(evidence).items()},
        last_share=float((right[:, -1] & ~right[:, :-1].any(axis=1)).mean()),
    )


def plain(exits: int) -> ConfidenceSpec:
    """Max softmax at temperature 1, of which all figures here are, whatever a bundle has."""
    return ConfidenceSpec("max_softmax", (1.0,) * exits)


def confidence_of(logits: ExitLogits) -> NDArray[np.float32]:  # (images, exits)
    return exit_confidences(logits, plain(logits.about.exits))


def point_at(test: ExitLogits, values: NDArray[np.float32], thresholds: NDArray[np.float32]) -> Point:
    """What thresholds give on labelled test logits with their (images, exits) confidences."""
    left = simulate_exits(values, thresholds.tolist())
    macs = np.asarray(test.about.macs)
    return Point(
        tuple(float(t) for t in thresholds),
        float(macs[left].mean()),
        float(test.correct[np.arange(len(test)), left].mean()),
        tuple(float((left == k).mean()) for k in range(len(macs))),
    )


def thresholds_of(evidence: Evidence) -> dict[Method, NDArray[np.float32]]:
    """(points, exits) thresholds by each method, from the search images."""
    values = evidence.search_confidences
    exits = values.shape[1]
    if exits == 1:
        return {"joint": np.zeros((1, 1), np.float32)}
    front = evidence.front
    wanted = np.linspace(front.cost[0], front.cost[-1], CURVE_POINTS)
    joint = front.thresholds[np.unique(np.searchsorted(front.cost, wanted * (1 + 1e-12), side="right") - 1)]
    levels = np.append(np.unique(np.quantile(values[:, :-1], np.linspace(0, 1, CURVE_POINTS))), NEVER)
    shared = np.repeat(levels[:, None].astype(np.float32), exits, axis=1)
    return {"joint": joint, "shared": shared, "paper": paper_curve(values)}


# -- time ----------------------------------------------------------------------------------------------------------


def take_turns(
    runtimes: dict[str, Runtime], images: LabelledImages, report: Callable[[int, int], None]
) -> dict[str, tuple[Result, ...]]:
    """What each named runtime answers at its own thresholds, with its times, one image at a time.

    The runtimes take turns in blocks of TURN images: as in an app, one model at a time has the caches, and what else
    the machine does falls on all alike. Each image's is the run of median time among REPEATS.
    """
    for runtime in runtimes.values():
        runtime.prewarm()
    results: dict[str, list[Result]] = {name: [] for name in runtimes}
    for start in range(0, len(images), TURN):
        block = [images[i] for i in range(start, min(start + TURN, len(images)))]
        rounds: dict[str, list[list[Result]]] = {name: [] for name in runtimes}
        for _ in range(REPEATS):
            for name, runtime in runtimes.items():
                runtime.run(block[0])  # brings its weights back into the caches
                rounds[name].append([runtime.run(image) for image in block])
        for name, repeated in rounds.items():
            results[name] += [sorted(runs, key=engine_ms)[REPEATS // 2] for runs in zip(*repeated, strict=True)]
        report(start + len(block), len(images))
    return {name: tuple(answers) for name, answers in results.items()}


def engine_ms(result: Result) -> float:
    """Stages, confidences and the choice of exit; preprocessing is the same for all."""
    return result.total_ms - result.preprocess_ms


def stage_milliseconds(results: Sequence[Result]) -> tuple[float, ...]:
    """Mean milliseconds of each stage that ran, over the images that ran it."""
    longest = max(len(r.stage_ms) for r in results)
    return tuple(statistics.mean(r.stage_ms[k] for r in results if len(r.stage_ms) > k) for k in range(longest))


@torch.inference_mode()
def throughputs(
    runs: Mapping[str, tuple[Cascade, Sequence[float]]], images: LabelledImages, batch: int = 64, rounds: int = 3
) -> dict[str, float]:
    """Images a second of each run, a cascade at thresholds, through PyTorch in batches; answered images leave these.

    Of `rounds` in which the runs take turns, the best. Counts the stages, the confidences and the regrouping, not
    decoding and preprocessing.
    """
    best = dict.fromkeys(runs, 0.0)
    pixels: dict[tuple[int, int], torch.Tensor] = {}
    for name, (cascade, thresholds) in list(runs.items()) * rounds:
        config, device = cascade.config, next(cascade.parameters()).device
        key = config.image_size, config.resize
        if key not in pixels:
            pixels[key] = torch.from_numpy(np.stack([preprocess(image, *key) for image in images])).to(device)
        start = time.perf_counter()
        for first in range(0, len(images), batch):
            answer_batch(cascade, normalise(pixels[key][first : first + batch], config), thresholds)
        best[name] = max(best[name], len(images) / (time.perf_counter() - start))
    return best


def answer_batch(cascade: Cascade, images: torch.Tensor, thresholds: Sequence[float]) -> torch.Tensor:
    """(B, 3, size, size) normalised images -> (B,) labels by the exit rule; images leave as they are answered."""
    labels = torch.empty(len(images), dtype=torch.long, device=images.device)
    waiting = torch.arange(len(images), device=images.device)
    tokens = relations = None
    for stage, threshold in zip(cascade.stages, thresholds, strict=True):
        logits, tokens, relations = stage(images, tokens, relations)
        value, label = logits.float().softmax(dim=-1).max(dim=-1)
        stay = value < threshold if stage is not cascade.stages[-1] else torch.zeros_like(value, dtype=torch.bool)
        labels[waiting[~stay]] = label[~stay]
        if not stay.any():
            break
        waiting, images = waiting[stay], images[stay]
        tokens = None if tokens is None else tokens[stay]
        relations = None if relations is None else relations[stay]
    return labels


# -- thresholds carried over -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CarryOver:
    """A quantized artifact at the float one's thresholds, and at its own. Both are the cheapest that lose at most
    `loss` of top-1 against their own last exit on the search images."""

    target: str
    loss: float
    carried: Point
    own: Point
    reference: Point  # the float artifact at its thresholds


def carry_over(reference: Evidence, quantized: Evidence, losses: Sequence[float]) -> list[CarryOver]:
    """What carrying a float artifact's thresholds over costs, for each loss."""
    rows = []
    for loss in losses:
        thresholds, own = reference.losing(loss), quantized.losing(loss)
        rows.append(
            CarryOver(
                quantized.test.about.target,
                loss,
                carried=quantized.at(thresholds),
                own=quantized.at(own),
                reference=reference.at(thresholds),
            )
        )
    return rows
