"""The reference runtime: what a phone app does with a bundle, in Python.

    preprocess -> stage 0 -> leave? -> stage 1 -> leave? -> ... -> answer

Stages run in order, each is loaded when it is first needed, and the rule for leaving is `dvt_edge.device.exit_rule`.
Needs numpy and the bundle's engine; no torch. Pillow only for images that are not yet of the bundle's size.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.device.device_state import DeviceState
from dvt_edge.device.engines import Arrays, Artifact, LoadStage, StageProgram, engine_for, load
from dvt_edge.device.exit_rule import confidence, decide, last_stage, leaves
from dvt_edge.device.manifest import ImageSize, Manifest
from dvt_edge.device.operating_point import CUSTOM, OperatingPoint
from dvt_edge.device.power_policy import Memory, PowerPolicy, PowerTable, choose, power_table, used
from dvt_edge.device.preprocess import preprocess
from dvt_edge.errors import ManifestError

UNKNOWN = DeviceState()


@dataclass(frozen=True)
class Result:
    """One image's answer. Times are milliseconds; `stage_ms` has one entry for each stage that ran."""

    exit: int
    label: int
    label_name: str
    confidence: float
    degraded: bool  # a later stage ran and its logits were not finite
    confidences: tuple[float, ...]  # of every exit that ran; NaN where it was not finite
    stage_ms: tuple[float, ...]
    preprocess_ms: float
    total_ms: float
    skipped: tuple[str, ...]  # names of the stages that did not run
    operating_point: str
    max_stage: int | None  # the cap, of the device or of the power policy, whichever is lower
    uncertified: bool  # no certificate covers the answer: an uncertified point, own thresholds, or a cap

    @property
    def glue_ms(self) -> float:
        """Everything but the stages and the preprocessing."""
        return self.total_ms - self.preprocess_ms - sum(self.stage_ms)


class Runtime:
    """Runs a bundle. Safe to call from several threads.

    `operating_point` names one of the bundle's, by default its own default; `thresholds`, one per exit, replace it.
    `threads` is the number of threads a stage may use. `policy` (default: the bundle's, if it has one) chooses the
    point from the device's state at each call, unless a point or thresholds are given here or in the call; an energy
    queue needs the device's `power` as well (`DeviceProfile.power_table`). `load_stage` stands in for the bundle's
    engine: a vendor's simulator of a chip, say.
    """

    def __init__(
        self,
        bundle: CascadeBundle,
        operating_point: str | None = None,
        thresholds: Sequence[float] | None = None,
        threads: int = 1,
        policy: PowerPolicy | None = None,
        power: PowerTable | None = None,
        load_stage: LoadStage | None = None,
    ) -> None:
        self.bundle, self.manifest, self.threads = bundle, bundle.manifest, threads
        self.labels = bundle.labels
        self.default_point = self.point(operating_point)
        self.thresholds = tuple(thresholds) if thresholds is not None else None
        if self.thresholds is not None and len(self.thresholds) != len(self.manifest.stages):
            raise ManifestError(f"{len(self.thresholds)} thresholds; the bundle has {len(self.manifest.stages)} exits")
        if not np.isfinite(self.thresholds or ()).all():
            raise ManifestError(f"thresholds {self.thresholds}; expected finite ones")
        fixed = operating_point is not None or thresholds is not None
        self.policy = None if fixed else policy or self.manifest.policy
        self.power = power or power_table(self.manifest.proved_points)
        self._proved = {p.name for p in self.manifest.proved_points if p.certificate is not None}
        for name in self.policy.points if self.policy else ():
            self.point(name)
        self.memory, self._memory_lock = Memory(), threading.Lock()
        self._load_stage = load_stage or engine_for(self.manifest.engine)
        self._programs: list[StageProgram | None] = [None] * len(self.manifest.stages)
        names = tuple(s.name for s in self.manifest.stages)
        self._skipped = [names[k:] for k in range(len(names) + 1)]
        self._locks = [threading.Lock() for _ in self.manifest.stages]

    def point(self, name: str | None) -> OperatingPoint:
        """The bundle's operating point of that name, or its default one."""
        return self.manifest.operating_point(name or self.manifest.default_operating_point)

    def program(self, index: int) -> StageProgram:
        """Stage `index`, loaded on first use, once."""
        program = self._programs[index]
        if program is None:
            with self._locks[index]:
                program = self._programs[index]
                if program is None:
                    spec = self.manifest.stages[index]
                    artifact = Artifact(spec.artifact, self.bundle.artifact(index))
                    program = load(self._load_stage, artifact, spec, self.manifest.backend, self.threads)
                    self._programs[index] = program
        return program

    @property
    def loaded(self) -> tuple[bool, ...]:
        """Which stages are loaded."""
        return tuple(program is not None for program in self._programs)

    def prewarm(self) -> None:
        """Load every stage and run each once on a grey image, so that no later call pays for it."""
        grey = [np.full((s, s, 3), 128, np.uint8) for s in (self._size(k).size for k in range(len(self._programs)))]
        for _ in self.steps(grey.__getitem__):
            pass

    def preprocess(self, image: Any, stage: int = 0) -> NDArray[np.uint8]:
        """A path, PIL image or (H, W, 3) uint8 RGB array as the pixels (size, size, 3) of a stage."""
        spec = self._size(stage)
        return preprocess(image, spec.size, spec.resize)

    def _size(self, stage: int) -> ImageSize:
        return self.manifest.image_size(stage)

    def run(self, image: Any, device_state: DeviceState | None = None, operating_point: str | None = None) -> Result:
        """Classify one image: a path, a PIL image or an (H, W, 3) uint8 RGB array.

        `device_state` caps the stages and is what the policy sees; `operating_point` replaces the policy's choice or
        the runtime's point for this image.
        Raises DataError for an unreadable image, NotFiniteError when no exit that ran is finite.
        """
        start = time.perf_counter()
        pixels = StagePixels(image, self.manifest)
        pixels(0)
        state = device_state or UNKNOWN
        name, thresholds, cap, uncertified = self.plan(state, operating_point)
        spec, stages = self.manifest.confidence, self.manifest.stages
        last = last_stage(cap, len(stages))

        arrays: Arrays = {}
        values, labels, stage_ms = [], [], []
        for index in range(len(stages)):
            logits, elapsed = self._step(index, pixels, arrays)
            stage_ms.append(elapsed)
            labels.append(int(logits.argmax()))
            values.append(confidence(logits, spec.temperature[index], spec.measure))
            if leaves(values[-1], index, thresholds, last):
                break
        if self.policy:
            with self._memory_lock:
                joules = self.power.exit_j[len(values) - 1] if self.power.exit_j else 0.0
                self.memory = used(self.memory, 1, joules)
        decision = decide(values, labels)
        return Result(
            exit=decision.exit,
            label=decision.label,
            label_name=self.labels[decision.label],
            confidence=decision.confidence,
            degraded=decision.degraded,
            confidences=tuple(values),
            stage_ms=tuple(stage_ms),
            preprocess_ms=pixels.ms,
            total_ms=(time.perf_counter() - start) * 1e3,
            skipped=self._skipped[len(values)],
            operating_point=name,
            max_stage=cap,
            uncertified=uncertified or last < len(stages) - 1,
        )

    def plan(self, state: DeviceState, name: str | None = None) -> tuple[str, Sequence[float], int | None, bool]:
        """Name and thresholds of the point to use now, the cap on stages, and whether the point is uncertified."""
        if name is None and self.thresholds is not None:
            return CUSTOM, self.thresholds, state.max_stage, True
        if name is not None or self.policy is None:
            point = self.point(name) if name else self.default_point
            return point.name, point.thresholds, state.max_stage, point.name not in self._proved
        if state.time_s is None:
            state = replace(state, time_s=time.monotonic())
        with self._memory_lock:
            choice, self.memory = choose(self.policy, self.power, state, self.memory)
        caps = [cap for cap in (state.max_stage, choice.max_stage) if cap is not None]
        return choice.point, self.point(choice.point).thresholds, min(caps, default=None), choice.uncertified

    def logits(self, image: Any) -> list[NDArray[np.float32]]:
        """Every exit's (classes,) logits, with no early exit: for validation and calibration."""
        return [logits for logits, _ in self.steps(StagePixels(image, self.manifest))]

    def steps(
        self, pixels: NDArray[np.uint8] | Callable[[int], NDArray[np.uint8]]
    ) -> Iterator[tuple[NDArray[np.float32], float]]:
        """Every stage in order on preprocessed (size, size, 3) pixels: its (classes,) logits and milliseconds.

        The pixels are the same for all stages, or given for each by its index.
        """
        arrays: Arrays = {}
        of_stage = pixels if callable(pixels) else lambda stage: pixels
        for index in range(len(self.manifest.stages)):
            yield self._step(index, of_stage, arrays)

    def _step(
        self, index: int, pixels: Callable[[int], NDArray[np.uint8]], state: Arrays
    ) -> tuple[NDArray[np.float32], float]:
        """Run one stage on its pixels and `state`, replace the latter; its (classes,) logits and milliseconds."""
        spec = self.manifest.stages[index]
        program = self.program(index)
        inputs = {t.name: pixels(index)[None] if t.role == "image" else state[t.name] for t in spec.inputs}
        start = time.perf_counter()
        outputs = program(inputs)
        elapsed = (time.perf_counter() - start) * 1e3
        state.clear()
        for tensor in spec.outputs:
            if tensor.role == "logits":
                logits = outputs[tensor.name][0]
            else:
                state[tensor.name] = outputs[tensor.name]
        return logits, elapsed


class StagePixels:
    """An image's pixels for each stage, preprocessed once for each of their sizes, when first asked for."""

    def __init__(self, image: Any, manifest: Manifest) -> None:
        self.image, self.manifest, self.ms = image, manifest, 0.0  # ms: spent on preprocessing so far
        self.made: dict[ImageSize, NDArray[np.uint8]] = {}

    def __call__(self, stage: int) -> NDArray[np.uint8]:
        """(size, size, 3) uint8 RGB. Raises DataError."""
        spec = self.manifest.image_size(stage)
        if spec not in self.made:
            start = time.perf_counter()
            self.made[spec] = preprocess(self.image, spec.size, spec.resize)
            self.ms += (time.perf_counter() - start) * 1e3
        return self.made[spec]
