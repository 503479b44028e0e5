"""Arm's Ethos-U85: the driving code on a stand-in; Vela itself where its environment was made."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from support.needs import needs
from torch import Tensor

from dvt_edge.data.reading import sample
from dvt_edge.errors import ExportError
from dvt_edge.exporting import targets
from dvt_edge.exporting.gate import keep_promise
from dvt_edge.exporting.own_environment import ETHOS_U
from dvt_edge.exporting.recipes import recipe_for
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.presets import PRESETS
from dvt_edge.network.stages import StageChain, StageGraph, split

RECIPE = recipe_for("executorch-ethos-u85")
STAND_IN = Path(__file__).parents[1] / "support/ethosu_stand_in.py"


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The packages' folder of an environment that has none."""
    needs("executorch")
    monkeypatch.setenv("DVT_EDGE_ETHOS_U", str(tmp_path / "environment"))
    ETHOS_U.site_packages.mkdir(parents=True)
    return ETHOS_U.site_packages


@pytest.fixture(params=["stand-in", "vela"])
def environment(request: pytest.FixtureRequest) -> str:
    if request.param == "stand-in":
        shutil.copy(STAND_IN, request.getfixturevalue("empty") / "sitecustomize.py")
    elif why := ETHOS_U.why_not():
        pytest.skip(f"needs {why}")
    return request.param


def stages() -> list[StageGraph]:
    torch.manual_seed(0)
    return split(Cascade(PRESETS["dvt_tiny"].replace(depth=1)))


def inputs(index: int, count: int) -> Iterator[tuple[Tensor, ...]]:
    chain = StageChain(stages())
    for image in sample("cifar10-test").first(count):
        ready, _ = chain.run(torch.from_numpy(np.asarray(image))[None], last=index)[index]
        yield tuple(ready.values())


def test_a_stage_comes_back_as_a_program_with_its_counts(environment: str, tmp_path: Path) -> None:
    """The second, which takes state."""
    from dvt_edge.exporting.ethosu_exporter import export_stage

    made = export_stage(stages()[1], RECIPE, lambda: inputs(1, 4), tmp_path)
    assert made.artifact == tmp_path / "stage1.pte" and made.artifact.read_bytes()[4:6] == b"ET"
    assert [p.name for p in tmp_path.iterdir() if p.name != "environment"] == ["stage1.pte"]
    left = made.operators.undelegated_kinds
    assert made.operators.delegated > 20 and sum(left.values()) == made.operators.undelegated
    if environment == "vela":
        keep_promise(RECIPE, "stage1", made.operators)


def test_what_the_other_process_says_last_is_the_error(empty: Path, tmp_path: Path) -> None:
    """Without the TOSA tools Arm's backend cannot even be imported."""
    from dvt_edge.exporting.ethosu_exporter import export_stage

    with pytest.raises(ExportError, match=r"^stage0: target executorch-ethos-u85 failed \(.*tosa.*\)$"):
        export_stage(stages()[0], RECIPE, lambda: inputs(0, 1), tmp_path)
    assert not (tmp_path / "stage0.pte").exists()


def test_without_images_or_the_environment_it_is_refused(
    empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvt_edge.exporting.ethosu_exporter import export_stage

    with pytest.raises(ExportError, match="no calibration images"):
        export_stage(stages()[0], RECIPE, lambda: iter(()), tmp_path)
    monkeypatch.setenv("DVT_EDGE_ETHOS_U", str(tmp_path / "none"))
    with pytest.raises(ExportError, match="needs Arm's compiler Vela in an environment of its own: dvt-edge targets"):
        export_stage(stages()[0], RECIPE, lambda: inputs(0, 1), tmp_path)
    assert targets.on_this_machine(RECIPE).startswith("needs Arm's compiler Vela")
