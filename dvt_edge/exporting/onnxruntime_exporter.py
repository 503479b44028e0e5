"""Stages to ONNX: in float32, with the weight linears and convolutions in int8 (QDQ), or with weights alone in int8."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import: it starts an uploader otherwise

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from torch import Tensor

from dvt_edge.device.manifest import Operators
from dvt_edge.errors import ExportError, cause
from dvt_edge.exporting.exporters import CalibrationInputs, Converted
from dvt_edge.exporting.recipes import Quantization, Recipe
from dvt_edge.exporting.rewriting import Rewriting, conv1x1, patch_linear
from dvt_edge.network.cascade import attend, patch_tokens
from dvt_edge.network.stages import StageGraph
from dvt_edge.quiet import quiet

WEIGHTED = ("Gemm", "MatMul", "Conv")
OPSET = 23  # the first with Attention; ONNX Runtime has its quantizers since 1.24, its float operators since 1.23


def export_stage(stage: StageGraph, recipe: Recipe, calibration: CalibrationInputs, folder: Path) -> Converted:
    """Write `<folder>/<stage.name>.onnx`. Raises ExportError."""
    artifact = folder / f"{stage.name}.onnx"
    try:
        with quiet():
            model = to_onnx(stage)
            if recipe.quantization is None:
                onnx.save(model, artifact)
            elif recipe.quantization.activations == "float":
                onnx.save(compress_weights(model, recipe.quantization), artifact)
            else:
                float_file = folder / f"{stage.name}.float.onnx"
                onnx.save(model, float_file)
                reader = StreamedCalibration(stage, calibration, recipe.quantization.calibration_images)
                quantize(float_file, artifact, reader, partial(recipe.keeps_float, stage.name))
                float_file.unlink()
    except Exception as error:  # the exporter, the checker and the quantizer each raise their own types
        raise ExportError(f"{stage.name}: target {recipe.name} failed ({cause(error)})") from error
    return Converted(artifact, count_operators(artifact, recipe.backend))


def to_onnx(
    stage: StageGraph, rewrites: Mapping[Any, Callable[..., Any]] | None = None, opset: int = OPSET
) -> onnx.ModelProto:
    """The stage in float32, traced with `rewrites` (default: `REWRITES`). Raises what the exporter or checker raise."""
    with Rewriting(REWRITES if rewrites is None else rewrites):
        exported = torch.export.export(stage, stage.example_inputs(), strict=False)
    program = torch.onnx.export(
        exported,
        dynamo=True,
        opset_version=opset,
        input_names=[t.name for t in stage.inputs],
        output_names=[t.name for t in stage.outputs],
        optimize=True,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    onnx.checker.check_model(model, full_check=True)
    for node in model.graph.node:
        if node.op_type in WEIGHTED:
            node.name = f"{module_of(node)}/{node.name}"
        del node.metadata_props[:]  # traces of where it came from in Python: larger than the graph itself
    return model


def module_of(node: onnx.NodeProto) -> str:
    """The innermost module of the stage that an exported node comes from, by its name there."""
    scopes = next((p.value for p in node.metadata_props if p.key == "pkg.torch.onnx.name_scopes"), "[]")
    inside = [scope for scope in ast.literal_eval(scopes)[:-1] if scope.startswith("stage.")]
    return inside[-1].removeprefix("stage.") if inside else ""


def layer_of(node: onnx.NodeProto) -> str:
    """The same, of a node of a model of `to_onnx`, fused or not."""
    return node.name.split("/")[0]


def onnx_attend(qkv: Tensor, heads: int, reused: Tensor | None) -> tuple[Tensor, Tensor]:
    """`attend` of one image as one operator; the relation is its output of mode 2, what softmax takes."""
    q, k, v = qkv.unsqueeze(0).chunk(3, dim=-1)
    bias = None if reused is None else reused.unsqueeze(0)
    y, _, _, relation = torch.onnx.ops.attention(
        q, k, v, bias, q_num_heads=heads, kv_num_heads=heads, qk_matmul_output_mode=0 if bias is None else 2
    )
    return y.squeeze(0), relation.squeeze(0)


REWRITES: dict[Any, Callable[..., Any]] = {attend: onnx_attend, patch_tokens: patch_linear, torch.conv2d: conv1x1}


class StreamedCalibration(CalibrationDataReader):
    """Hands the quantizer one image's inputs at a time."""

    def __init__(self, stage: StageGraph, calibration: CalibrationInputs, limit: int) -> None:
        self.names = [t.name for t in stage.inputs]
        self.inputs: Iterator[tuple[Tensor, ...]] = calibration()
        self.left = limit

    def get_next(self) -> dict[str, Any] | None:
        inputs = next(self.inputs, None) if self.left > 0 else None
        self.left -= 1
        if inputs is None:
            return None
        return {name: tensor.numpy() for name, tensor in zip(self.names, inputs, strict=True)}


def quantize(float_file: Path, artifact: Path, reader: StreamedCalibration, keeps_float: Callable[[str], bool]) -> None:
    """QDQ around the linears and convolutions but those that are kept; everything between them stays float.

    The linears are fused into Gemm first: ONNX Runtime runs a quantized Gemm with a float output in one kernel,
    so that only inputs are rounded. Weights take 7 of the 8 bits (`reduce_range`): x86 without VNNI adds pairs
    of products in 16 bits, which overflow with 8, and results would differ between x86 and ARM.
    """
    fused = float_file.with_suffix(".fused.onnx")
    options = session_options(fused)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    ort.InferenceSession(str(float_file), options, providers=["CPUExecutionProvider"])
    model = onnx.load(fused)
    quantize_static(
        model,
        artifact,
        reader,
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_quantize=[
            n.name for n in model.graph.node if n.op_type in ("Gemm", "Conv") and not keeps_float(layer_of(n))
        ],
        extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm", "Conv"]},
    )
    fused.unlink()


def compress_weights(model: onnx.ModelProto, recipe: Quantization) -> onnx.ModelProto:
    """The linears and 1x1 convolutions as MatMulNBits: weights symmetric by blocks of the inputs, activations float32.

    `accuracy_level` 1 keeps the products in float32; 4 would quantize activations too. The resampling of what is reused
    has its constant first and stays as it is.
    """
    unfuse_linears(model)
    weights = {tensor.name for tensor in model.graph.initializer}
    linears = sum(node.op_type == "MatMul" and node.input[1] in weights for node in model.graph.node)
    quantizer = MatMulNBitsQuantizer(
        model,
        bits=recipe.weight_bits,
        block_size=recipe.block,
        is_symmetric=True,
        accuracy_level=1,
    )
    quantizer.process()
    made = quantizer.model.model
    found = sum(node.op_type == "MatMulNBits" for node in made.graph.node)
    if found != linears:
        raise ValueError(f"{found} linears with int8 weights; expected {linears}")
    return made


def unfuse_linears(model: onnx.ModelProto) -> None:
    """Each Gemm as MatMul and Add, which is what MatMulNBits is made of."""
    graph, nodes = model.graph, []
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "Gemm" or node.input[1] not in constants:
            nodes.append(node)
            continue
        weight = onnx.numpy_helper.to_array(constants[node.input[1]])
        name, product = f"{node.output[0]}.weight", f"{node.output[0]}.product"
        columns = np.ascontiguousarray(weight.T if outputs_first(node) else weight)
        graph.initializer.append(onnx.numpy_helper.from_array(columns, name))
        biased = len(node.input) > 2
        output = product if biased else node.output[0]
        nodes.append(onnx.helper.make_node("MatMul", [node.input[0], name], [output], name=f"{node.name}.product"))
        if biased:
            nodes.append(onnx.helper.make_node("Add", [product, node.input[2]], node.output, name=f"{node.name}.bias"))
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)


def outputs_first(node: onnx.NodeProto) -> bool:
    """Whether the first axis of a convolution's or Gemm's weights is that of its outputs."""
    return node.op_type == "Conv" or any(a.name == "transB" and a.i for a in node.attribute)


def session_options(optimized: Path) -> ort.SessionOptions:
    """Options that write the optimized graph to a file."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(optimized)
    return options


def count_operators(artifact: Path, backend: str) -> Operators:
    """Nodes of the optimized graph. The CPU provider takes them all, or loading fails."""
    optimized = artifact.with_suffix(".optimized.onnx")
    try:
        ort.InferenceSession(str(artifact), session_options(optimized), providers=[backend])
        nodes = len(onnx.load(optimized, load_external_data=False).graph.node)
    finally:
        optimized.unlink(missing_ok=True)
    return Operators(delegated=nodes, undelegated=0)
