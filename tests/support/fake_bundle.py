"""A small bundle without any engine's file, and programs that play its stages: for tests of format and rule."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dvt_edge.device.bundle import CascadeBundle, list_files
from dvt_edge.device.engines import Arrays, Artifact
from dvt_edge.device.manifest import (
    FORMAT,
    MANIFEST,
    ConfidenceSpec,
    Golden,
    Manifest,
    ModelSpec,
    Operators,
    Preprocessing,
    StageSpec,
    TensorSpec,
    Verification,
    to_json,
)
from dvt_edge.device.operating_point import OperatingPoint

SIZE, CLASSES = 4, 3


def stage_spec(index: int, stages: int) -> StageSpec:
    image = TensorSpec("image", "uint8", (1, SIZE, SIZE, 3), "image")
    state = [TensorSpec(f"tokens_{k}", "float32", (1, 5, 2), "state") for k in range(stages)]
    return StageSpec(
        name=f"stage{index}",
        artifact=f"stage{index}.bin",
        grid=index + 1,
        macs=1000 * (index + 1),
        parameters=10,
        inputs=(image, *state[index - 1 : index]),
        outputs=(
            TensorSpec("logits", "float32", (1, CLASSES), "logits"),
            *(state[index : index + 1] if index < stages - 1 else ()),
        ),
        operators=Operators(1, 0),
    )


def write_bundle(folder: Path, stages: int = 3) -> CascadeBundle:
    folder.mkdir(parents=True)
    (folder / "golden").mkdir()
    for k in range(stages):
        (folder / f"stage{k}.bin").write_bytes(bytes([k]) * 100)
        (folder / f"golden/stage{k}.bin").write_bytes(np.zeros((1, CLASSES), "<f4").tobytes())
    (folder / "golden/image.bin").write_bytes(bytes(SIZE * SIZE * 3))
    (folder / "labels.json").write_text(json.dumps(["cat", "dog", "ship"]))
    points = tuple(
        OperatingPoint(
            name, (t,) * (stages - 1) + (0.0,), (1.0,) + (0.0,) * (stages - 1), 1000.0, 1.0, None, 9, "made up"
        )
        for name, t in (("eager", 0.0), ("accurate", 0.9), ("full", 2.0))
    )
    manifest = Manifest(
        format=FORMAT,
        name="fake",
        target="onnx-fp32",
        engine="onnxruntime",
        backend="CPUExecutionProvider",
        model=ModelSpec("fake", {}, None, CLASSES),
        preprocessing=Preprocessing(SIZE, SIZE, "NHWC"),
        stages=tuple(stage_spec(k, stages) for k in range(stages)),
        confidence=ConfidenceSpec("max_softmax", (1.0,) * stages),
        operating_points=points,
        default_operating_point="accurate",
        verification=Verification(False, "never run", 0, "none", "none"),
        labels="labels.json",
        golden=Golden(
            1, ("golden/image.bin",) * stages, tuple(f"golden/stage{k}.bin" for k in range(stages)), "artifact", 0.0
        ),
        tools={"dvt-edge": "0"},
        files=list_files(folder),
    )
    (folder / MANIFEST).write_text(to_json(manifest))
    return CascadeBundle.open(folder)


class FakeEngine:
    """Plays stages by their logits and records what was loaded and run; state carries the stage's number."""

    def __init__(self, logits: list[list[float]]) -> None:
        self.logits, self.loads, self.runs = logits, [], []

    def load_stage(
        self, artifact: Artifact, stage: StageSpec, backend: str, threads: int
    ) -> Callable[[Arrays], Arrays]:
        index = int(stage.name.removeprefix("stage"))
        self.loads.append(index)

        def run(inputs: Arrays) -> Arrays:
            self.runs.append(index)
            assert list(inputs) == [t.name for t in stage.inputs]
            for t in stage.inputs[1:]:
                assert inputs[t.name].flat[0] == index - 1
            out: Arrays = {"logits": np.array([self.logits[index]], dtype=np.float32)}
            for t in stage.outputs[1:]:
                out[t.name] = np.full(t.shape, index, dtype=np.float32)
            return out

        return run
