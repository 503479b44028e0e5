"""Targets: each a named, declarative recipe. A new one is a new row; the exporters read these fields and no names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal

from dvt_edge.errors import ExportError, UnknownTargetError
from dvt_edge.validation.bounds import Bounds, DeviceBounds

Engine = Literal["onnxruntime", "executorch", "coreml", "litert"]
Status = Literal["ready", "simulator", "experimental"]
Proof = Literal["run", "interpreted", "simulated", "lowered"]
DRAWN_IMAGES = 2048  # that an export takes of those given, at most: more take longer and say little more


@dataclass(frozen=True)
class Quantization:
    """Post-training quantization of the layers with weights: weights per output channel or by `block`.

    Activations per tensor: `static`, with ranges from calibration images; `dynamic`, with a range for each image on the
    device; `float`, not at all.
    """

    weight_bits: int = 8
    activation_bits: int = 8
    activations: Literal["static", "dynamic", "float"] = "static"
    calibration_images: int = 128
    weights: Literal["linear", "palette"] = "linear"
    smooth: float | None = None  # strength with which outliers go into weights first: outliers.py; None: they stay
    block: int | None = None  # weights that share a scale, along the inputs; None: all of an output channel
    first_layer: bool = True  # the one that reads the pixels too, whose error all others take


FLOAT_DEVICE = DeviceBounds(1e-3)


@dataclass(frozen=True)
class Recipe:
    """One target.

    `status`: ready, its artifacts run here (Core ML's program, interpreted); simulator, they run on the vendor's
    simulator of the chip; experimental, only by name: they run nowhere here, lose too much, or gain nothing.
    `proof`: how an export checks them. The engine runs them, the program is interpreted, a simulator runs them, or
    they are only made.
    """

    name: str
    engine: Engine
    backend: str  # the provider or delegate that must run it
    extra: str  # pip extra that brings the packages
    precision: Literal["float32", "float16"]
    bounds: Bounds
    quantization: Quantization | None = None
    layout: Literal["NHWC", "image"] = "NHWC"
    state: Literal["float32", "float16"] = "float32"  # what stages hand on: float16 where the backend computes in it
    device: DeviceBounds = FLOAT_DEVICE
    keep_float: tuple[str, ...] = ()  # layers with weights that are not quantized: `inside`
    status: Status = "ready"
    socs: tuple[str, ...] = ()  # the chips that stages are compiled for, by names of `qnn_chips.py`
    least_soc: str | None = None  # the first chip that can run it
    measured_images: int | None = None  # at most, of those that set no ranges: interpreters and simulators are slow
    proof: Proof = "run"
    one_package: bool = False  # of all stages, which are functions of it; Core ML only
    undelegated: tuple[str, ...] = ()  # kinds of operators that a stage may leave to others, as often as they are here
    environment: Literal["qnn", "ethos-u", "litert"] | None = None  # that it needs: `own_environment.py`
    packages: tuple[str, ...] = ()  # import names that it needs beyond its extra's
    about: str = ""  # what becomes of a stage, and what stays in float

    @property
    def static_int8(self) -> bool:
        """Whether its layers are int8 with ranges from images: what `emulation.py` can round layer by layer."""
        q = self.quantization
        return q is not None and (q.activations, q.weight_bits, q.activation_bits) == ("static", 8, 8)

    def keeps_float(self, stage: str, layer: str) -> bool:
        """Whether `keep_float` names a layer, in every stage ("blocks.0.fc2") or in one ("stage1.blocks.*.fc2")."""
        return any(inside(name, p) for p in self.keep_float for name in (layer, f"{stage}.{layer}"))


def inside(layer: str, pattern: str) -> bool:
    """Whether a layer is what a pattern names, or inside of it: "*" stands for one part between dots, or some of it."""
    parts, wanted = layer.split("."), pattern.split(".")
    return len(wanted) <= len(parts) and all(map(fnmatchcase, parts, wanted))


WEIGHTS = "linears and convolutions"
REST = "softmax, GELU, norms and attention products float32"
CAST = ("_to_dim_order_copy.out",)  # the uint8 image to float32: one operator of the portable kernels

INT8_ENDS = ("quantize_per_tensor.out", "dequantize_per_tensor.out") * 4  # of inputs, outputs, and around a slice

FLOAT = Bounds(max_abs_error=1e-3)
# SQNR: under the worst exit of both shipped cascades, of which the ViT-S has outliers: it tells a broken
# layer. Shares: what they keep, or less (docs/recipes.md, docs/recipes-photographs.md).
ONNX_INT8 = Bounds(min_sqnr_db=20.0, min_top1_agreement=0.97, min_exit_agreement=0.95)
ONNX_WEIGHTS8 = Bounds(min_sqnr_db=37.0, min_top1_agreement=0.99, min_exit_agreement=0.98)
XNNPACK_INT8 = Bounds(min_sqnr_db=16.0, min_top1_agreement=0.98, min_exit_agreement=0.95)
XNNPACK_DYNAMIC = Bounds(min_sqnr_db=22.0, min_top1_agreement=0.99, min_exit_agreement=0.98)
COREML_FLOAT16 = Bounds(min_sqnr_db=47.0, min_top1_agreement=0.99, min_exit_agreement=0.99)
COREML_WEIGHTS8 = Bounds(min_sqnr_db=32.0, min_top1_agreement=0.98, min_exit_agreement=0.97)
COREML_PALETTE6 = Bounds(min_sqnr_db=24.0, min_top1_agreement=0.97, min_exit_agreement=0.95)
QNN_FLOAT16 = Bounds(min_sqnr_db=45.0, min_top1_agreement=0.99, min_exit_agreement=0.97)
QNN_A16W8 = Bounds(min_sqnr_db=25.0, min_top1_agreement=0.97, min_exit_agreement=0.95)
QNN_A8W8 = Bounds(min_sqnr_db=20.0, min_top1_agreement=0.96, min_exit_agreement=0.94)
INT8_DEVICE = DeviceBounds(0.25)  # ARM's and x86's int8 kernels are within 0.15 on the shipped cascade
FLOAT16_DEVICE = DeviceBounds(0.1)

STATIC8 = Quantization()
STATIC16 = Quantization(activation_bits=16)
DYNAMIC8 = Quantization(activations="dynamic", calibration_images=0)
BLOCKS8 = Quantization(activations="float", calibration_images=0, block=32)
CHANNELS8 = Quantization(activations="float", calibration_images=0, first_layer=False)
PALETTE6 = replace(CHANNELS8, weight_bits=6, weights="palette")

RECIPES = (
    Recipe(
        name="onnx-fp32",
        engine="onnxruntime",
        backend="CPUExecutionProvider",
        extra="onnx",
        precision="float32",
        bounds=FLOAT,
        about="float32",
    ),
    Recipe(
        name="onnx-int8",
        engine="onnxruntime",
        backend="CPUExecutionProvider",
        extra="onnx",
        precision="float32",
        bounds=ONNX_INT8,
        quantization=STATIC8,
        device=INT8_DEVICE,
        about=f"{WEIGHTS} int8 (QDQ); {REST}",
    ),
    Recipe(
        name="onnx-w8",
        engine="onnxruntime",
        backend="CPUExecutionProvider",
        extra="onnx",
        precision="float32",
        bounds=ONNX_WEIGHTS8,
        quantization=BLOCKS8,
        device=FLOAT_DEVICE,
        about="weights of linears int8 (MatMulNBits); all else float32: for size, not for speed",
    ),
    Recipe(
        name="executorch-xnnpack-fp32",
        engine="executorch",
        backend="XnnpackBackend",
        extra="executorch",
        precision="float32",
        bounds=FLOAT,
        undelegated=CAST,
        about="float32",
    ),
    Recipe(
        name="executorch-xnnpack-int8",
        engine="executorch",
        backend="XnnpackBackend",
        extra="executorch",
        precision="float32",
        bounds=XNNPACK_INT8,
        quantization=STATIC8,
        device=INT8_DEVICE,
        undelegated=CAST,
        about=f"{WEIGHTS} int8 (PT2E); {REST}",
    ),
    Recipe(
        name="executorch-xnnpack-int8-dynamic",
        engine="executorch",
        backend="XnnpackBackend",
        extra="executorch",
        precision="float32",
        bounds=XNNPACK_DYNAMIC,
        quantization=DYNAMIC8,
        device=INT8_DEVICE,
        undelegated=CAST,
        about=f"linears int8, ranges found for each image (PT2E); convolutions, {REST}",
    ),
    Recipe(
        name="coreml-fp16",
        engine="coreml",
        backend="CoreML",
        extra="coreml",
        precision="float16",
        bounds=COREML_FLOAT16,
        layout="image",
        state="float16",
        device=FLOAT16_DEVICE,
        proof="interpreted",
        measured_images=512,
        about="float16 ML program for iOS 17, one .mlpackage a stage",
    ),
    Recipe(
        name="coreml-w8",
        engine="coreml",
        backend="CoreML",
        extra="coreml",
        precision="float16",
        bounds=COREML_WEIGHTS8,
        quantization=CHANNELS8,
        layout="image",
        state="float16",
        device=FLOAT16_DEVICE,
        proof="interpreted",
        measured_images=512,
        about="the same with int8 weights, symmetric per output channel; the first layer, and all else, float16",
    ),
    Recipe(
        name="coreml-palette6",
        engine="coreml",
        backend="CoreML",
        extra="coreml",
        precision="float16",
        bounds=COREML_PALETTE6,
        quantization=PALETTE6,
        layout="image",
        state="float16",
        device=FLOAT16_DEVICE,
        status="experimental",
        proof="interpreted",
        measured_images=512,
        packages=("sklearn",),
        about="the same with weights of 64 values a tensor (k-means); the first layer, and all else, float16",
    ),
    Recipe(
        name="coreml-fp16-multifunction",
        engine="coreml",
        backend="CoreML",
        extra="coreml",
        precision="float16",
        bounds=COREML_FLOAT16,
        layout="image",
        state="float16",
        device=FLOAT16_DEVICE,
        status="experimental",
        proof="interpreted",
        measured_images=512,
        one_package=True,
        about="as coreml-fp16, for iOS 18: one .mlpackage of all stages, which are functions of it",
    ),
    Recipe(
        name="executorch-vulkan-fp32",
        engine="executorch",
        backend="VulkanBackend",
        extra="executorch",
        precision="float32",
        bounds=FLOAT,
        status="experimental",
        proof="lowered",
        undelegated=CAST,
        about="float32 on an Android GPU",
    ),
    Recipe(
        name="executorch-coreml",
        engine="executorch",
        backend="CoreMLBackend",
        extra="executorch",
        precision="float16",
        bounds=COREML_FLOAT16,
        device=FLOAT16_DEVICE,
        status="experimental",
        proof="lowered",
        undelegated=CAST,
        packages=("coremltools",),
        about="float16 in Core ML, from ExecuTorch's runtime",
    ),
    Recipe(
        name="executorch-ethos-u85",
        engine="executorch",
        backend="EthosUBackend",
        extra="executorch",
        precision="float32",
        bounds=XNNPACK_INT8,
        quantization=STATIC8,
        device=INT8_DEVICE,
        status="experimental",
        proof="lowered",
        environment="ethos-u",
        undelegated=(*CAST, *INT8_ENDS, "slice_copy.Tensor_out"),  # the class token's
        about="everything int8 on Arm's NPU for small devices, of 256 MACs (PT2E, TOSA, Vela)",
    ),
    Recipe(
        name="litert-fp32",
        engine="litert",
        backend="XNNPACK",
        extra="litert",
        precision="float32",
        bounds=FLOAT,
        status="experimental",
        environment="litert",
        about="float32 as .tflite; no app here has that engine",
    ),
    Recipe(
        name="onnx-qnn-fp16",
        engine="onnxruntime",
        backend="QNNExecutionProvider",
        extra="onnx",
        precision="float16",
        bounds=QNN_FLOAT16,
        state="float16",
        device=FLOAT16_DEVICE,
        status="simulator",
        proof="simulated",
        environment="qnn",
        socs=("sm8550",),
        least_soc="sm8450",
        measured_images=512,
        about="float16 on Snapdragon's NPU, a context binary for each chip",
    ),
    Recipe(
        name="onnx-qnn-a16w8",
        engine="onnxruntime",
        backend="QNNExecutionProvider",
        extra="onnx",
        precision="float32",
        bounds=QNN_A16W8,
        quantization=STATIC16,
        device=INT8_DEVICE,
        status="simulator",
        proof="simulated",
        environment="qnn",
        socs=("sm8550",),
        least_soc="sm8550",
        measured_images=512,
        about="everything quantized (QDQ) on Snapdragon's NPU: weights int8, activations 16 bits",
    ),
    Recipe(
        name="onnx-qnn-a8w8",
        engine="onnxruntime",
        backend="QNNExecutionProvider",
        extra="onnx",
        precision="float32",
        bounds=QNN_A8W8,
        quantization=STATIC8,
        device=INT8_DEVICE,
        status="simulator",
        proof="simulated",
        environment="qnn",
        socs=("sm8550",),
        least_soc="sm8350",
        measured_images=512,
        about="everything quantized (QDQ) on Snapdragon's NPU: weights and activations int8",
    ),
)


def keeping(recipe: Recipe, layers: Sequence[str]) -> Recipe:
    """The recipe with more layers in float. Raises ExportError for one that quantizes everything, or nothing."""
    if not layers:
        return recipe
    found = recipe.quantization
    if found is None or found.activations == "float" or recipe.backend == "QNNExecutionProvider":
        raise ExportError(f"target {recipe.name} keeps no single layer in float; leave {', '.join(layers)} out")
    return replace(recipe, keep_float=(*recipe.keep_float, *layers))


def smoothing(recipe: Recipe, strength: float | None) -> Recipe:
    """The recipe with outliers moved into weights first. Raises ExportError for one that shows it no images."""
    if strength is None:
        return recipe
    found = recipe.quantization
    if found is None or not found.calibration_images:
        raise ExportError(f"target {recipe.name} sets no ranges of activations: there are no outliers to move")
    return replace(recipe, quantization=replace(found, smooth=strength))


def range_images(recipe: Recipe, given: int) -> int:
    """How many of `given` images set ranges, the first ones: what the recipe asks for, or half of too few."""
    return min(recipe.quantization.calibration_images, given // 2) if recipe.quantization else 0


def recipe_for(target: str) -> Recipe:
    """Raises UnknownTargetError, which lists the known names."""
    for recipe in RECIPES:
        if recipe.name == target:
            return recipe
    raise UnknownTargetError(f"unknown target {target!r}; known: {', '.join(r.name for r in RECIPES)}")
