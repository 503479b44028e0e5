"""Stages in LiteRT (TensorFlow Lite), on its XNNPACK delegate."""

from __future__ import annotations

import threading

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from dvt_edge.device.engines import Arrays, Artifact, StageProgram
from dvt_edge.device.manifest import StageSpec
from dvt_edge.errors import EngineError, one_line
from dvt_edge.quiet import native_quiet

BACKEND = "XNNPACK"  # the delegate that the interpreter takes by itself


def load_stage(artifact: Artifact, stage: StageSpec, backend: str, threads: int) -> StageProgram:
    """The one signature of a .tflite file on `threads` threads; its inputs and outputs count, in the manifest's order.

    Raises EngineError where the file does not load, XNNPACK takes no part of it, or its tensors are not the manifest's.
    """
    if backend != BACKEND:
        raise EngineError(f"{stage.name}: LiteRT runs the backend {BACKEND} here; the bundle says {backend}")
    content = artifact.content
    try:
        with native_quiet():
            interpreter = Interpreter(model_content=content, num_threads=threads)
            interpreter.allocate_tensors()
        run_signature = interpreter.get_signature_runner()
        operators = {operator["op_name"] for operator in interpreter._get_ops_details()}
    except Exception as error:  # ValueError and RuntimeError, of any text
        raise EngineError(f"{stage.name}: LiteRT cannot load {artifact.name} ({one_line(error)})") from error
    if "DELEGATE" not in operators:
        raise EngineError(f"{stage.name}: XNNPACK takes nothing of {artifact.name}")
    takes, gives = run_signature.get_input_details(), run_signature.get_output_details()
    names = [f"args_{k}" for k in range(len(takes))], [f"output_{k}" for k in range(len(gives))]
    found = [
        (np.dtype(side[name]["dtype"]).name, tuple(map(int, side[name]["shape"])))
        for side, ordered in zip((takes, gives), names, strict=True)
        for name in ordered
        if name in side
    ]
    expected = [(t.dtype, t.shape) for t in (*stage.inputs, *stage.outputs)]
    if found != expected:
        raise EngineError(f"{stage.name}: {artifact.name} has the tensors {found}; the manifest says {expected}")
    lock = threading.Lock()  # an interpreter's tensors are its own

    def run(inputs: Arrays) -> Arrays:
        with lock:
            made = run_signature(**{name: inputs[t.name] for name, t in zip(names[0], stage.inputs, strict=True)})
        return {t.name: made[name] for name, t in zip(names[1], stage.outputs, strict=True)}

    return run
