"""Qualcomm's simulator of the HTP behind a pipe. Runs in an environment of its own, where dvt-edge is not installed.

It is started as a file by `qnn_simulator.py`, which also takes `send` and `receive` from here. A message is one line of
JSON, then the bytes of its arrays. Needs numpy, onnxruntime and onnxruntime-qnn.
"""

from __future__ import annotations

import json
import os
import sys
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
PROVIDER = "QNNExecutionProvider"


def send(stream: IO[bytes], message: dict[str, Any], arrays: Arrays | None = None) -> None:
    """One message: `message` as JSON, with the names, dtypes and shapes of `arrays`, and then their bytes."""
    given = {name: np.ascontiguousarray(a) for name, a in (arrays or {}).items()}
    about = [[name, a.dtype.name, list(a.shape)] for name, a in given.items()]
    stream.write(json.dumps(message | {"arrays": about}).encode() + b"\n")
    for a in given.values():
        stream.write(a.tobytes())
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], Arrays]:
    """The next message. Raises EOFError where the other side is gone."""
    if not (line := stream.readline()):
        raise EOFError
    message = json.loads(line)
    arrays = {}
    for name, dtype, shape in message.pop("arrays"):
        wanted = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if len(content := stream.read(wanted)) != wanted:
            raise EOFError
        arrays[name] = np.frombuffer(content, dtype).reshape(shape)
    return message, arrays


class Worker:
    """Sessions by name, each on the simulated HTP of one chip."""

    def __init__(self) -> None:
        import onnxruntime
        import onnxruntime_qnn

        self.ort, self.htp = onnxruntime, onnxruntime_qnn.get_qnn_htp_path()
        onnxruntime.register_execution_provider_library(PROVIDER, onnxruntime_qnn.get_library_path())
        self.devices = [d for d in onnxruntime.get_ep_devices() if d.ep_name == PROVIDER]
        self.sessions: dict[str, Any] = {}

    def options(self, chip: int, half: bool) -> Any:
        """No silent fallback: the CPU provider may take no node, here and when a session is made again."""
        options = self.ort.SessionOptions()
        options.log_severity_level = 4
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        asked = {
            "backend_path": self.htp,
            "soc_model": str(chip),
            "htp_graph_finalization_optimization_mode": "3",
            "enable_htp_fp16_precision": "1" if half else "0",
        }
        options.add_provider_for_devices(self.devices, asked)
        return options

    def compile(self, model: str, compiled: str, chip: int, half: bool) -> None:
        """Write the ONNX file `model` as a context binary, wrapped in ONNX, for one chip."""
        options = self.options(chip, half)
        options.add_session_config_entry("ep.context_enable", "1")
        options.add_session_config_entry("ep.context_file_path", compiled)
        options.add_session_config_entry("ep.context_embed_mode", "1")
        self.ort.InferenceSession(model, options).disable_fallback()

    def load(self, name: str, model: str, chip: int, half: bool) -> list[str]:
        """A session under `name` of an ONNX file, compiled or not; its providers."""
        session = self.ort.InferenceSession(model, self.options(chip, half))
        session.disable_fallback()
        self.sessions[name] = session
        return list(session.get_providers())

    def run(self, name: str, inputs: Arrays) -> Arrays:
        session = self.sessions[name]
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs), strict=True))


def main() -> None:
    """Answers requests until the other side is gone. What the libraries print goes to stderr."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    worker = Worker()
    while True:
        try:
            request, arrays = receive(requests)
        except EOFError:
            break
        try:
            do, answer, found = request.pop("do"), {}, {}
            if do == "compile":
                worker.compile(**request)
            elif do == "load":
                answer = {"providers": worker.load(**request)}
            else:
                found = worker.run(request["name"], arrays)
            send(answers, answer, found)
        except Exception as error:  # the other side tells the user
            send(answers, {"error": " ".join(str(error).split()) or type(error).__name__})
    answers.close()
    os._exit(0)  # the simulator's own threads do not always end


if __name__ == "__main__":
    main()
