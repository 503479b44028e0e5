"""A bundle against PyTorch: every output of every stage, every exit, every decision.

A stage is fed PyTorch's own state, so that its row shows its own error; an exit is what the chained artifacts give,
as on the device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dvt_edge.calibration.confidence import too_low
from dvt_edge.data.images import LabelledImages
from dvt_edge.device.exit_rule import confidences, simulate_exits
from dvt_edge.device.manifest import ConfidenceSpec, ExitQuality, Manifest
from dvt_edge.device.preprocess import preprocess
from dvt_edge.device.runtime import Runtime
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.stages import StageChain, split
from dvt_edge.quiet import Report, each
from dvt_edge.validation.bounds import Bounds


@dataclass
class ErrorMeter:
    """Errors of an artifact's tensor against PyTorch's, added up over images in constant memory."""

    signal: float = 0.0
    noise: float = 0.0
    product: float = 0.0
    ours: float = 0.0
    max_abs_error: float = 0.0

    def add(self, found: NDArray[Any], expected: NDArray[Any]) -> None:
        x, y = found.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
        if not np.isfinite(x).all():
            self.max_abs_error = self.noise = math.inf
            return
        error = x - y
        self.signal += float(y @ y)
        self.noise += float(error @ error)
        self.product += float(x @ y)
        self.ours += float(x @ x)
        self.max_abs_error = max(self.max_abs_error, float(np.abs(error).max()))

    @property
    def sqnr_db(self) -> float | None:
        """Signal to quantization noise in decibels; None where there is no noise at all, -inf for NaN."""
        if self.noise == 0:
            return None
        ratio = self.signal / self.noise
        return 10 * math.log10(ratio) if ratio > 0 else -math.inf

    @property
    def cosine(self) -> float:
        return self.product / math.sqrt(self.signal * self.ours) if self.signal and self.ours else 0.0


@dataclass
class Comparison:
    """`tensors` is keyed by (stage, output); `logits` and `reference` are (images, classes) for each exit."""

    tensors: dict[tuple[str, str], ErrorMeter]
    logits: list[NDArray[np.float32]]
    reference: list[NDArray[np.float32]]
    labels: tuple[int, ...] | None
    data: str
    exits: list[ErrorMeter] = field(default_factory=list)

    @property
    def images(self) -> int:
        return len(self.logits[0])

    def qualities(self) -> tuple[ExitQuality, ...]:
        rows = []
        for meter, ours, theirs in zip(self.exits, self.logits, self.reference, strict=True):
            a, b = ours.argmax(axis=1), theirs.argmax(axis=1)
            known = None if self.labels is None else np.asarray(self.labels)
            rows.append(
                ExitQuality(
                    max_abs_error=finite(meter.max_abs_error),
                    sqnr_db=None if meter.sqnr_db is None else finite(meter.sqnr_db),
                    cosine=meter.cosine,
                    top1_agreement=float(np.mean(a == b)),
                    top1=None if known is None else float(np.mean(a == known)),
                    reference_top1=None if known is None else float(np.mean(b == known)),
                )
            )
        return tuple(rows)

    def exit_agreement(self, thresholds: Sequence[float], spec: ConfidenceSpec) -> float:
        """Share of images that leave at the same exit as in PyTorch, at these thresholds."""

        def leaves(logits: list[NDArray[np.float32]]) -> NDArray[np.int64]:
            values = [confidences(z, t, spec.measure) for z, t in zip(logits, spec.temperature, strict=True)]
            return simulate_exits(np.stack(values, axis=1), thresholds)

        return float(np.mean(leaves(self.logits) == leaves(self.reference)))

    def worst_exit_agreement(self, manifest: Manifest) -> float:
        """The lowest exit agreement over the manifest's operating points."""
        return min(self.exit_agreement(p.thresholds, manifest.confidence) for p in manifest.operating_points)

    def worst_tensor(self) -> str:
        """The output of a stage, fed with PyTorch's state, that has the most noise for its signal."""
        (stage, name), meter = min(self.tensors.items(), key=lambda item: sort_key(item[1].sqnr_db))
        return f"{stage}.{name}, {'no noise' if meter.sqnr_db is None else f'{meter.sqnr_db:.1f} dB SQNR'}"

    def broken_bounds(self, bounds: Bounds, manifest: Manifest) -> list[str]:
        """What the artifacts do not keep of `bounds`, each in words; empty when all is well."""
        found = []
        for (stage, name), meter in self.tensors.items():
            found += [f"{stage}.{name} {words}" for words in bounds.broken_by(meter.max_abs_error, sqnr_db=None)]
        for k, quality in enumerate(self.qualities()):
            found += [f"exit {k} {words}" for words in bounds.broken_by(quality.max_abs_error, quality.sqnr_db)]
            if words := too_low(quality.top1_agreement, self.images, bounds.min_top1_agreement):
                found.append(f"exit {k} agrees on {words}")
        if words := too_low(self.worst_exit_agreement(manifest), self.images, bounds.min_exit_agreement):
            found.append(f"exits agree on {words} of images")
        return found


def sort_key(sqnr_db: float | None) -> float:
    return math.inf if sqnr_db is None else sqnr_db


def finite(value: float) -> float:
    """JSON has no infinity: NaN outputs show as an error of 1e30 and -1e30 dB."""
    return max(-1e30, min(1e30, value))


def compare(cascade: Cascade, runtime: Runtime, images: LabelledImages, report: Report | None = None) -> Comparison:
    """Run every stage of `runtime`'s bundle and of `cascade` on every image."""
    manifest = runtime.manifest
    chain = StageChain(split(cascade))
    tensors: dict[tuple[str, str], ErrorMeter] = {}
    exits = [ErrorMeter() for _ in manifest.stages]
    logits: list[list[NDArray[np.float32]]] = [[] for _ in manifest.stages]
    reference: list[list[NDArray[np.float32]]] = [[] for _ in manifest.stages]
    what = f"{manifest.target}: {len(images)} images against PyTorch"
    for image in each(images, what, report):
        pixels = runtime.preprocess(image)
        expected = chain.run(torch.from_numpy(pixels)[None])
        chained = [logits for logits, _ in runtime.steps(pixels)]
        for k, (inputs, outputs) in enumerate(expected):
            given = {t.name: inputs[t.name].numpy().astype(t.dtype, copy=False) for t in manifest.stages[k].inputs}
            alone = runtime.program(k)(given)
            for name, tensor in outputs.items():
                tensors.setdefault((manifest.stages[k].name, name), ErrorMeter()).add(alone[name], tensor.numpy())
            theirs = outputs["logits"][0].numpy()
            exits[k].add(chained[k], theirs)
            logits[k].append(chained[k])
            reference[k].append(theirs)
    stacked = [np.stack(rows) for rows in logits], [np.stack(rows) for rows in reference]
    return Comparison(tensors, *stacked, images.labels, images.source, exits)


def artifact_logits(
    runtime: Runtime, images: LabelledImages, report: Report | None = None
) -> list[NDArray[np.float32]]:
    """(images, classes) of each exit, from the artifacts."""
    what = f"{runtime.manifest.target}: {len(images)} more images"
    rows = [runtime.logits(image) for image in each(images, what, report)]
    return [np.stack(column) for column in zip(*rows, strict=True)]


def pytorch_logits(cascade: Cascade, images: LabelledImages, report: Report | None = None) -> list[NDArray[np.float32]]:
    """(images, classes) of each exit, from PyTorch."""
    config = cascade.config
    chain, rows = StageChain(split(cascade)), []
    for image in each(images, f"{config.name}: PyTorch's answers", report):
        pixels = torch.from_numpy(preprocess(image, config.image_size, config.resize))[None]
        rows.append([out["logits"][0].numpy() for _, out in chain.run(pixels)])
    return [np.stack(column) for column in zip(*rows, strict=True)]
