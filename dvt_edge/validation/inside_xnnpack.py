"""What is inside a .pte stage that XNNPACK runs: the output of each operator, made an output of the program.

A delegated stage is one piece to ExecuTorch, whose traces show what goes into it and comes out. But its payload is a
graph of XNNPACK's, a flatbuffer of operators and values (executorch's backends/xnnpack/serialization/schema.fbs), and
values flagged as external are written to memory of the program. So a copy of the file with more outputs is run: its
weights, ranges and kernels are the artifact's, but for what XNNPACK would have fused across a value that is shown.

A quantized stage has the operators of the same stage in float32, in the same order, and conversions of numbers between
them, which are not shown. Layers are told by their weights.
"""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dvt_edge.device.engines import Arrays
from dvt_edge.device.manifest import StageSpec
from dvt_edge.errors import EngineError
from dvt_edge.network.stages import StageGraph
from dvt_edge.quiet import quiet
from dvt_edge.validation.bisect import Inner
from dvt_edge.validation.compare import ErrorMeter

with quiet():
    from executorch.backends.xnnpack.serialization import xnnpack_graph_serialize as payload
    from executorch.exir._serialize._flatbuffer import _flatc_compile, _flatc_decompile
    from executorch.exir._serialize._program import PTEFile, deserialize_pte_binary, serialize_pte_binary
    from executorch.exir.scalar_type import ScalarType
    from executorch.exir.schema import AllocationDetails, DelegateCall, EValue, TensorShapeDynamism
    from executorch.exir.schema import Tensor as TensorValue
    from executorch.runtime import Runtime

EXTERNAL_OUTPUT = 2  # XNN_VALUE_FLAG_EXTERNAL_OUTPUT of xnnpack.h
ALIGNMENT = 16  # bytes
SHOWN = {"xnn_datatype_fp32": (ScalarType.FLOAT, 4), "xnn_datatype_qint8": (ScalarType.CHAR, 1)}  # with bytes
NO_NUMBER = re.compile(rb"(?<=: )-?(?:inf|nan)(?=,?\n)")  # as flatc writes them; it reads them in quotes
Read = Callable[[Arrays], list[NDArray[np.float32]]]


def compare_inside(
    artifact: bytes, reference: bytes, stage: StageGraph, spec: StageSpec, inputs: Sequence[Arrays]
) -> list[Inner]:
    """The tensors of the artifact's operators, against the same stage in float32, over the inputs.

    Raises EngineError where the artifact is not one XNNPACK graph, or not this stage's.
    """
    ours, theirs = PayloadGraph(artifact, spec), PayloadGraph(reference, spec)
    if [o.signature for o in ours.operators] != [o.signature for o in theirs.operators]:
        raise EngineError(f"{spec.name}: {spec.artifact} has other operators than this executorch makes of the stage")
    layers = {p.detach().numpy().tobytes(): name.removeprefix("stage.") for name, p in stage.named_parameters()}
    meters = [ErrorMeter() for _ in ours.operators]
    mine, right = ours.reader(), theirs.reader()
    for arrays in inputs:
        for meter, a, b in zip(meters, mine(arrays), right(arrays), strict=True):
            meter.add(a, b)
    return [
        Inner(o.name, f"{o.kind} {layers.get(theirs.constant(t.weights), '')}".strip(), o.sources, meter)
        for o, t, meter in zip(ours.operators, theirs.operators, meters, strict=True)
    ]


@dataclass(frozen=True)
class Operator:
    """An operator and the value that it writes: an XNNTensorValue, quantized by scale and zero point."""

    name: str  # of an output of the stage the manifest's
    kind: str
    value: dict[str, Any]
    sources: tuple[str, ...]
    scale: float
    zero_point: int
    weights: str  # the key of a layer's; "" for none

    @property
    def signature(self) -> tuple[str, tuple[int, ...]]:
        return self.kind, tuple(self.value["dims"])

    def real(self, array: NDArray[Any]) -> NDArray[np.float32]:
        if array.dtype == np.float32:
            return array
        return np.float32(self.scale) * (array.astype(np.float32) - np.float32(self.zero_point))


class PayloadGraph:
    """A stage's program and the graph in its one delegate; `operators` in the order in which they run."""

    def __init__(self, artifact: bytes, spec: StageSpec) -> None:
        self.spec = spec
        self.file: PTEFile = deserialize_pte_binary(artifact)
        self.plan = self.file.program.execution_plan[0]
        steps = [step.instr_args for chain in self.plan.chains for step in chain.instructions]
        calls = [step for step in steps if isinstance(step, DelegateCall)]
        if [d.id for d in self.plan.delegates] != ["XnnpackBackend"] or len(calls) != 1:
            raise EngineError(f"{spec.name}: {spec.artifact} is not run by XNNPACK in one piece")
        self.call = calls[0]
        self.delegate = self.file.program.backend_delegate_data[self.plan.delegates[0].processed.index]
        self.graph, self.constants = read_graph(bytes(self.delegate.data))
        self.operators = self.read_operators()

    def read_operators(self) -> list[Operator]:
        """A conversion is no operator: what it writes is the value that it reads, in other numbers."""
        values = {tensor(v)["id_out"]: v for v in self.graph["xvalues"]}
        keys = [place["named_key"] for place in self.graph["constant_data"]]
        nodes = [(node["xnode_union_type"].removeprefix("XNN"), node["xnode_union"]) for node in self.graph["xnodes"]]
        same: dict[int, int] = {}
        for kind, fields in nodes:
            if kind == "Convert":
                same[fields["output_id"]] = same.get(fields["input_id"], fields["input_id"])
        nodes = [(kind, fields) for kind, fields in nodes if kind != "Convert"]
        names = {fields["output_id"]: f"output {n}" for n, (_, fields) in enumerate(nodes, start=1)}
        outputs = dict(zip(self.plan.outputs, (t.name for t in self.spec.outputs), strict=True))
        for number in self.graph["output_ids"]:
            place = self.call.args[tensor(values[number])["external_id"]]
            names[same.get(number, number)] = outputs.get(place, f"output {number}")
        found = []
        for kind, fields in nodes:
            value, layer = values[fields["output_id"]], values.get(fields.get("filter_id"))
            read = [same.get(i, i) for key, i in fields.items() if key.startswith("input") and key.endswith("_id")]
            quantized = value["xvalue_union"].get("quant_params", {})
            found.append(
                Operator(
                    names[fields["output_id"]],
                    kind,
                    tensor(value),
                    tuple(names[i] for i in read if i in names),
                    quantized.get("scale", 1.0),
                    quantized.get("zero_point", 0),
                    keys[tensor(layer)["constant_buffer_idx"]] if layer else "",
                )
            )
        return found

    def constant(self, key: str) -> bytes:
        """Weights by their key in the file; nothing by that of no layer."""
        named = self.file.named_data
        return named.buffers[named.pte_data[key].buffer_index] if named is not None and key else b""

    def reader(self) -> Read:
        """The stage as a function of its inputs that gives the output of each operator, as real numbers."""
        for operator in self.operators:
            self.show(operator.value)
        places = [self.plan.outputs.index(self.call.args[o.value["external_id"]]) for o in self.operators]
        self.delegate.data = write_graph(self.graph, self.constants)
        content = bytes(serialize_pte_binary(self.file))
        method = Runtime.get().load_program(content).load_method("forward")
        if method is None:
            raise EngineError(f"{self.spec.name}: executorch does not load {self.spec.artifact} with its insides shown")

        def read(arrays: Arrays, content: bytes = content) -> list[NDArray[np.float32]]:  # the method reads its weights
            found = method.execute([torch.from_numpy(arrays[t.name]) for t in self.spec.inputs])
            return [o.real(found[place].numpy()) for o, place in zip(self.operators, places, strict=True)]

        return read

    def show(self, value: dict[str, Any]) -> None:
        """Make a value that is none yet an output of delegate and program, in memory after all that is planned."""
        if value["flags"] & EXTERNAL_OUTPUT:
            return
        if value["datatype"] not in SHOWN:
            raise EngineError(f"{self.spec.name}: a value of {value['datatype']} inside cannot be shown")
        scalar, size = SHOWN[value["datatype"]]
        shape, planned = [int(n) for n in value["dims"]], self.plan.non_const_buffer_sizes
        offset = padded(planned[1])
        planned[1] = offset + size * math.prod(shape)
        self.plan.values.append(
            EValue(
                TensorValue(
                    scalar_type=scalar,
                    storage_offset=0,
                    sizes=shape,
                    dim_order=list(range(len(shape))),
                    requires_grad=False,
                    layout=0,
                    data_buffer_idx=0,
                    allocation_info=AllocationDetails(1, offset % 2**32, offset // 2**32),
                    shape_dynamism=TensorShapeDynamism.STATIC,
                )
            )
        )
        self.plan.outputs.append(len(self.plan.values) - 1)
        self.call.args.append(len(self.plan.values) - 1)  # an external value's number is its place among these
        value["external_id"], value["flags"] = self.graph["num_externs"], value["flags"] | EXTERNAL_OUTPUT
        self.graph["num_externs"] += 1
        self.graph["output_ids"].append(value["id_out"])


def tensor(value: Mapping[str, Any]) -> dict[str, Any]:
    """The XNNTensorValue in either kind of value."""
    union: dict[str, Any] = value["xvalue_union"]
    found: dict[str, Any] = union.get("tensor_value", union)
    return found


def padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def read_graph(blob: bytes) -> tuple[dict[str, Any], bytes]:
    """The graph in a delegate's payload, and the constants that follow it."""
    header = payload.XNNHeader.from_bytes(blob[: payload.XNNHeader.EXPECTED_LENGTH])
    with tempfile.TemporaryDirectory() as folder:
        schema, binary, text = (Path(folder) / name for name in ("graph.fbs", "graph.bin", "graph.json"))
        schema.write_bytes(payload._get_schema_bytes())
        binary.write_bytes(blob[header.flatbuffer_offset :][: header.flatbuffer_size])
        _flatc_decompile(folder, str(schema), str(binary))
        graph: dict[str, Any] = json.loads(NO_NUMBER.sub(rb'"\g<0>"', text.read_bytes()))
    return graph, blob[header.constant_data_offset :][: header.constant_data_size]


def write_graph(graph: Mapping[str, Any], constants: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        schema, binary, text = (Path(folder) / name for name in ("graph.fbs", "graph.bin", "graph.json"))
        schema.write_bytes(payload._get_schema_bytes())
        text.write_text(json.dumps(graph))
        _flatc_compile(folder, str(schema), str(text))
        content = binary.read_bytes()
    start = padded(payload.XNNHeader.EXPECTED_LENGTH)
    end = start + padded(len(content))
    header = payload.XNNHeader(start, len(content), end, len(constants)).to_bytes()
    return header.ljust(start, b"\0") + content.ljust(end - start, b"\0") + constants
