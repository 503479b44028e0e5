"""Stages to ExecuTorch: for XNNPACK in float32 or with int8 layers (PT2E), for Vulkan and Core ML in float.

A stage goes in as one delegate: where XNNPACK lacks an operator that the network uses, tracing writes it in those
that it has (`REWRITES`), which the other backends have too. The results differ by rounding only.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dvt_edge.device.manifest import Operators
from dvt_edge.errors import ExportError, cause
from dvt_edge.exporting.exporters import CalibrationInputs, Converted
from dvt_edge.exporting.recipes import Quantization, Recipe
from dvt_edge.exporting.rewriting import Rewriting, patch_linear
from dvt_edge.network.cascade import Patches, attend, patch_tokens
from dvt_edge.network.stages import StageGraph
from dvt_edge.quiet import quiet

handlers = list(logging.root.handlers)
with quiet():
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from executorch.exir import ExecutorchProgramManager, to_edge_transform_and_lower
    from executorch.exir.passes.constant_prop_pass import constant_prop_pass
    from torchao.quantization.pt2e import MinMaxObserver
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer.utils import QuantizationConfig
logging.root.handlers[:] = handlers  # executorch calls logging.basicConfig

LEAST_SCALE = 2**-12  # as the parent's
COLUMNS = 8  # outputs that a kernel makes at once in float32, on ARM
PARTITIONERS = {
    "VulkanBackend": "executorch.backends.vulkan.partitioner.vulkan_partitioner.VulkanPartitioner",
    "CoreMLBackend": "executorch.backends.apple.coreml.partition.CoreMLPartitioner",
}
# Core ML has no uint8 input: the image's cast stays outside.
PARTITIONER_OPTIONS = {
    "CoreMLBackend": {
        "skip_ops_for_coreml_delegation": ["dim_order_ops._to_dim_order_copy.default", "aten._to_copy.default"]
    }
}


def partitioner(backend: str) -> Any:
    """Of a backend, imported when it is asked for: Core ML's needs coremltools."""
    if backend == "XnnpackBackend":
        return XnnpackPartitioner()
    module, name = PARTITIONERS[backend].rsplit(".", 1)
    return getattr(import_module(module), name)(**PARTITIONER_OPTIONS.get(backend, {}))


def export_stage(stage: StageGraph, recipe: Recipe, calibration: CalibrationInputs, folder: Path) -> Converted:
    """Write `<folder>/<stage.name>.pte`. Raises ExportError, also where the backend takes no operator."""
    artifact = folder / f"{stage.name}.pte"
    try:
        with quiet(), torch.no_grad():
            exported = trace(stage)
            if recipe.quantization is not None:
                kept = partial(recipe.keeps_float, stage.name)
                exported = quantize(exported, stage, recipe.quantization, calibration, kept)
            lowered = to_edge_transform_and_lower(exported, partitioner=[partitioner(recipe.backend)])
            program = lowered.to_executorch()
            operators = count_operators(program)
            with artifact.open("wb") as file:
                program.write_to_file(file)
    except ImportError:
        raise
    except Exception as error:  # torch, torchao and executorch each raise their own types
        raise ExportError(f"{stage.name}: target {recipe.name} failed ({cause(error)})") from error
    if operators.delegated == 0:
        artifact.unlink()
        raise ExportError(f"{stage.name}: target {recipe.name} failed ({recipe.backend} takes none of its operators)")
    return Converted(artifact, operators)


def trace(stage: StageGraph) -> torch.export.ExportedProgram:
    """The stage in ATen operators, with `REWRITES` applied and constant expressions computed."""
    with Rewriting(REWRITES):
        exported = torch.export.export(stage, stage.example_inputs(), strict=False)
    exported = constant_prop_pass(exported)
    for name, value in exported.constants.items():
        exported.constants[name] = value.detach() if isinstance(value, Tensor) else value
    return exported


class WeightQuantizer(XNNPACKQuantizer):  # type: ignore[misc, unused-ignore]
    """Annotates operators with weights only; the parent's other patterns cost ten seconds to compile."""

    SUPPORTED_PATTERNS = [p for p in XNNPACKQuantizer.SUPPORTED_PATTERNS if p.name in ("linear", "conv", "conv_relu")]  # noqa: RUF012


def is_quantized(node: torch.fx.Node, keeps_float: Callable[[str], bool]) -> bool:
    """Whether the quantizer may annotate a node: products only where they are a layer's, not means and resampling.

    The parent's filters by module would leave out each convolution with a folded batch norm, whose bias has no module.
    """
    if node.target not in (torch.ops.aten.linear.default, torch.ops.aten.conv2d.default):
        return True
    layers = {f"{kind.__module__}.{kind.__qualname__}" for kind in (nn.Linear, nn.Conv2d, Patches)}
    inside = [path for path, name in node.meta["nn_module_stack"].values() if name in layers]
    return bool(inside) and not keeps_float(inside[-1].removeprefix("stage."))


def quantize(
    exported: torch.export.ExportedProgram,
    stage: StageGraph,
    recipe: Quantization,
    calibration: CalibrationInputs,
    keeps_float: Callable[[str], bool],
) -> torch.export.ExportedProgram:
    """int8: weights symmetric per output channel, inputs of each layer per tensor, and outputs where ranges are static.

    Static ranges cover linears and convolutions, dynamic ones, found for each image, linears only. Matmuls of
    activations, softmax, GELU, sums and resampling stay float. Calibration holds one image at a time.
    """
    if (bits := (recipe.weight_bits, recipe.activation_bits)) != (8, 8) or recipe.activations == "float":
        raise ValueError(f"weights and activations of {bits} bits, {recipe.activations}; expected 8 and 8, quantized")
    dynamic = recipe.activations == "dynamic"
    quantizer = WeightQuantizer()
    config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=dynamic)
    quantizer.set_global(config if dynamic else to_extremes(config))
    quantizer.set_filter_function(lambda node: is_quantized(node, keeps_float))
    observed = prepare_pt2e(exported.module(check_guards=False), quantizer)
    images = 0
    if dynamic:  # the observers want one pass; what they see sets no range
        observed(*stage.example_inputs())
        return torch.export.export(convert_pt2e(observed), stage.example_inputs(), strict=False)
    for inputs in islice(calibration(), recipe.calibration_images):
        observed(*(t.clone() for t in inputs))  # inference tensors may not be observed in place
        images += 1
    if images == 0:
        raise ValueError("no calibration images")
    return torch.export.export(convert_pt2e(observed), stage.example_inputs(), strict=False)


def to_extremes(config: QuantizationConfig) -> QuantizationConfig:
    """Ranges of activations from the least to the largest; the parent's histograms cut outliers off."""
    spec = config.input_activation
    assert spec is not None
    spec = replace(spec, observer_or_fake_quant_ctr=MinMaxObserver.with_args(eps=LEAST_SCALE))
    return replace(config, input_activation=spec, output_activation=spec)


def count_operators(program: ExecutorchProgramManager) -> Operators:
    """Operators inside the delegates, and those left to the portable kernels; memory planning does not count."""
    delegated, left = 0, Counter[str]()
    module = program.exported_program().graph_module
    for node in module.graph.nodes:
        if node.op == "get_attr" and hasattr(lowered := getattr(module, node.target), "original_module"):
            delegated += sum(is_operator(inner) for inner in lowered.original_module.graph.nodes)
        elif is_operator(node):
            left[operator_name(node.target)] += 1
    return Operators(delegated, left.total(), dict(sorted(left.items())))


def is_operator(node: torch.fx.Node) -> bool:
    name = getattr(node.target, "__name__", "")
    return node.op == "call_function" and name not in ("alloc", "view", "getitem", "executorch_call_delegate")


def operator_name(target: Any) -> str:
    return str(getattr(target, "__name__", target))


# -- rewrites: the same arithmetic in operators that XNNPACK has -----------------------------------------------------


def whole_columns(x: Tensor, weight: Tensor) -> Tensor:
    """A linear with its outputs filled up to a multiple of COLUMNS, which are cut off again.

    With any other number XNNPACK takes a kernel of two columns on ARM, of many more instructions. On x86 the cut costs
    more than it gains, a little.
    """
    outputs = weight.shape[0]
    missing = -outputs % COLUMNS
    if outputs < COLUMNS or not missing:
        return F.linear(x, weight)
    return F.linear(x, F.pad(weight, (0, 0, 0, missing))).narrow(-1, 0, outputs)


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """A constant, the first operand of two dimensions, becomes a weight; anything else a bmm, without expand."""
    if a.dim() == 2:
        return whole_columns(b.transpose(-2, -1), a).transpose(-2, -1)
    if b.dim() == 2:
        return whole_columns(a, b.t())
    y = torch.bmm(a.reshape(-1, *a.shape[-2:]), b.reshape(-1, *b.shape[-2:]))
    return y.reshape(*a.shape[:-2], *y.shape[-2:])


def xnnpack_attend(qkv: Tensor, heads: int, reused: Tensor | None) -> tuple[Tensor, Tensor]:
    """`attend` of one image in products of three dimensions."""
    tokens, width = qkv.shape[0], qkv.shape[1] // 3
    q, k, v = (qkv.narrow(1, i * width, width).reshape(tokens, heads, -1) for i in range(3))
    relation = torch.bmm(q.transpose(0, 1) * q.shape[-1] ** -0.5, k.permute(1, 2, 0))
    if reused is not None:
        relation = relation + reused
    y = torch.bmm(relation.softmax(dim=-1), v.transpose(0, 1))
    return y.transpose(0, 1).reshape(tokens, width), relation


def split(x: Tensor, size: int, dim: int = 0) -> tuple[Tensor, ...]:
    return tuple(x.narrow(dim, i, min(size, x.shape[dim] - i)) for i in range(0, x.shape[dim], size))


def chunk(x: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    return split(x, -(-x.shape[dim] // chunks), dim)


def total(x: Tensor, dim: int, keepdim: bool = False) -> Tensor:
    """A sum, as a linear of one output with weights of one."""
    x = x.transpose(dim, -1)
    y = F.linear(x, torch.ones(1, x.shape[-1])).transpose(dim, -1)
    return y if keepdim else y.squeeze(dim)


def layer_norm(x: Tensor, shape: Any, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Means are linears of one output: XNNPACK averages images only."""
    width = x.shape[-1]
    mean = torch.full((1, width), 1 / width)
    x = x - F.linear(x, mean)
    return x * torch.rsqrt(F.linear(x * x, mean, torch.full((1,), eps))) * weight + bias


def unfold(x: Tensor, kernel_size: int, dilation: int, padding: int, stride: int) -> Tensor:
    """(1, C, H, W) -> (1, C*k², n): a convolution of each channel with k² kernels that each pick one pixel."""
    taps = kernel_size**2
    picks = torch.eye(taps).reshape(taps, 1, kernel_size, kernel_size).repeat(x.shape[1], 1, 1, 1)
    return F.conv2d(x, picks, None, stride, padding, dilation, x.shape[1]).flatten(2)


REWRITES: dict[Any, Callable[..., Any]] = {
    Tensor.matmul: matmul,
    Tensor.__matmul__: matmul,
    Tensor.split: split,
    Tensor.chunk: chunk,
    Tensor.sum: total,
    F.layer_norm: layer_norm,
    attend: xnnpack_attend,
    patch_tokens: patch_linear,
    F.unfold: unfold,
}
