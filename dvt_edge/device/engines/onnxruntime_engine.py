"""Stages in ONNX Runtime."""

from __future__ import annotations

import os
import re

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import: it starts an uploader otherwise

import onnxruntime as ort

from dvt_edge.device.engines import Arrays, Artifact, StageProgram
from dvt_edge.device.manifest import StageSpec
from dvt_edge.errors import EngineError, one_line

NEEDED = (1, 24)  # loads what the exporter writes
CPU = "CPUExecutionProvider"
DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}


def load_stage(artifact: Artifact, stage: StageSpec, backend: str, threads: int) -> StageProgram:
    """A session of `threads` threads on the provider `backend`, with no silent fallback to the CPU.

    Raises EngineError where the provider is absent, the model does not load, or its tensors are not the manifest's.
    """
    if backend not in ort.get_available_providers():
        available = ", ".join(ort.get_available_providers())
        raise EngineError(f"{stage.name}: this onnxruntime lacks the provider {backend}; it has: {available}")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    if backend != CPU:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        session = ort.InferenceSession(artifact.content, options, providers=[backend])
    except EngineError:
        raise
    except Exception as error:  # onnxruntime raises many types of its own
        why = one_line(error)
        if tuple(map(int, re.findall(r"\d+", ort.__version__)[:2])) < NEEDED:
            why = f"it needs onnxruntime {'.'.join(map(str, NEEDED))} or later; this is {ort.__version__}"
        raise EngineError(f"{stage.name}: onnxruntime cannot load {artifact.name} ({why})") from error
    if session.get_providers()[0] != backend:
        raise EngineError(f"{stage.name}: runs on {session.get_providers()[0]}; the bundle says {backend}")
    found = [(t.name, DTYPES.get(t.type), tuple(t.shape)) for t in (*session.get_inputs(), *session.get_outputs())]
    expected = [(t.name, t.dtype, t.shape) for t in (*stage.inputs, *stage.outputs)]
    if found != expected:
        raise EngineError(f"{stage.name}: {artifact.name} has the tensors {found}; the manifest says {expected}")
    names = [t.name for t in stage.outputs]

    def run(inputs: Arrays) -> Arrays:
        return dict(zip(names, session.run(names, inputs), strict=True))

    return run
