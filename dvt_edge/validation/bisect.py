"""Where an error begins: the first stage of a bundle that leaves its band against PyTorch, and inside it the first
tensor whose error goes on to the stage's output, against the same stage in float32.

Each stage runs on PyTorch's own state, so that one stage's error is not another's. A tensor out of the band is passed
over where the one made of it alone is within: exports may move a factor from one layer into the next. One made of
several may hide the error of one of them, as a sum does, and is followed back.
What is inside a stage is told by a module for each engine that can: `inside_onnx.py`, `inside_xnnpack.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module

import torch

from dvt_edge.data.images import LabelledImages
from dvt_edge.device.manifest import Manifest
from dvt_edge.device.runtime import Runtime
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.stages import StageChain, StageGraph, split
from dvt_edge.validation.bounds import Bounds
from dvt_edge.validation.compare import Comparison, ErrorMeter

IMAGES = 8
Reference = Callable[[StageGraph], bytes]  # a stage -> the artifact of the same engine in float32
INSIDE = {"CPUExecutionProvider": "inside_onnx", "XnnpackBackend": "inside_xnnpack"}


@dataclass(frozen=True)
class Inner:
    """A tensor inside a stage, and its error; None where the stage in float32 has no such tensor.

    `name` is the manifest's for an output of the stage; `sources` are the names of the tensors that it is made of.
    """

    name: str
    operator: str
    sources: tuple[str, ...]
    meter: ErrorMeter | None


@dataclass(frozen=True)
class Culprit:
    """The first output out of its band; `tensor` with its operator is the first inside, where that can be seen."""

    stage: int
    output: str
    error: str
    tensor: str | None = None
    operator: str | None = None
    tensor_error: str | None = None
    after: str | None = None  # the last tensor before it that is within the band

    def words(self) -> str:
        found = f"stage {self.stage} is the first out of its band: its output {self.output} {self.error}"
        if self.tensor is None:
            return found
        before = f", after {self.after}" if self.after else ""
        return f"{found}; inside it, {self.tensor} of {self.operator} {self.tensor_error}{before}"


def first_stage(comparison: Comparison, manifest: Manifest, bounds: Bounds) -> Culprit | None:
    """The first output of the first stage out of its band, state before logits; None where all are within it."""
    for k, stage in enumerate(manifest.stages):
        for tensor in sorted(stage.outputs, key=lambda t: t.role == "logits"):
            meter = comparison.tensors[stage.name, tensor.name]
            if broken := bounds.broken_by(meter.max_abs_error, meter.sqnr_db):
                return Culprit(k, tensor.name, "; ".join(broken))
    return None


def first_inside(
    culprit: Culprit, cascade: Cascade, runtime: Runtime, images: LabelledImages, bounds: Bounds, reference: Reference
) -> Culprit:
    """The culprit with the first tensor inside its stage; as it was where none is, or its engine does not show them."""
    manifest = runtime.manifest
    if manifest.backend not in INSIDE:
        return culprit
    spec, stages, inputs = manifest.stages[culprit.stage], split(cascade), []
    chain, graph = StageChain(stages), stages[culprit.stage]
    for image in images.first(IMAGES):
        steps = chain.run(torch.from_numpy(runtime.preprocess(image))[None], last=culprit.stage)
        inputs.append({name: t.numpy() for name, t in steps[culprit.stage][0].items()})
    artifact = runtime.bundle.artifact(culprit.stage)[spec.artifact]
    module = import_module(f"dvt_edge.validation.{INSIDE[manifest.backend]}")
    return first_tensor(culprit, module.compare_inside(artifact, reference(graph), graph, spec, inputs), bounds)


def first_tensor(culprit: Culprit, tensors: Sequence[Inner], bounds: Bounds) -> Culprit:
    """The first of a stage's tensors, in the order in which they are computed, that takes its error to the output."""
    followed, first = {culprit.output}, None
    for inner in reversed(tensors):
        if inner.name not in followed:
            continue
        broken = bounds.broken_by(inner.meter.max_abs_error, inner.meter.sqnr_db) if inner.meter else []
        if inner.meter is None or broken or len(inner.sources) > 1:
            followed.update(inner.sources)
        if broken:
            first = inner, "; ".join(broken)
    if first is None:
        return culprit
    inner, error = first
    before = [t for t in tensors[: tensors.index(inner)] if t.meter is not None]
    after = before[-1].name if before else None
    return replace(culprit, tensor=inner.name, operator=inner.operator, tensor_error=error, after=after)
