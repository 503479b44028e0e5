"""Targets: each a named, declarative recipe. A new one is a new row; the exporters read these fields and no names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dvt_edge.errors import UnknownTargetError
from dvt_edge.validation.bounds import Bounds, DeviceBounds

Engine = Literal["onnxruntime", "executorch", "coreml"]
DRAWN_IMAGES = 2048  # that an export takes of those given, at most: more take longer and say little more


Status = Literal["ready", "simulator", "experimental"]


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
    block: int | None = None  # weights that share a scale, along the inputs; None: all of an output channel


FLOAT_DEVICE = DeviceBounds(1e-3)


@dataclass(frozen=True)
class Recipe:
    """One target. `status`: ready, its artifacts run here (Core ML's program, interpreted); simulator, they run on the
    vendor's simulator of the chip; experimental, they are made here and run nowhere here.
    """

    name: str
    engine: Engine
    backend: str  # the provider or delegate that must run it
    extra: str  # pip extra that brings the packages
    precision: Literal["float32", "float16"]
    bounds: Bounds
    quantization: Quantization | None = None
    layout: Literal["NHWC", "image"] = "NHWC"
    device: DeviceBounds = FLOAT_DEVICE
    keep_float: tuple[str, ...] = ()  # layers with weights that are not quantized: module names in a stage, or patterns
    status: Status = "ready"


FLOAT = Bounds(max_abs_error=1e-3)
INT8 = Bounds(min_sqnr_db=12.0, min_top1_agreement=0.9, min_exit_agreement=0.0)
INT8_DEVICE = DeviceBounds(0.25)  # ARM's and x86's int8 kernels are within 0.15 on the shipped cascade
FLOAT16_DEVICE = DeviceBounds(0.1)

RECIPES = (
    Recipe("onnx-fp32", "onnxruntime", "CPUExecutionProvider", "onnx", "float32", FLOAT),
    Recipe(
        "onnx-int8", "onnxruntime", "CPUExecutionProvider", "onnx", "float32", INT8, Quantization(), device=INT8_DEVICE
    ),
    Recipe("executorch-xnnpack-fp32", "executorch", "XnnpackBackend", "executorch", "float32", FLOAT),
    Recipe(
        "executorch-xnnpack-int8",
        "executorch",
        "XnnpackBackend",
        "executorch",
        "float32",
        INT8,
        Quantization(),
        device=INT8_DEVICE,
    ),
    Recipe(
        "coreml-fp16",
        "coreml",
        "CoreML",
        "coreml",
        "float16",
        Bounds(min_sqnr_db=30.0),
        layout="image",
        device=FLOAT16_DEVICE,
    ),
)


def recipe_for(target: str) -> Recipe:
    """Raises UnknownTargetError, which lists the known names."""
    for recipe in RECIPES:
        if recipe.name == target:
            return recipe
    raise UnknownTargetError(f"unknown target {target!r}; known: {', '.join(r.name for r in RECIPES)}")
