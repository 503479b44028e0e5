"""What is inside an ONNX stage: its tensors, made outputs, told by their names, which quantizing keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from dvt_edge.device.engines import Arrays
from dvt_edge.device.manifest import StageSpec
from dvt_edge.network.stages import StageGraph
from dvt_edge.validation.bisect import Inner
from dvt_edge.validation.compare import ErrorMeter


def compare_inside(
    artifact: bytes, reference: bytes, stage: StageGraph, spec: StageSpec, inputs: Sequence[Arrays]
) -> list[Inner]:
    """Every tensor of the artifact, against the same stage in float32 where it has it, over the inputs."""
    ours, theirs = onnx.load_from_string(artifact), onnx.load_from_string(reference)
    known = {name for node in theirs.graph.node for name in node.output if name}
    names = [name for node in ours.graph.node for name in node.output if name in known]
    mine, right = with_outputs(ours, names), with_outputs(theirs, names)
    meters: dict[str, ErrorMeter] = {}
    for arrays in inputs:
        for name, a, b in zip(names, mine(arrays), right(arrays), strict=True):
            if a.dtype == b.dtype == np.float32 and a.size == b.size:
                meters.setdefault(name, ErrorMeter()).add(a, b)
    made = {name for node in ours.graph.node for name in node.output if name}
    return [
        Inner(name, f"{node.op_type} {node.name}".strip(), tuple(n for n in node.input if n in made), meters.get(name))
        for node in ours.graph.node
        for name in node.output
        if name
    ]


def with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> Callable[[Arrays], list[NDArray[np.float32]]]:
    """The model as a function that gives tensors from inside it."""
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
