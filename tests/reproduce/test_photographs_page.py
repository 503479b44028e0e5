"""The page of the photographs, from figures of the same form: those of the CIFAR-10 page."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from dvt_edge.calibration.exit_logits import in_memory

ROOT = Path(__file__).parents[2]
RUN = {"held_out_top1": [0.9, 0.95], "test_top1": [0.8, 0.85], "test_coarse_top1": [0.9, 0.95], "hours": 0.5}
RUNS = {"cascade-11ep-seed0": RUN}


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "export_scripts/reproduce"))
    import make_photographs

    return make_photographs


def test_the_page_says_what_it_has_not(scripts: ModuleType) -> None:
    result = json.loads((ROOT / "docs/results/eval.json").read_text())
    result |= {"coarse_top1": {"pytorch": [0.9, 0.95, 0.96]}, "coarse_classes": 5}
    answers = scripts.read_answers(ROOT / "docs/results/answers.npz")
    answers |= {f"{s['static']}, pytorch/right": answers["pytorch/right"][:, :1] for s in result["statics"]}
    with_statics = scripts.page(result, answers, RUNS)
    assert "| pytorch | 1 | 95.00 % |" in with_statics and "5 coarse classes" in with_statics
    assert "No static model" not in with_statics and "| static 8x8, dominated by 2x2 | pytorch |" in with_statics
    assert "at temperature 1;" in with_statics and "temperature 1;" not in scripts.page(
        result | {"gains": "at the fitted temperature"}, answers, RUNS
    )
    assert "| cascade-11ep-seed0 | 90.00 % / 95.00 % | 80.00 % / 85.00 % | 90.00 % / 95.00 % | 0.50 |" in with_statics
    alone = scripts.page(result | {"statics": [], "equal_accuracy": []}, answers, RUNS)
    assert "No static model was trained" in alone and "static 8x8, dominated" not in alone


def test_a_coin_between_two_static_models_is_the_alternative(scripts: ModuleType) -> None:
    """Half of the photographs to each where the MACs lie half-way; the largest static model alone above it."""
    import photographs_page

    right = np.array([[1, 1], [0, 1], [0, 1], [0, 0]], bool)
    answers = {"pytorch/right": right, "small, pytorch/right": right[:, :1], "large, pytorch/right": right[:, 1:]}
    for loss, exits in ((0.25, [1, 1, 1, 1]), (0.5, [0, 1, 1, 0]), (1, [0, 0, 1, 1]), (2, [0, 0, 0, 0])):
        answers[f"pytorch/loses {loss:g} %"] = np.array(exits, np.uint8)
    result = {
        "evaluations": [{"target": "pytorch", "macs": [100e6, 300e6], "top1": [0.25, 0.75]}],
        "statics": [
            {"target": "pytorch", "static": name, "macs": [macs], "top1": [top1]}
            for name, macs, top1 in (("large", 250e6, 0.75), ("small", 150e6, 0.25))
        ],
    }
    found = photographs_page.mixtures(result, answers)
    assert [(run, cost, mine) for run, cost, mine, *_ in found] == [
        ("loses 0.25 %", 300e6, 0.75),
        ("loses 0.5 %", 200e6, 0.75),
        ("loses 1 %", 200e6, 0.5),
    ]
    assert [theirs for *_, theirs, _ in found] == [0.75, 0.5, 0.5]
    more = [{"target": "pytorch", "static": f"seed {k}", "macs": [150e6], "top1": [0.25 * k]} for k in (0, 2)]
    answers |= {f"seed {k}, pytorch/right": right[:, :1] if k == 0 else right[:, 1:] for k in (0, 2)}
    best = photographs_page.mixtures(result | {"statics": [*result["statics"], *more]}, answers)
    assert [theirs for *_, theirs, _ in best] == [0.75, 0.75, 0.75], (
        "of equal MACs the better one, alone where that is best"
    )
    words = photographs_page.verdict(result, answers, RUNS)
    assert "the first exit has 90.00 % on them, and 25.00 % on the test" in " ".join(words.split())
    assert "| loses 0.5 % | 200 | 75.00 % | 50.00 % | +25.00 (" in words and "does not win" not in words
    again = RUNS | {"static14-again": RUN | {"test_top1": [0.76]}, "static14": RUN | {"test_top1": [0.75]}}
    said = " ".join(photographs_page.verdict(result, answers, again).split())
    assert "static14-again, has 76.00 %, 1.00 points more than the static model" in said
    assert "Another training" not in words
    worse = {**answers, "large, pytorch/right": np.ones((4, 1), bool), "pytorch/right": np.zeros((4, 2), bool)}
    assert "The method does not win here" in photographs_page.verdict(result, worse, RUNS)


def test_an_ablation_is_held_against_the_cascade_by_photograph(scripts: ModuleType) -> None:
    import photographs_page

    right = np.array([[1, 1], [0, 1], [0, 1], [0, 0]], bool)
    answers = {"pytorch/right": right, "without relations/right": ~right}
    result = {
        "evaluations": [{"target": "pytorch", "macs": [100e6, 300e6], "top1": [0.25, 0.75]}],
        "ablations": [{"without": "relations", "macs": [100e6, 290e6], "top1": [0.75, 0.25]}],
    }
    table = photographs_page.reuse_text(result, answers)
    assert "| as shipped | 1 | 300.00 | 75.00 % | - |" in table
    assert "| without relations | 1 | 290.00 | 25.00 % | -50.00 (-100.00 to +50.00) |" in table
    assert "within the intervals of one training each. Cascades" in " ".join(table.split())
    for shipped, other, words in (
        (0, 1, "**Reuse costs accuracy at the last exit here**"),
        (1, 0, "is better with reuse**"),
    ):
        clear = {
            "pytorch/right": np.full((9, 2), bool(shipped)),
            "without relations/right": np.full((9, 2), bool(other)),
        }
        assert words in photographs_page.reuse_text(result, clear)
    assert photographs_page.reuse_text(result | {"ablations": []}, answers) == ""


def test_a_coarse_answer_has_the_probability_of_its_fine_ones_together(scripts: ModuleType) -> None:
    logits = np.log(np.array([[[0.3, 0.3, 0.4]], [[0.2, 0.2, 0.6]]], np.float32))  # two images, one exit
    kept = in_memory(logits, np.array([1, 1]), (1,), "made up")
    assert scripts.coarse_right(kept, (0, 0, 1)).tolist() == [[True], [False]]


def test_the_shipped_page_is_of_its_figures(scripts: ModuleType) -> None:
    place = ROOT / "docs/results/photographs"
    result = json.loads((place / "eval.json").read_text())
    made = scripts.page(result, scripts.read_answers(place / "answers.npz"), scripts.read_runs(place))
    assert made == (ROOT / "docs/results.md").read_text()
