"""Stages converted in processes of their own: the same artifacts, the same errors, as many as memory allows."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from support.needs import needs

from dvt_edge import export
from dvt_edge.data.reading import sample
from dvt_edge.errors import ExportError
from dvt_edge.exporting import conversion, pipeline
from dvt_edge.exporting.conversion import PROCESS, Conversion, convert_stages, workers_for
from dvt_edge.exporting.recipes import recipe_for
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.presets import PRESETS


@pytest.fixture(scope="module")
def tiny() -> Cascade:
    torch.manual_seed(0)
    return Cascade(PRESETS["dvt_tiny"]).eval()


@pytest.mark.parametrize("target", ["onnx-fp32", "onnx-int8"])
def test_processes_make_the_artifacts_that_one_process_makes(tiny: Cascade, target: str, tmp_path: Path) -> None:
    needs("onnxruntime")
    said: list[tuple[str, int, int]] = []
    images = sample("cifar10-test").first(12)
    one, three = (
        export(
            tiny,
            target,
            tmp_path / str(workers),
            calibration=images,
            workers=workers,
            accept_degraded=True,
            report=lambda *step: said.append(step),
        )
        for workers in (1, 3)
    )
    assert one.artifacts_sha256 == three.artifacts_sha256 and one.manifest.stages == three.manifest.stages
    steps = [(done, of) for what, done, of in said if "converting" in what]
    assert steps == [(0, 3), (1, 3), (2, 3), (3, 3)] * 2


def test_an_error_in_a_process_is_the_line_that_one_process_gives(tiny: Cascade, tmp_path: Path) -> None:
    needs("onnxruntime")
    four_bits = dataclasses.replace(recipe_for("coreml-w8"), engine="onnxruntime", extra="onnx")  # not its layout
    made = Conversion(tiny, tiny, four_bits, sample("cifar10-test").first(1)[0][None], tmp_path)  # type: ignore[index]
    lines = []
    for workers in (1, 2):
        with pytest.raises(ExportError) as error:
            convert_stages(made, workers, lambda what, done, of: None)
        lines.append(str(error.value))
    assert lines[0] == lines[1] and "\n" not in lines[0]


def test_as_many_processes_as_pay_and_fit(tiny: Cascade, monkeypatch: pytest.MonkeyPatch) -> None:
    assert workers_for(tiny) == 1
    monkeypatch.setattr(conversion, "WORTHWHILE", 1)
    monkeypatch.setattr(conversion.os, "cpu_count", lambda: 2)
    for free, workers in ((0, 1), (1.9 * PROCESS, 1), (2 * PROCESS, 2), (9 * PROCESS, 2)):
        monkeypatch.setattr(conversion.machine, "free_memory", lambda free=free: int(free))
        assert workers_for(tiny) == workers
    monkeypatch.setattr(conversion.os, "cpu_count", lambda: 16)
    assert workers_for(tiny) == 3


def test_an_export_asks_for_them(tiny: Cascade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 is what the machine allows, and the default of Python is this process alone."""
    needs("onnxruntime")
    asked = []
    monkeypatch.setattr(pipeline, "workers_for", lambda cascade: 7)
    run = pipeline.convert_stages

    def noting(conversion: Conversion, workers: int, report: object) -> object:
        asked.append(workers)
        return run(conversion, 1, report)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "convert_stages", noting)
    images = sample("cifar10-test").first(4)
    export(tiny, "onnx-fp32", tmp_path / "a", calibration=images)
    export(tiny, "onnx-fp32", tmp_path / "b", calibration=images, workers=0)
    assert asked == [1, 7]
