"""The list of targets: what a user reads is what the recipes say."""

from __future__ import annotations

import importlib.machinery
from pathlib import Path

import pytest

from dvt_edge.cli.app import main
from dvt_edge.exporting import targets
from dvt_edge.exporting.own_environment import ENVIRONMENTS
from dvt_edge.exporting.recipes import RECIPES, recipe_for

ROOT = Path(__file__).parents[2]


def test_docs_have_the_rows_of_the_recipes() -> None:
    assert targets.markdown("name", "status", "about") in (ROOT / "README.md").read_text()
    docs = (ROOT / "docs/targets.md").read_text()
    assert targets.markdown("name", "backend", "weights", "activations", "keeps", "status") in docs


def test_every_recipe_is_listed_with_what_this_machine_can_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["targets"]) == 0
    out = capsys.readouterr().out
    assert all(f"{recipe.name} on {recipe.backend}: {recipe.about}" in out for recipe in RECIPES)


def test_what_lacks_is_named_and_what_runs_nowhere_here_is_never_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.machinery.ModuleSpec("there", None)
    monkeypatch.setattr(targets, "find_spec", lambda name: there)
    monkeypatch.setattr(targets.platform, "system", lambda: "Linux")
    for recipe in RECIPES:
        said = targets.on_this_machine(recipe)
        if recipe.environment and (why := ENVIRONMENTS[recipe.environment].why_not()):
            assert said == f"needs {why}"
        else:
            words = {"run": "ready", "interpreted": "interpreted; runs on macOS", "lowered": "lowers only"}
            assert said == (words | {"simulated": "ready, on the simulator"})[recipe.proof]
        assert recipe.status == "experimental" or recipe.proof != "lowered"
        assert (recipe.status == "simulator") == (recipe.proof == "simulated")
    monkeypatch.setattr(targets, "find_spec", lambda name: None if name == "coremltools" else there)
    for name in ("coreml-w8", "executorch-coreml"):
        said = targets.on_this_machine(recipe_for(name))
        assert said == "needs coremltools: pip install 'dvt-edge[coreml]'"
    assert targets.on_this_machine(recipe_for("onnx-w8")) == "ready"
