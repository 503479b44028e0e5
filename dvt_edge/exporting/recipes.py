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
    socs: tuple[str, ...] = ()  # the chips that stages are compiled for, by names of `qnn_chips.py`
    least_soc: str | None = None  # the first chip that can run it
    measured_images: int | None = None  # at most, of those that set no ranges; a simulator takes a second for each


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
    Recipe(
        "onnx-qnn-fp16",
        "onnxruntime",
        "QNNExecutionProvider",
        "onnx",
        "float16",
        Bounds(min_sqnr_db=40.0, min_top1_agreement=0.97, min_exit_agreement=0.95),
        device=FLOAT16_DEVICE,
        status="simulator",
        socs=("sm8550",),
        least_soc="sm8450",
        measured_images=128,
    ),
    Recipe(
        "onnx-qnn-a16w8",
        "onnxruntime",
        "QNNExecutionProvider",
        "onnx",
        "float32",
        Bounds(min_sqnr_db=25.0, min_top1_agreement=0.9, min_exit_agreement=0.9),
        Quantization(activation_bits=16),
        device=INT8_DEVICE,
        status="simulator",
        socs=("sm8550",),
        least_soc="sm8550",
        measured_images=128,
    ),
    Recipe(
        "onnx-qnn-a8w8",
        "onnxruntime",
        "QNNExecutionProvider",
        "onnx",
        "float32",
        Bounds(min_sqnr_db=20.0, min_top1_agreement=0.9, min_exit_agreement=0.9),
        Quantization(),
        device=INT8_DEVICE,
        status="simulator",
        socs=("sm8550",),
        least_soc="sm8350",
        measured_images=128,
    ),
)


def recipe_for(target: str) -> Recipe:
    """Raises UnknownTargetError, which lists the known names."""
    for recipe in RECIPES:
        if recipe.name == target:
            return recipe
    raise UnknownTargetError(f"unknown target {target!r}; known: {', '.join(r.name for r in RECIPES)}")
