"""Where an error begins: the first stage of a bundle that leaves its band against PyTorch, and inside an ONNX stage the
first tensor that does, against the same stage in float32.

Each stage runs on PyTorch's own state, so that one stage's error is not another's. Tensors are told by their names,
which quantizing keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dvt_edge.data.images import LabelledImages
from dvt_edge.device.engines import Arrays
from dvt_edge.device.manifest import Manifest
from dvt_edge.device.runtime import Runtime
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.stages import StageChain, split
from dvt_edge.validation.bounds import Bounds
from dvt_edge.validation.compare import Comparison, ErrorMeter

IMAGES = 8
Reference = Callable[[int], bytes]  # a stage -> the same in float32, as ONNX


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


def first_tensor(
    culprit: Culprit, cascade: Cascade, runtime: Runtime, images: LabelledImages, bounds: Bounds, reference: Reference
) -> Culprit:
    """The culprit with the first tensor inside its stage, an ONNX artifact, that leaves the band; as it was if none."""
    stage = culprit.stage
    chain, inputs = StageChain(split(cascade)), []
    for image in images.first(IMAGES):
        steps = chain.run(torch.from_numpy(runtime.preprocess(image))[None], last=stage)
        inputs.append({name: t.numpy() for name, t in steps[stage][0].items()})
    artifact = runtime.manifest.stages[stage].artifact
    found, meters = compare_inside(runtime.bundle.artifact(stage)[artifact], reference(stage), inputs)
    before = None
    for name, operator in found:
        if broken := bounds.broken_by(meters[name].max_abs_error, meters[name].sqnr_db):
            return Culprit(stage, culprit.output, culprit.error, name, operator, "; ".join(broken), before)
        before = name
    return culprit


def compare_inside(
    artifact: bytes, reference: bytes, inputs: Sequence[Arrays]
) -> tuple[list[tuple[str, str]], dict[str, ErrorMeter]]:
    """The tensors that two ONNX models have in common, in order, with their operators; and their errors."""
    import onnx

    ours, theirs = onnx.load_from_string(artifact), onnx.load_from_string(reference)
    known = {name for node in theirs.graph.node for name in node.output}
    common = [
        (name, f"{node.op_type} {node.name}".strip())
        for node in ours.graph.node
        for name in node.output
        if name and name in known
    ]
    names = [name for name, _ in common]
    mine, right = with_outputs(ours, names), with_outputs(theirs, names)
    meters: dict[str, ErrorMeter] = {}
    for arrays in inputs:
        for name, a, b in zip(names, mine(arrays), right(arrays), strict=True):
            if a.dtype == b.dtype == np.float32 and a.size == b.size:
                meters.setdefault(name, ErrorMeter()).add(a, b)
    return [(name, operator) for name, operator in common if name in meters], meters


def with_outputs(model: object, names: Sequence[str]) -> Callable[[Arrays], list[np.ndarray]]:
    """The model as a function that gives tensors from inside it."""
    import onnx
    import onnxruntime as ort

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    there = {output.name for output in copy.graph.output}
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in there)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(copy.SerializeToString(), options, providers=["CPUExecutionProvider"])
    taken = [i.name for i in session.get_inputs()]
    return lambda arrays: session.run(list(names), {name: arrays[name] for name in taken})
