"""Stages to ONNX for the HTP, the NPU of Snapdragon: in float16, or quantized with activations of 8 or 16 bits.

A stage must become one node of QNN's, on each chip that is asked for, or the export fails: the CPU never helps out.
Beside each ONNX file lies what Qualcomm's own simulator compiled of it, a context binary wrapped in ONNX.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization import quantize as run_quantizer
from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config, qnn_preprocess_model

from dvt_edge.device.manifest import Compiled, Operators
from dvt_edge.errors import EngineError, ExportError, cause
from dvt_edge.exporting.exporters import CalibrationInputs, Converted
from dvt_edge.exporting.onnxruntime_exporter import StreamedCalibration, outputs_first, to_onnx
from dvt_edge.exporting.qnn_simulator import compile_context
from dvt_edge.exporting.recipes import Recipe
from dvt_edge.exporting.rewriting import conv1x1, patch_linear
from dvt_edge.network.cascade import patch_tokens
from dvt_edge.network.stages import StageGraph
from dvt_edge.quiet import quiet

OPSET = 20  # the last without Attention, which QNN takes and then fails on where relations are an output
REWRITES: dict[Any, Callable[..., Any]] = {patch_tokens: patch_linear, torch.conv2d: conv1x1}
ACTIVATIONS = {8: QuantType.QUInt8, 16: QuantType.QUInt16}


def export_stage(stage: StageGraph, recipe: Recipe, calibration: CalibrationInputs, folder: Path) -> Converted:
    """Write `<folder>/<stage.name>.onnx` and, for each of the recipe's chips, `<stage.name>.<soc>.onnx`.

    Raises ExportError, also where a chip's compiler leaves a node out.
    """
    artifact = folder / f"{stage.name}.onnx"
    try:
        with quiet():
            model = without_cast(to_onnx(stage, REWRITES, OPSET))
            if recipe.quantization is not None:
                reader = FloatImages(stage, calibration, recipe.quantization.calibration_images)
                model = quantize(model, reader, recipe.quantization.activation_bits)
            dequantize_image(model)
            onnx.checker.check_model(model, full_check=True)
            onnx.save(model, artifact)
    except Exception as error:  # the exporter, the checker and the quantizer each raise their own types
        raise ExportError(f"{stage.name}: target {recipe.name} failed ({cause(error)})") from error
    compiled = []
    for soc in recipe.socs:
        file = folder / f"{stage.name}.{soc}.onnx"
        where = f"{stage.name}: target {recipe.name}, {soc}"
        try:
            file.write_bytes(compile_context(artifact.read_bytes(), soc, recipe.precision == "float16"))
        except EngineError as error:
            raise ExportError(f"{where}: {error}") from error
        check_whole(file, where)
        compiled.append(Compiled(soc, recipe.backend, file.name))
    return Converted(artifact, Operators(delegated=len(model.graph.node), undelegated=0), tuple(compiled))


def check_whole(file: Path, where: str) -> None:
    """Raises ExportError unless a compiled stage is one node, QNN's."""
    kinds = Counter(node.op_type for node in onnx.load(file).graph.node)
    if kinds != {"EPContext": 1}:
        raise ExportError(f"{where}: compiled to {dict(kinds)}; expected one EPContext, all operators on the HTP")


class FloatImages(StreamedCalibration):
    """The image as float32, values 0..255."""

    def get_next(self) -> dict[str, object] | None:
        inputs = super().get_next()
        return None if inputs is None else inputs | {"image": inputs["image"].astype(np.float32)}


def without_cast(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with a float32 image; its first operator was the cast of a uint8 one."""
    graph = model.graph
    cast = next(node for node in graph.node if node.op_type == "Cast" and node.input[0] == "image")
    graph.node.remove(cast)
    rename(graph, cast.output[0], "image")
    graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    return model


def dequantize_image(model: onnx.ModelProto) -> None:
    """A uint8 image through DequantizeLinear with scale 1: the HTP turns what it casts from uint8 into 0 or 1."""
    graph = model.graph
    rename(graph, "image", "pixels")
    graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    given = ["image", "pixel_scale", "pixel_zero"]
    graph.node.insert(0, helper.make_node("DequantizeLinear", given, ["pixels"], name="pixels"))
    graph.initializer.append(numpy_helper.from_array(np.float32(1).reshape(()), "pixel_scale"))
    graph.initializer.append(numpy_helper.from_array(np.uint8(0).reshape(()), "pixel_zero"))


def rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Every use of a tensor under another name."""
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == old:
                node.input[index] = new


def quantize(model: onnx.ModelProto, reader: StreamedCalibration, bits: int) -> onnx.ModelProto:
    """QDQ of everything, as QNN wants it: weights of 8 bits, activations of `bits`.

    Weights per output channel by an override of each: the quantizer's own `per_channel` does the same to the norms'
    gains, which QNN then refuses.
    """
    with tempfile.TemporaryDirectory() as name:
        before, fused, after = (Path(name) / f"{what}.onnx" for what in ("float", "fused", "quantized"))
        onnx.save(model, before)
        base = fused if qnn_preprocess_model(str(before), str(fused)) else before
        config = get_qnn_qdq_config(
            str(base),
            reader,
            calibrate_method=CalibrationMethod.MinMax,
            activation_type=ACTIVATIONS[bits],
            weight_type=QuantType.QUInt8,
            per_channel=False,
            init_overrides=per_channel(onnx.load(base).graph),
        )
        run_quantizer(str(base), str(after), config)
        made = onnx.load(after)
    for node in made.graph.node:
        del node.metadata_props[:]
    return made


def per_channel(graph: onnx.GraphProto) -> dict[str, list[dict[str, object]]]:
    """The quantizer's override for the weights of each linear and convolution: symmetric, of the axis of outputs."""
    weights = {tensor.name for tensor in graph.initializer}
    found: dict[str, list[dict[str, object]]] = {}
    for node in graph.node:
        if node.op_type in ("Gemm", "Conv") and node.input[1] in weights:
            axis = 0 if outputs_first(node) else 1
            found[node.input[1]] = [{"quant_type": QuantType.QInt8, "axis": axis, "symmetric": True}]
    return found
