"""Stages in Core ML, which predicts on macOS only (and on iOS, where the Swift runtime runs them)."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvt_edge.device.engines import Arrays, Artifact, StageProgram
from dvt_edge.device.manifest import StageSpec, TensorSpec
from dvt_edge.errors import EngineError, packages
from dvt_edge.quiet import quiet

BACKEND = "CoreML"


def load_stage(artifact: Artifact, stage: StageSpec, backend: str, threads: int) -> StageProgram:
    """An .mlpackage on whichever of CPU, GPU and Neural Engine Core ML chooses; `threads` is Core ML's choice too.

    The program takes what the manifest says: the image as uint8 (1, size, size, 3) RGB, state as it declares it.
    Raises EngineError anywhere but on macOS, and where Core ML does not load or run the stage.
    """
    if backend != BACKEND:
        raise EngineError(f"{stage.name}: Core ML runs the backend {BACKEND}; the bundle says {backend}")
    if (system := platform.system()) != "Darwin":
        raise EngineError(
            f"{stage.name}: Core ML predicts on macOS only and this is {system}; "
            "a Core ML bundle is unverified until it is validated on a Mac"
        )
    with packages("engine coreml", "coreml"), quiet():
        import coremltools as ct
        from PIL import Image
    try:
        with quiet():
            package = private_copy(artifact)
            try:
                functions = ct.models.utils.load_spec(str(package)).description.functions
                one = {"function_name": stage.name} if functions else {}  # of several stages' package, for macOS 15
                model = ct.models.MLModel(str(package), compute_units=ct.ComputeUnit.ALL, **one)
            except BaseException:
                remove(package.parent, os.getpid())
                raise
            weakref.finalize(model, remove, package.parent, os.getpid())
    except Exception as error:  # Core ML's errors come as plain ones of many types
        raise EngineError(f"{stage.name}: Core ML cannot load {artifact.name} ({str(error)[:160]})") from error
    lock = threading.Lock()  # MLModel does not say that it may be shared

    def run(inputs: Arrays) -> Arrays:
        feed: dict[str, Any] = {}
        for tensor in stage.inputs:
            array, is_image = inputs[tensor.name], tensor.role == "image"
            feed[tensor.name] = Image.fromarray(pixels(array, tensor)) if is_image else np.asarray(array, tensor.dtype)
        with lock:
            try:
                found = model.predict(feed)
            except Exception as error:
                raise EngineError(f"{stage.name}: Core ML did not run it ({str(error)[:160]})") from error
            if missing := [t.name for t in stage.outputs if t.name not in found]:
                raise EngineError(f"{stage.name}: Core ML gave {sorted(found)}; {', '.join(missing)} is missing")
            return {t.name: np.array(found[t.name], dtype=t.dtype) for t in stage.outputs}

    return run


def private_copy(artifact: Artifact) -> Path:
    """The package in a temporary folder of its own: Core ML takes paths only."""
    folder = Path(tempfile.mkdtemp(prefix="dvt-edge-"))
    for name, content in artifact.files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder / artifact.name


def remove(folder: Path, process: int) -> None:
    """Unless this is a forked child, whose parent still needs it."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def pixels(array: NDArray[Any], image: TensorSpec) -> NDArray[np.uint8]:
    """(size, size, 3) of the runtime's (1, size, size, 3)."""
    if array.dtype != np.uint8 or array.shape != image.shape:
        raise EngineError(f"{image.name}: {array.dtype} {array.shape}; expected uint8 {image.shape}")
    return np.asarray(array[0], dtype=np.uint8)
