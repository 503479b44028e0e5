"""`dvt-edge eval`: every artifact on the same images, once; then curves, times and tables from what was kept.

out/logits/<artifact>/{search,test}   logits, computed once an artifact and reused (resumable, torchrun)
out/eval.json                         every figure, with data, hashes, machine and thresholds
out/answers.npz                       of each test image, which exits are right and where it leaves: for paired tests
"""

from __future__ import annotations

import dataclasses
import io
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvt_edge import machine
from dvt_edge.atomic import write_bytes, write_text
from dvt_edge.calibration.exit_logits import BundleSource, ExitLogits, LogitSource, compute
from dvt_edge.data.classes import class_names, counted, in_classes
from dvt_edge.data.images import LabelledImages
from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.device.exit_rule import simulate_exits
from dvt_edge.device.manifest import MANIFEST
from dvt_edge.device.runtime import Runtime
from dvt_edge.device.trained_on import TrainedOn
from dvt_edge.errors import DataError
from dvt_edge.evaluation.curves import (
    Evidence,
    Point,
    TorchSource,
    carry_over,
    engine_ms,
    plain,
    search_and_test,
    stage_milliseconds,
    take_turns,
    throughputs,
)
from dvt_edge.evaluation.intervals import times_less
from dvt_edge.exporting.recipes import recipe_for
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.checkpoint import checkpoint_sha256, load_cascade
from dvt_edge.network.training import process_group
from dvt_edge.quiet import Report

ALWAYS_LAST = "always the last exit"
LOSSES = (0.0, 0.005, 0.01, 0.02, 0.05)  # of top-1 against the last exit: thresholds that are carried over
TIMED_LOSSES = (0.0, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05)
SHOWN = 5  # easy and hard images of each class
GAINS = "at the fitted temperature"  # what thresholds are found by: of the last exit's probabilities


@dataclass(frozen=True)
class Study:
    """What to evaluate. `bundles` are of the checkpoint; `statics` are checkpoints or bundles of one exit each."""

    checkpoint: str
    data: str
    out: Path
    model: str | None = None
    bundles: tuple[Path, ...] = ()
    statics: tuple[Path, ...] = ()
    holdout: int | None = None  # where the checkpoint does not say what was held out
    seed: int | None = None
    timed: int = 500  # images at batch 1, and through the batched cascade
    tolerance: float = 0.0  # top-1 below a static model's that still counts as its equal, such as seed noise


class Static(NamedTuple):
    """A one-exit baseline. Its name is "static 8x8" by its grid, with its MACs where a target has it with several, with
    its hash where a target has several of those."""

    name: str
    source: LogitSource


def run_study(study: Study, report: Report) -> dict[str, Any]:
    """Returns what eval.json holds; empty on the processes of torchrun that do not lead.

    Raises DataError where images have no labels, a bundle or static model is of other classes, or two bundles are of
    one target.
    """
    cascade = load_cascade(study.checkpoint, study.model)
    known = cascade.trained_on
    search, test, words, dealt = search_and_test(study.data, known, study.holdout, study.seed)
    classes = class_names(known, test, cascade.config.num_classes)
    search, test = (in_classes(images, classes, cascade.config.name) for images in (search, test))
    digest = checkpoint_sha256(study.checkpoint)
    if len(classes) != cascade.config.num_classes:
        raise DataError(f"{study.data}: {len(classes)} classes; the model has {cascade.config.num_classes}")
    reference = TorchSource(cascade, digest, classes)
    bundles = [bundle_source(path, cascade, digest) for path in study.bundles]
    if twice := {s.target for s in bundles if [b.target for b in bundles].count(s.target) > 1}:
        raise DataError(f"two bundles of {min(twice)}; expected one a target: give the other to an eval of its own")
    statics = named([static_source(path, classes, dealt) for path in study.statics])
    for source in (*bundles, *(s.source for s in statics)):
        if len(source.classes) != len(reference.classes):
            raise DataError(f"{source.name}: {len(source.classes)} classes; expected {len(reference.classes)}")
    sources: list[LogitSource] = [reference, *bundles]
    with process_group() as process:
        logits = {}
        for source in (*sources, *(s.source for s in statics)):
            folder = study.out / "logits" / f"{source.target}-{source.artifact_sha256[:12]}"
            kept = [
                compute(source, images, folder / name, report, process)
                for name, images in (("search", search), ("test", test))
            ]
            logits[id(source)] = Evidence(*kept)
        if not process.leads:
            return {}
    own = logits[id(reference)]
    evaluations = [logits[id(s)].evaluation for s in (reference, *bundles)]
    baselines = [{"static": name} | dataclasses.asdict(logits[id(s)].evaluation) for name, s in statics]
    quantized = [s for s in bundles if recipe_for(s.target).quantization]
    floats = {s.runtime.manifest.engine: s for s in bundles if s not in quantized}
    rows = [
        carry_over(logits[id(floats[engine])], logits[id(s)], LOSSES)
        for s in quantized
        if (engine := s.runtime.manifest.engine) in floats
    ]
    targets = {s.target: s for s in sources}
    timed = test.shuffled().first(study.timed)
    result = {
        "model": cascade.config.name,
        "checkpoint_sha256": digest,
        "data": words,
        "machine": machine.describe(),
        "gains": GAINS,
        "evaluations": [dataclasses.asdict(e) for e in evaluations],
        "statics": baselines,
        "equal_accuracy": [
            {"static": name} | equal_accuracy(logits[id(targets[s.target])], logits[id(s)], tolerance)
            for name, s in statics
            if s.target in targets
            for tolerance in sorted({0.0, study.tolerance})
        ],
        "carry_over": [dataclasses.asdict(row) for group in rows for row in group],
        "times": [t for s in bundles for t in times(s, statics, logits, timed, study.tolerance, report)],
        "throughput": batched(reference, statics, own, timed),
        "examples": easy_and_hard(own),
    }
    answers: dict[str, NDArray[Any]] = {}
    for source in sources:
        peers = {name: logits[id(s)] for name, s in statics if s.target == source.target}
        answers |= answers_of(source.target, logits[id(source)], points_of(logits[id(source)], peers, study.tolerance))
    for name, s in statics:
        answers |= answers_of(f"{name}, {s.target}", logits[id(s)], {})
    write_answers(study.out / "answers.npz", answers)
    write_text(study.out / "eval.json", json.dumps(result, indent=1) + "\n")
    return result


def bundle_source(path: Path, cascade: Cascade, digest: str) -> BundleSource:
    """Raises DataError for a bundle that was not made from this checkpoint."""
    bundle = CascadeBundle.open(path)
    model = bundle.manifest.model
    if model.checkpoint_sha256 not in (None, digest) or model.config != cascade.config.to_dict():
        made_from = f"{model.name}, checkpoint {(model.checkpoint_sha256 or 'unknown')[:12]}"
        raise DataError(f"{path}: a bundle of {made_from}; expected one of {cascade.config.name}, {digest[:12]}")
    return BundleSource(Runtime(bundle))


def static_source(path: Path, classes: Sequence[str], dealt: TrainedOn | None) -> LogitSource:
    """A model of one exit, as a bundle's folder or a checkpoint.

    Raises DataError where it was trained on other classes, or on images of the hold-out that `dealt` tells of.
    """
    if (path / MANIFEST).is_file() or path.suffix == ".zip":
        bundle = CascadeBundle.open(path)
        source: LogitSource = BundleSource(Runtime(bundle))
        own = bundle.manifest.model.trained_on
    else:
        cascade = load_cascade(path)
        source, own = TorchSource(cascade, checkpoint_sha256(path), classes), cascade.trained_on
    if own and own.classes != tuple(classes):
        raise DataError(f"{path}: trained on {counted(own.classes)}; expected {counted(classes)}, in this order")
    if own and dealt and not own.deals_as(dealt):
        words = f"{own.holdout} images held out by seed {own.seed}; expected {dealt.holdout} by seed {dealt.seed}"
        raise DataError(f"{path}: trained with {words}, which thresholds are found on")
    if len(source.macs) != 1:
        raise DataError(f"{path}: {len(source.macs)} exits; a static model has one (dvt-edge train --grids 8 ...)")
    return source


def static_name(grid: int, macs: int | None = None, sha256: str = "") -> str:
    """Of a static model, with what tells it from others where its grid alone does not."""
    return f"static {grid}x{grid}" + ("" if macs is None else f" of {macs / 1e6:.0f} MMACs") + f" {sha256[:6]}".rstrip()


def named(sources: Sequence[LogitSource]) -> list[Static]:
    kinds = [(source.target, source.grids[0]) for source in sources]
    sizes = [(*kind, source.macs[0]) for kind, source in zip(kinds, sources, strict=True)]
    return [
        Static(
            static_name(
                kind[1],
                size[2] if len({macs for *same, macs in sizes if tuple(same) == kind}) > 1 else None,
                source.artifact_sha256 if sizes.count(size) > 1 else "",
            ),
            source,
        )
        for kind, size, source in zip(kinds, sizes, sources, strict=True)
    ]


def equal_accuracy(cascade: Evidence, static: Evidence, tolerance: float) -> dict[str, Any]:
    """The cascade at the static model's accuracy: aimed at on the search images, reported on the test images.

    `crossing` is the cheapest point that reaches the static model's test top-1, chosen on the test images. Both may
    miss it by `tolerance`.
    """
    macs, top1 = static.test.about.macs[0], static.test.top1[0]
    point = cascade.at(cascade.reaching(static.search.top1[0] - tolerance))
    crossing = cascade.crossing(top1 - tolerance)
    return {
        "target": static.test.about.target,
        "tolerance": tolerance,
        "static_macs": macs,
        "static_top1": top1,
        "cascade": dataclasses.asdict(point),
        "fewer_macs": macs / point.cost,
        "crossing": None if crossing is None else dataclasses.asdict(crossing) | {"fewer_macs": macs / crossing.cost},
    }


def times(
    source: BundleSource,
    statics: Sequence[Static],
    logits: dict[int, Evidence],
    images: LabelledImages,
    tolerance: float,
    report: Report,
) -> list[dict[str, Any]]:
    """Milliseconds at batch 1 of one bundle at several thresholds and of the static bundles of its target.

    Thresholds are of confidences at temperature 1, as all figures here, whatever the bundle's own. Preprocessing, the
    same for all, is not counted; confidences and choosing the exit are.
    """
    bundle = at_temperature_1(source.runtime.bundle)
    peers = {name: s for name, s in statics if isinstance(s, BundleSource) and s.target == source.target}
    points = points_of(logits[id(source)], {name: logits[id(s)] for name, s in peers.items()}, tolerance)
    runtimes = {name: Runtime(bundle, thresholds=point.thresholds) for name, point in points.items()}
    measured = take_turns(
        runtimes | {name: s.runtime for name, s in peers.items()},
        images,
        lambda done, of: report(f"{source.target}: timing", done, of),
    )
    ms = {name: [engine_ms(r) for r in results] for name, results in measured.items()}
    return [
        {
            "target": source.target,
            "run": name,
            "images": len(images),
            "mean_ms": statistics.mean(ms[name]),
            "median_ms": statistics.median(ms[name]),
            "p95_ms": float(np.quantile(ms[name], 0.95)),
            "stage_ms": (stage_ms := stage_milliseconds(results)),
            "ran": [statistics.mean(len(r.stage_ms) > k for r in results) for k in range(len(stage_ms))],
            "macs": points[name].cost if name in points else peers[name].macs[0],
            "top1": points[name].top1 if name in points else logits[id(peers[name])].test.top1[0],
            "thresholds": points[name].thresholds if name in points else None,
            "shares": points[name].shares if name in points else (1.0,),
            "less_time": {other: times_less(ms[other], ms[name]) for other in (ALWAYS_LAST, *peers)},
        }
        for name, results in measured.items()
    ]


def at_temperature_1(bundle: CascadeBundle) -> CascadeBundle:
    """The same artifacts with confidences as `Evidence` has them."""
    spec = plain(len(bundle.manifest.stages))
    return CascadeBundle(bundle.path, dataclasses.replace(bundle.manifest, confidence=spec))


def points_of(own: Evidence, peers: Mapping[str, Evidence], tolerance: float) -> dict[str, Point]:
    """One artifact's runs by name: losing so much, as good and as dear as each static model, and never early.

    As good is also that less a tolerance; as dear is the best of its mean MACs, where the first exit has no more.
    """
    found = {loss_run(loss): own.losing(loss) for loss in TIMED_LOSSES}
    for name, peer in peers.items():
        for below in sorted({0.0, tolerance}):
            found[equal_run(name, below)] = own.reaching(peer.search.top1[0] - below)
        if (thresholds := own.within(peer.test.about.macs[0])) is not None:
            found[cost_run(name)] = thresholds
    found[ALWAYS_LAST] = never(len(own.test.about.macs))
    return {name: own.at(thresholds) for name, thresholds in found.items()}


def answers_of(name: str, own: Evidence, points: Mapping[str, Point]) -> dict[str, NDArray[Any]]:
    """Of each test image, in order: "<name>/right" (images, exits) bool, "<name>/<run>" (images,) uint8 exits."""
    left = {run: simulate_exits(own.test_confidences, point.thresholds) for run, point in points.items()}
    found: dict[str, NDArray[Any]] = {f"{name}/right": own.test.correct}
    return found | {f"{name}/{run}": exits.astype(np.uint8) for run, exits in left.items()}


def write_answers(path: Path, answers: Mapping[str, NDArray[Any]]) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **answers)  # type: ignore[arg-type]
    write_bytes(path, buffer.getvalue())


def equal_run(static: str, tolerance: float) -> str:
    """What a timed run at a static model's accuracy, less a tolerance, is called."""
    return f"{100 * tolerance:.2f} points below {static}" if tolerance else f"as good as {static}"


def loss_run(loss: float) -> str:
    """What a run that may lose so much top-1 against the last exit is called."""
    return f"loses {100 * loss:g} %"


def cost_run(static: str) -> str:
    """What a run of a static model's mean MACs is called."""
    return f"costs as {static}"


def never(exits: int) -> Any:
    return np.array([2.0] * (exits - 1) + [0.0], np.float32)


def batched(
    reference: TorchSource, statics: Sequence[Static], own: Evidence, images: LabelledImages
) -> list[dict[str, Any]]:
    """Images a second at batch 64 in PyTorch, answered images leaving the batch."""
    points = {loss_run(loss): own.at(own.losing(loss)) for loss in LOSSES}
    points[ALWAYS_LAST] = own.at(never(len(reference.macs)))
    runs = {name: (reference.cascade, point.thresholds) for name, point in points.items()}
    peers = {name: static for name, static in statics if isinstance(static, TorchSource)}
    speeds = throughputs(runs | {name: (static.cascade, (0.0,)) for name, static in peers.items()}, images)
    return [
        {
            "run": name,
            "images_per_s": speed,
            "top1": points[name].top1 if name in points else None,
            "macs": points[name].cost if name in points else peers[name].macs[0],
        }
        for name, speed in speeds.items()
    ]


def easy_and_hard(own: Evidence) -> dict[str, Any]:
    """For each class, the test images that leave first with most confidence, and those that need the last exit.

    At the thresholds that lose 0.5 points on the search images; images are indices into the test split.
    """
    test, values = own.test, own.test_confidences
    thresholds = own.at(own.losing(0.005)).thresholds
    left = simulate_exits(values, thresholds)
    assert test.labels is not None
    classes = {}
    for label, name in enumerate(test.about.classes):
        easy = np.flatnonzero((test.labels == label) & (left == 0))
        hard = np.flatnonzero((test.labels == label) & (left == values.shape[1] - 1))
        easy = easy[np.argsort(-values[easy, 0], kind="stable")][:SHOWN]
        hard = hard[np.argsort(values[hard, 0], kind="stable")][:SHOWN]
        exits = left[test.labels == label]
        if not len(exits):
            continue
        classes[name] = {
            "exit_shares": [float((exits == k).mean()) for k in range(values.shape[1])],
            "easy": [shown(test, values, int(i), 0) for i in easy],
            "hard": [shown(test, values, int(i), values.shape[1] - 1) for i in hard],
        }
    return {"thresholds": thresholds, "classes": classes}


def shown(test: ExitLogits, values: Any, image: int, exit_: int) -> dict[str, Any]:
    answers = [test.about.classes[int(guess)] for guess in test.guesses[image]]
    return {
        "image": image,
        "answer": answers[exit_],
        "answers": answers,
        "confidence": [round(float(v), 4) for v in values[image]],
    }
