"""XNNPACK in the place of Arm's backend: as `sitecustomize.py` of an environment it is there before anything else.

What it proves is the driving of `ethosu_worker.py`: the program and its inputs come through, and the counts come back.
"""

from __future__ import annotations

import sys
import types


def partitioner(spec: object) -> object:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    assert spec == "ethos-u85-256"
    return XnnpackPartitioner()


def quantizer(spec: object) -> object:
    from dvt_edge.exporting.executorch_exporter import WeightQuantizer

    return WeightQuantizer()


def config(**given: bool) -> object:
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import get_symmetric_quantization_config

    assert given == {"is_per_channel": True}
    return get_symmetric_quantization_config(**given)


ethosu = types.ModuleType("executorch.backends.arm.ethosu")
ethosu.EthosUCompileSpec, ethosu.EthosUPartitioner = str, partitioner  # type: ignore[attr-defined]
rules = types.ModuleType("executorch.backends.arm.quantizer")
rules.EthosUQuantizer, rules.get_symmetric_quantization_config = quantizer, config  # type: ignore[attr-defined]
sys.modules |= {ethosu.__name__: ethosu, rules.__name__: rules}
