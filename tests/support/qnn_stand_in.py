"""`qnn_worker.py` with ONNX Runtime's CPU in the place of Qualcomm's simulator.

    python qnn_stand_in.py qnn_worker.py

What it proves is the driving: requests, context binaries as files of their own, errors, the end of the process.
"Compiled" is the model itself inside an EPContext node. QNN_STAND_IN=split leaves a node out of it, =die ends at the
first run.
"""

from __future__ import annotations

import os
import runpy
import sys
import types
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from onnx import helper

MODE = os.environ.get("QNN_STAND_IN", "")
CPU = ["CPUExecutionProvider"]


class Options:
    def __init__(self) -> None:
        self.entries: dict[str, str] = {}
        self.log_severity_level = 0

    def add_session_config_entry(self, name: str, value: str) -> None:
        self.entries[name] = value

    def add_provider_for_devices(self, devices: list[Any], asked: dict[str, str]) -> None:
        if asked["soc_model"] == "30" and asked["enable_htp_fp16_precision"] == "1":
            raise RuntimeError("Failed to finalize QNN graph.")


class Session:
    def __init__(self, path: str, options: Options) -> None:
        if options.entries.get("session.disable_cpu_ep_fallback") != "1":
            raise AssertionError("the CPU may take nodes")
        model = onnx.load(path)
        if options.entries.get("ep.context_enable") == "1":
            names = [i.name for i in model.graph.input], [o.name for o in model.graph.output]
            node = helper.make_node("EPContext", *names, domain="com.microsoft", model=model.SerializeToString())
            left = [helper.make_node("Identity", names[0][:1], ["left"])] if MODE == "split" else []
            graph = helper.make_graph([node, *left], "compiled", model.graph.input, model.graph.output)
            opsets = [helper.make_opsetid("com.microsoft", 1), helper.make_opsetid("", 20)]
            compiled = helper.make_model(graph, opset_imports=opsets)
            Path(options.entries["ep.context_file_path"]).write_bytes(compiled.SerializeToString())
            return
        content = helper.get_attribute_value(model.graph.node[0].attribute[0])
        self.inner = onnxruntime_session(content, providers=CPU)
        self.get_outputs = self.inner.get_outputs

    def run(self, names: list[str], inputs: dict[str, Any]) -> list[Any]:
        if MODE == "die":
            print("the simulator gave up", file=sys.stderr, flush=True)
            os._exit(3)
        print("chatter of the libraries")  # must not reach the answers
        return self.inner.run(names, inputs)

    def get_providers(self) -> list[str]:
        return ["QNNExecutionProvider"]

    def disable_fallback(self) -> None:
        pass


onnxruntime_session = onnxruntime.InferenceSession
onnxruntime.InferenceSession, onnxruntime.SessionOptions = Session, Options
onnxruntime.register_execution_provider_library = lambda *_: None
onnxruntime.get_ep_devices = lambda: []
stand_in = types.ModuleType("onnxruntime_qnn")
stand_in.get_qnn_htp_path = stand_in.get_library_path = lambda: ""  # type: ignore[attr-defined]
sys.modules["onnxruntime_qnn"] = stand_in
runpy.run_path(sys.argv[1], run_name="__main__")
