"""Checks a converted Core ML program where Core ML itself cannot run, such as on Linux.

`check_package` compares what an .mlpackage declares with its stage: operator kinds, names, shapes, dtypes.
`Interpreter` runs the saved program with its saved weights in torch, compressed ones as they say that they expand;
`load_stage` puts it where an engine would stand. Agreement with PyTorch proves the conversion,
that is, that these operators and weights compute the stage. It says nothing of what a phone's CPU, GPU or Neural
Engine make of them: where each operator runs, in which precision it sums, how fast it is. Only a device tells.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dvt_edge.device.engines import Arrays, Artifact, StageProgram
from dvt_edge.device.engines.coreml_engine import private_copy, remove
from dvt_edge.device.manifest import StageSpec, TensorSpec
from dvt_edge.errors import ExportError, cause
from dvt_edge.network.stages import StageGraph
from dvt_edge.quiet import quiet
from dvt_edge.validation.compare import ErrorMeter

with quiet():
    import coremltools as ct
    from coremltools.converters.mil.frontend.milproto.load import load as load_mil
    from coremltools.converters.mil.mil.types import fp16, nptype_from_builtin

IOS17_SPECIFICATION, IOS17_OPSET = 8, "CoreML7"  # of one program
IOS18_SPECIFICATION, IOS18_OPSET = 9, "CoreML8"  # of several, which are functions of one package
MAIN = "main"  # the one program
MODEL_FILE = "Data/com.apple.CoreML/model.mlmodel"  # as Manifest.json lists them, under the package
WEIGHT_FILE = "Data/com.apple.CoreML/weights/weight.bin"


def load_model(artifact: Path) -> Any:
    """The Model protobuf of an .mlpackage.

    Raises ExportError where there is none, or it is neither one ML program for iOS 17 nor several for iOS 18.
    """
    model = ct.proto.Model_pb2.Model()
    try:
        model.ParseFromString((artifact / MODEL_FILE).read_bytes())
    except Exception as error:  # protobuf's DecodeError has no stable home
        raise ExportError(f"{artifact.name}: no Core ML model in it ({cause(error)})") from error
    version, functions = model.specificationVersion, model.mlProgram.functions
    several = MAIN not in functions
    wanted, opset = (IOS18_SPECIFICATION, IOS18_OPSET) if several else (IOS17_SPECIFICATION, IOS17_OPSET)
    if version != wanted or (len(functions) != 1 and not several):
        raise ExportError(
            f"{artifact.name}: specification {version} with functions {sorted(functions)}; expected "
            f"{IOS17_SPECIFICATION} (iOS 17) with [{MAIN!r}] or {IOS18_SPECIFICATION} (iOS 18) with others"
        )
    if found := {function.opset for function in functions.values()} - {opset}:
        raise ExportError(f"{artifact.name}: operator set {min(found)!r}; expected {opset!r}")
    return model


def function_of(model: Any, stage: str) -> str:
    """The function that is a stage: the only one, or that of its name. Raises ExportError where there is none."""
    functions = model.mlProgram.functions
    name = MAIN if MAIN in functions else stage
    if name not in functions:
        raise ExportError(f"functions {sorted(functions)}; expected {stage} among them")
    return name


def check_package(artifact: Path, stage: StageGraph) -> dict[str, int]:
    """Numbers of operators by kind, constants left out, compressed ones too.

    Raises ExportError naming an operator that is not among OPERATORS, or an input or output (name, shape, dtype,
    in this order) that is not the stage's.
    """
    model = load_model(artifact)
    function = function_of(model, stage.name)
    operators = kinds(model, function)
    for constant in ("const", *EXPANSIONS):
        del operators[constant]
    if unknown := sorted(operators.keys() - OPERATORS):
        raise ExportError(f"{artifact.name}: unknown operators {', '.join(unknown)}; expected only {sorted(OPERATORS)}")
    described = next((f for f in model.description.functions if f.name == function), model.description)
    for side, found, expected in (
        ("inputs", described.input, stage.inputs),
        ("outputs", described.output, stage.outputs),
    ):
        declared, wanted = [declaration(f) for f in found], [specification(t) for t in expected]
        if declared != wanted:
            raise ExportError(f"{artifact.name}: {side} [{', '.join(declared)}]; expected [{', '.join(wanted)}]")
    return dict(operators)


def operations(model: Any, name: str = MAIN) -> Any:
    function = model.mlProgram.functions[name]
    return function.block_specializations[function.opset].operations


def kinds(model: Any, name: str = MAIN) -> Counter[str]:
    return Counter(op.type for op in operations(model, name))


def compressed(artifact: Path) -> int:
    """How many constants of an .mlpackage are compressed."""
    found = kinds(load_model(artifact))
    return sum(found[kind] for kind in EXPANSIONS)


def declaration(feature: Any) -> str:
    """An input or output of a model description in the words of `specification`, and more if it is anything else."""
    kind = feature.type.WhichOneof("Type")
    if kind == "imageType":
        image = feature.type.imageType
        text = f"{image.ColorSpace.Name(image.colorSpace)} image {(image.height, image.width)}"
        flexible = image.WhichOneof("SizeFlexibility")
    elif kind == "multiArrayType":
        array = feature.type.multiArrayType
        text = f"{array.ArrayDataType.Name(array.dataType).lower()} {tuple(array.shape)}"
        flexible = array.WhichOneof("ShapeFlexibility")
    else:
        text, flexible = str(kind), None
    extra = " optional" * feature.type.isOptional + f" {flexible}" * (flexible is not None)
    return f"{feature.name}: {text}{extra}"


def specification(tensor: TensorSpec) -> str:
    what = f"RGB image {tensor.shape[2:]}" if tensor.role == "image" else f"{tensor.dtype} {tensor.shape}"
    return f"{tensor.name}: {what}"


# The kinds of MIL operator that the stages become, computed on float32 tensors; constants other than tensors are
# plain Python values. https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html


def conv(
    x: Tensor,
    weight: Tensor,
    strides: list[int],
    pad_type: str,
    pad: list[int],
    dilations: list[int],
    groups: int,
    bias: Tensor | None = None,
) -> Tensor:
    require(pad_type in ("valid", "custom"), f"pad_type {pad_type!r}")
    if pad_type == "custom":
        top, bottom, left, right = pad
        x = F.pad(x, (left, right, top, bottom))
    return F.conv2d(x, weight, bias, strides, 0, dilations, groups)


def reshape(x: Tensor, shape: list[int]) -> Tensor:
    require(0 not in shape, f"shape {shape}")
    return x.reshape(shape)


def concat(values: list[Tensor], axis: int, interleave: bool) -> Tensor:
    require(not interleave, "interleave")
    return torch.cat(values, dim=axis)


def slice_by_index(
    x: Tensor,
    begin: list[int],
    end: list[int],
    begin_mask: list[bool] | None = None,
    end_mask: list[bool] | None = None,
    squeeze_mask: list[bool] | None = None,
) -> Tensor:
    no = [False] * x.dim()
    ranges = zip(begin, end, begin_mask or no, end_mask or no, squeeze_mask or no, strict=True)
    index = [
        first if squeeze else slice(None if from_start else first, None if to_end else last)
        for first, last, from_start, to_end, squeeze in ranges
    ]
    return x[tuple(index)]


def matmul(x: Tensor, y: Tensor, transpose_x: bool, transpose_y: bool) -> Tensor:
    return (x.mT if transpose_x else x) @ (y.mT if transpose_y else y)


def layer_norm(x: Tensor, axes: list[int], gamma: Tensor, beta: Tensor, epsilon: float) -> Tensor:
    require(axes in ([-1], [x.dim() - 1]), f"axes {axes}")
    return F.layer_norm(x, x.shape[-1:], gamma, beta, epsilon)


def gelu(x: Tensor, mode: str) -> Tensor:
    require(mode == "EXACT", f"mode {mode!r}")
    return F.gelu(x)


def cast(x: Tensor, dtype: str) -> Tensor:
    require(dtype in ("fp16", "fp32"), f"dtype {dtype!r}")
    return x  # rounded as every float16 result is


def require(ok: bool, found: str) -> None:
    if not ok:
        raise NotImplementedError(found)


KERNELS: dict[str, Callable[..., Tensor | tuple[Tensor, ...]]] = {
    "add": lambda x, y: x + y,
    "cast": cast,
    "concat": concat,
    "conv": conv,
    "exp": lambda x: x.exp(),
    "gelu": gelu,
    "layer_norm": layer_norm,
    "linear": lambda x, weight, bias=None: F.linear(x, weight, bias),
    "matmul": matmul,
    "mul": lambda x, y: x * y,
    "real_div": lambda x, y: x / y,
    "reduce_sum": lambda x, axes, keep_dims: x.sum(dim=axes, keepdim=keep_dims),
    "relu": lambda x: x.relu(),
    "reshape": reshape,
    "sigmoid": lambda x: x.sigmoid(),
    "slice_by_index": slice_by_index,
    "softmax": lambda x, axis: x.softmax(dim=axis),
    "split": lambda x, split_sizes, axis: torch.split(x, split_sizes, axis),
    "sub": lambda x, y: x - y,
    "transpose": lambda x, perm: x.permute(perm),
}
OPERATORS = frozenset(KERNELS)


def affine_dequantize(quantized_data: Tensor, zero_point: Tensor, scale: Tensor, axis: int) -> Tensor:
    """Integers less a zero point, times a scale, each one for all or one for each index of `axis`."""
    along = [1] * quantized_data.dim()
    along[axis] = -1
    zero, scale = (torch.as_tensor(t, dtype=torch.float32) for t in (zero_point, scale))
    zero, scale = (t.reshape(along) if t.dim() else t for t in (zero, scale))
    return (quantized_data - zero) * scale


def lut_to_dense(indices: Tensor, lut: Tensor, shape: list[int]) -> Tensor:
    """Values of a table by indices of as few bits as it needs, packed into bytes, the lowest bits first."""
    bits = max(1, math.ceil(math.log2(len(lut))))
    packed = indices.numpy().astype(np.uint8)
    digits = np.unpackbits(packed, bitorder="little")[: math.prod(shape) * bits].reshape(-1, bits)
    return lut[torch.from_numpy(digits.astype(np.int64) @ (1 << np.arange(bits)))].reshape(shape)


EXPANSIONS: dict[str, Callable[..., Tensor]] = {  # compressed constants, expanded once
    "constexpr_affine_dequantize": affine_dequantize,
    "constexpr_lut_to_dense": lut_to_dense,
}


class Interpreter:
    """A saved program as a function: arrays in, by name, arrays of the dtypes that it declares out.

    Of a package of several it is the function named as the stage. An image goes in as float32 (1, 3, size, size) with
    values 0..255. With `half`, each result that the program
    holds in float16 is rounded to it; inside an operator sums are float32. Without, only the weights are rounded.
    """

    def __init__(self, artifact: Path, half: bool = True, stage: str = MAIN) -> None:
        model = load_model(artifact)
        try:
            with quiet():
                program = load_mil(model, model.specificationVersion, str((artifact / WEIGHT_FILE).parent))
        except Exception as error:
            raise ExportError(f"{artifact.name}: the program cannot be read ({cause(error)})") from error
        self.name, self.half, self.function = artifact.name, half, program.functions[function_of(model, stage)]
        operations = self.function.operations
        self.operations = [op for op in operations if op.op_type != "const" and op.op_type not in EXPANSIONS]
        self.constants = {v.name: plain(v.val) for op in operations if op.op_type == "const" for v in op.outputs}
        for op in operations:
            if op.op_type in EXPANSIONS:
                arguments = {name: self.constants[var.name] for name, var in op.inputs.items()}
                self.constants[op.outputs[0].name] = EXPANSIONS[op.op_type](**arguments).half().float()

    @torch.inference_mode()
    def __call__(self, inputs: Arrays) -> Arrays:
        """Raises ExportError for inputs that are not the program's, and for an operator that it cannot run."""
        declared = {name: tuple(var.shape) for name, var in self.function.inputs.items()}
        if declared != (given := {name: array.shape for name, array in inputs.items()}):
            raise ExportError(f"{self.name}: inputs {given}; expected {declared}")
        values = self.constants | {name: torch.tensor(array, dtype=torch.float32) for name, array in inputs.items()}
        for op in self.operations:
            arguments = {
                name: [values[v.name] for v in var] if isinstance(var, (list, tuple)) else values[var.name]
                for name, var in op.inputs.items()
            }
            try:
                results = KERNELS[op.op_type](**arguments)
            except Exception as error:
                raise ExportError(f"{self.name}: {op.op_type} {op.name!r} is unchecked ({cause(error)})") from error
            for var, result in zip(op.outputs, results if isinstance(results, tuple) else (results,), strict=True):
                if tuple(result.shape) != var.shape:
                    raise ExportError(f"{self.name}: {var.name!r} is {tuple(result.shape)}; declared {var.shape}")
                values[var.name] = result.half().float() if self.half and var.dtype is fp16 else result
        outputs = self.function.outputs
        return {var.name: values[var.name].numpy().astype(nptype_from_builtin(var.dtype)) for var in outputs}


def plain(value: Any) -> Any:
    """A constant as a kernel takes it: a float32 tensor, of compressed weights too, or a Python value or list."""
    if isinstance(value, np.ndarray) and (value.dtype.kind == "f" or value.dtype.name in ("int8", "uint8")):
        return torch.tensor(value.astype(np.float32))
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def load_stage(artifact: Artifact, stage: StageSpec, backend: str, threads: int) -> StageProgram:
    """The interpreter in an engine's place: it takes the runtime's pixels. `threads` is torch's choice."""
    package = private_copy(artifact)
    try:
        interpreter = Interpreter(package, stage=stage.name)
    finally:
        remove(package.parent, os.getpid())

    def run(inputs: Arrays) -> Arrays:
        image = inputs["image"].astype(np.float32).transpose(0, 3, 1, 2)
        return interpreter({t.name: inputs[t.name] for t in stage.inputs} | {"image": image})

    return run


def interpret(artifact: Path, inputs: Arrays, half: bool = True) -> Arrays:
    """Outputs by name of an .mlpackage for one set of inputs: see `Interpreter`, which many sets should share."""
    return Interpreter(artifact, half)(inputs)


def compare(artifact: Path, stage: StageGraph, inputs: Sequence[Tensor], half: bool = True) -> dict[str, float]:
    """Signal-to-quantization-noise ratio in dB of each output, by name, of the interpreted program against PyTorch.

    `inputs` are the stage's, in its order. Infinite where the two are equal; -inf where the program's is not finite.
    """
    found = interpret(artifact, {t.name: x.numpy() for t, x in zip(stage.inputs, inputs, strict=True)}, half)
    with torch.inference_mode():
        expected = stage(*inputs)
    return {t.name: sqnr_db(y.numpy(), found[t.name]) for t, y in zip(stage.outputs, expected, strict=True)}


def sqnr_db(reference: NDArray[Any], value: NDArray[Any]) -> float:
    meter = ErrorMeter()
    meter.add(value, reference)
    return math.inf if meter.sqnr_db is None else meter.sqnr_db
