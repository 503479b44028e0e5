"""What runs the stages of `device_process.py`: named arrays in, named arrays out, and who really ran them."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from dvt_edge.device.manifest import TensorSpec

Arrays = dict[str, np.ndarray]


class Tensors(Protocol):
    """A manifest's stage, or what stands for one."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...


@dataclass(frozen=True)
class Stage:
    run: Callable[[Arrays], Arrays]
    backend: str


def engine_of(library: Path | None) -> str:
    name = "onnxruntime" if library is None else "executorch"
    return f"{name} {importlib.metadata.version(name)}"


def open_stage(artifact: Path, tensors: Tensors, library: Path | None) -> Stage:
    """`library` is arm/executorch_stage.cpp, compiled: then ExecuTorch runs it, otherwise ONNX Runtime. One thread."""
    return onnx_stage(artifact) if library is None else executorch_stage(artifact, tensors, library)


def onnx_stage(artifact: Path) -> Stage:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = ort.InferenceSession(str(artifact), options)
    names, taken = [o.name for o in session.get_outputs()], [i.name for i in session.get_inputs()]

    def run(arrays: Arrays) -> Arrays:
        return dict(zip(names, session.run(names, {name: arrays[name] for name in taken}), strict=True))

    return Stage(run, session.get_providers()[0])


def executorch_stage(artifact: Path, spec: Tensors, library: Path) -> Stage:
    engine, error = ctypes.CDLL(str(library)), ctypes.c_int()
    engine.stage_open.restype = ctypes.c_void_p
    stage = ctypes.c_void_p(engine.stage_open(str(artifact).encode(), ctypes.byref(error)))
    if not stage:
        raise RuntimeError(f"{artifact}: ExecuTorch's error {error.value:#x}")
    names = ctypes.create_string_buffer(1024)
    engine.stage_backends(stage, names, ctypes.c_size_t(1024))

    def run(arrays: Arrays) -> Arrays:
        taken = [np.ascontiguousarray(arrays[t.name], t.dtype) for t in spec.inputs]
        made = [np.empty(t.shape, t.dtype) for t in spec.outputs]
        if code := engine.stage_run(stage, *pointers(taken), *pointers(made)):
            raise RuntimeError(f"{artifact}: ExecuTorch's error {code:#x}")
        return {t.name: array for t, array in zip(spec.outputs, made, strict=True)}

    return Stage(run, "+".join(sorted(set(names.value.decode().split()))))


def pointers(arrays: list[np.ndarray]) -> tuple[object, object, ctypes.c_size_t]:
    """Addresses, sizes in bytes, how many."""
    count = len(arrays)
    addresses = (ctypes.c_void_p * count)(*(a.ctypes.data for a in arrays))
    return addresses, (ctypes.c_size_t * count)(*(a.nbytes for a in arrays)), ctypes.c_size_t(count)
