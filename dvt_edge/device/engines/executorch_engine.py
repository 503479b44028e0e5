"""Stages in ExecuTorch. Its Python package imports torch and all of its exporter: about ten seconds, once."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dvt_edge.device.engines import Arrays, Artifact
from dvt_edge.device.manifest import StageSpec, TensorSpec
from dvt_edge.errors import EngineError, one_line
from dvt_edge.quiet import native_quiet, quiet

with quiet():
    from executorch.extension.pybindings.portable_lib import _threadpool_get_thread_count, _unsafe_reset_threadpool
    from executorch.runtime import Method, Runtime
    from flatbuffers.encode import Get  # type: ignore[import-untyped, unused-ignore]
    from flatbuffers.packer import uoffset  # type: ignore[import-untyped, unused-ignore]
    from flatbuffers.table import Table  # type: ignore[import-untyped, unused-ignore]

DTYPES = {0: "uint8", 5: "float16", 6: "float32"}  # ExecuTorch's ScalarType

loading = threading.Lock()
programs: weakref.WeakSet[Program] = weakref.WeakSet()


def load_stage(artifact: Artifact, stage: StageSpec, backend: str, threads: int) -> Program:
    """The `forward` of a .pte file in which `backend` takes part, on a pool of `threads` threads.

    ExecuTorch has one thread pool a process, and a loaded program keeps a pointer to it: the pool is set when no
    program is alive, and until then a load with another number of threads is refused.
    Raises EngineError where the backend is absent, here or in the file, or the file does not load or is not the
    stage of the manifest. A cut file is such a file; flipped bits can crash ExecuTorch, so check the bundle's hashes.
    """
    runtime = Runtime.get()
    if not runtime.backend_registry.is_available(backend):
        available = ", ".join(b for b in runtime.backend_registry.registered_backend_names if is_available(b))
        raise EngineError(f"{stage.name}: this executorch lacks the backend {backend}; it has: {available or 'none'}")
    found = delegates(artifact, stage.name)
    if backend not in found:
        runs_on = ", ".join(sorted(found)) or "no backend"
        raise EngineError(f"{stage.name}: {artifact.name} runs on {runs_on}; the bundle says {backend}")
    with loading, native_quiet():
        set_threads(threads, stage.name)
        try:
            content = artifact.content
            program = runtime.load_program(content)
            check_tensors(program.metadata("forward"), stage, artifact)
            loaded = Program(program.load_method("forward"), stage, content)
        except (RuntimeError, LookupError, ValueError) as error:
            raise EngineError(f"{stage.name}: executorch cannot load {artifact.name} ({one_line(error)})") from error
        programs.add(loaded)
    return loaded


class Program:
    """Named arrays in, fresh named arrays out. One call at a time: the method's memory is planned for one."""

    def __init__(self, method: Method, stage: StageSpec, content: bytes) -> None:
        self.content = content  # a method reads its weights from there, and does not keep it alive
        self.method, self.stage, self.lock = method, stage, threading.Lock()
        self.names, self.dtypes = {t.name for t in stage.inputs}, [np.dtype(t.dtype) for t in stage.inputs]

    def __call__(self, inputs: Arrays) -> Arrays:
        """Raises EngineError for inputs that are not the manifest's, name by name, and for a run that fails."""
        stage = self.stage
        if inputs.keys() != self.names:
            expected = ", ".join(t.name for t in stage.inputs)
            raise EngineError(f"{stage.name}: the inputs {', '.join(sorted(inputs))}; expected {expected}")
        wanted = zip(stage.inputs, self.dtypes, strict=True)
        tensors = [torch.from_numpy(checked(inputs[t.name], dtype, t, stage.name)) for t, dtype in wanted]
        with self.lock:
            try:
                outputs = self.method.execute(tensors)  # copied out of the method's memory
            except RuntimeError as error:
                raise EngineError(f"{stage.name}: executorch did not run it ({one_line(error)})") from error
        return {t.name: output.numpy() for t, output in zip(stage.outputs, outputs, strict=True)}


def checked(array: NDArray[Any], dtype: np.dtype[Any], tensor: TensorSpec, stage: str) -> NDArray[Any]:
    if array.dtype != dtype or array.shape != tensor.shape:
        found, expected = f"{array.dtype} {array.shape}", f"{tensor.dtype} {tensor.shape}"
        raise EngineError(f"{stage}: {tensor.name} is {found}; expected {expected}")
    return array if array.flags.carray else np.require(array, requirements=("C", "W"))  # torch takes no read-only ones


def delegates(artifact: Artifact, stage: str) -> set[str]:
    """The backends that a .pte file names: the runtime does not tell. Slots are those of ExecuTorch's program.fbs."""
    try:
        data = artifact.content
        if data[4:8] != b"ET12":
            raise ValueError("not an ExecuTorch program")
        plans = tables(Table(data, Get(uoffset, data, 0)), slot=6)
        return {d.String(d.Pos + d.Offset(4)).decode() for plan in plans for d in tables(plan, slot=18)}
    except Exception as error:  # a damaged flatbuffer fails in as many ways as it has bytes
        raise EngineError(f"{stage}: executorch cannot read {artifact.name} ({one_line(error)})") from error


def tables(parent: Table, slot: int) -> list[Table]:
    """The vector of tables in a field of a flatbuffer's table."""
    field = parent.Offset(slot)
    if field == 0:
        return []
    first = parent.Vector(field)
    return [Table(parent.Bytes, parent.Indirect(first + 4 * i)) for i in range(parent.VectorLen(field))]


def check_tensors(meta: Any, stage: StageSpec, artifact: Artifact) -> None:
    inputs = [meta.input_tensor_meta(i) for i in range(meta.num_inputs())]
    outputs = [meta.output_tensor_meta(i) for i in range(meta.num_outputs())]
    found = [[(DTYPES.get(t.dtype()), tuple(t.sizes())) for t in side] for side in (inputs, outputs)]
    expected = [[(t.dtype, t.shape) for t in side] for side in (stage.inputs, stage.outputs)]
    if found != expected:
        raise EngineError(f"{stage.name}: {artifact.name} has the tensors {found}; the manifest says {expected}")


def set_threads(threads: int, stage: str) -> None:
    if threads < 1:
        raise EngineError(f"{stage}: {threads} threads; expected at least 1")
    if threads == (current := _threadpool_get_thread_count()):
        return
    if programs:
        gc.collect()
    if programs:
        raise EngineError(
            f"{stage}: {threads} threads, but stages with {current} are loaded and executorch has one thread pool "
            "a process: use the same number, or another process"
        )
    _unsafe_reset_threadpool(threads)


def is_available(backend: str) -> bool:
    return bool(Runtime.get().backend_registry.is_available(backend))
