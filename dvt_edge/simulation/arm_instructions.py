"""ARM instructions of each stage, counted under emulation: `arm_instructions.json`, which `make arm-counts` writes.

A count depends on the processor's instruction set, the engine and the artifact, and repeats; it says nothing of caches,
width or clock. Cycles per instruction are what a device profile presumes.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dvt_edge.device.schema import read_json, require
from dvt_edge.errors import SchemaError

FILE = Path(__file__).with_suffix(".json")
FORMAT = 1


@dataclass(frozen=True)
class Count:
    target: str  # a recipe's name
    processor: str
    stages: tuple[int, ...]  # instructions of one run of each stage, one thread


@dataclass(frozen=True)
class InstructionTable:
    """`model` is the cascade that was counted, `macs` each of its stages' own MACs."""

    format: int
    model: str
    macs: tuple[int, ...]
    made_with: str
    counts: tuple[Count, ...]

    def __post_init__(self) -> None:
        require(self.format == FORMAT, f"format {self.format}; this reads {FORMAT}")
        for c in self.counts:
            fits = len(c.stages) == len(self.macs) and min(c.stages) > 0
            require(fits, f"{c.target} on {c.processor}: {c.stages}; expected a positive count of each stage")

    def instructions(self, target: str, processor: str, stage_macs: Sequence[int]) -> tuple[float, ...]:
        """Of each stage: counted ones for the counted cascade; for another, its MACs by the counted one's mean rate.

        Raises SchemaError as `count` does.
        """
        counted = self.count(target, processor)
        if tuple(stage_macs) == self.macs:
            return tuple(map(float, counted.stages))
        rate = self.per_mac(target, processor)
        return tuple(rate * macs for macs in stage_macs)

    def per_mac(self, target: str, processor: str) -> float:
        """The mean of the counted cascade's stages together. Raises SchemaError as `count` does."""
        return sum(self.count(target, processor).stages) / sum(self.macs)

    def count(self, target: str, processor: str) -> Count:
        """Raises SchemaError where target and processor were not counted together."""
        for c in self.counts:
            if (c.target, c.processor) == (target, processor):
                return c
        known = ", ".join(f"{c.target} on {c.processor}" for c in self.counts)
        raise SchemaError(f"{target} on {processor}: no instructions were counted; counted are {known}")


@functools.cache
def instruction_table() -> InstructionTable:
    table: InstructionTable = read_json(InstructionTable, FILE)
    return table
