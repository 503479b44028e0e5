"""The page of the photographs, from figures of the same form: those of the CIFAR-10 page."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from dvt_edge.calibration.exit_logits import in_memory

ROOT = Path(__file__).parents[2]


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "export_scripts/reproduce"))
    import make_photographs

    return make_photographs


def test_the_page_says_what_it_has_not(scripts: ModuleType) -> None:
    result = json.loads((ROOT / "docs/results/eval.json").read_text())
    result |= {"coarse_top1": {"pytorch": [0.9, 0.95, 0.96]}, "coarse_classes": 5}
    answers = scripts.read_answers(ROOT / "docs/results/answers.npz")
    with_statics = scripts.page(result, answers)
    assert "| pytorch | 1 | 95.00 % |" in with_statics and "5 coarse classes" in with_statics
    assert "No static model" not in with_statics and "| static 8x8, dominated by 2x2 | pytorch |" in with_statics
    alone = scripts.page(result | {"statics": [], "equal_accuracy": []}, answers)
    assert "No static model was trained" in alone and "static 8x8, dominated" not in alone


def test_a_coarse_answer_has_the_probability_of_its_fine_ones_together(scripts: ModuleType) -> None:
    logits = np.log(np.array([[[0.3, 0.3, 0.4]], [[0.2, 0.2, 0.6]]], np.float32))  # two images, one exit
    kept = in_memory(logits, np.array([1, 1]), (1,), "made up")
    assert scripts.coarse_right(kept, (0, 0, 1)).tolist() == [[True], [False]]
