"""The pages of 224 px, from figures of the same form: those of the page of 32 px."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import typer
from support.fake_cifar import write_cifar10

from dvt_edge.calibration.exit_logits import BundleSource, ExitLogits, compute, in_memory
from dvt_edge.data.dealing import open_training_data
from dvt_edge.data.reading import sample
from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.device.runtime import Runtime
from dvt_edge.evaluation.curves import Evidence, TorchSource
from dvt_edge.evaluation.intervals import times_fewer
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.checkpoint import checkpoint_sha256, save_cascade
from dvt_edge.network.presets import PRESETS

ROOT = Path(__file__).parents[2]
RUN = {"held_out_top1": [0.9, 0.95], "test_top1": [0.8, 0.85], "test_coarse_top1": [0.9, 0.95], "hours": 0.5}
RUNS = {"cascade-11ep-seed0": RUN}


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "export_scripts/reproduce"))
    import make_224

    return make_224


def with_crossed(answers: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """As if the other half of the test images gave the same thresholds."""
    kept = {key: rows for key, rows in answers.items() if not key.startswith(("onnx", "executorch"))}
    runs = {key: rows for key, rows in kept.items() if "/loses" in key or "/as good as" in key}
    return answers | {key.replace("/", "/crossed: "): rows for key, rows in runs.items()}


def test_the_page_says_what_it_has_not(scripts: ModuleType) -> None:
    import page_224

    result = json.loads((ROOT / "docs/results/eval.json").read_text())
    result |= {"coarse_top1": {"pytorch": [0.9, 0.95, 0.96]}, "coarse_classes": 5, "crossed_times": {}}
    result["crossed"] = {"equal": {"pytorch": {"points": [-0.1, 0.1], "fewer_macs": [1, 2]}}, "differences": {}}
    answers = scripts.read_answers(ROOT / "docs/results/answers.npz")
    answers |= {f"{s['static']}, {s['target']}/right": answers["pytorch/right"][:, :1] for s in result["statics"]}
    answers |= {f"pytorch/as good as {s['static']}": answers["pytorch/loses 1 %"] for s in result["statics"]}
    answers = with_crossed(answers)
    with_statics = page_224.page(page_224.PHOTOGRAPHS, result, answers, RUNS)
    assert "| pytorch | 1 | 95.00 % |" in with_statics and "5 coarse classes" in with_statics
    assert "No static model" not in with_statics and "| static 8x8, dominated by 2x2 | pytorch |" in with_statics
    assert "at temperature 1;" in with_statics and "temperature 1;" not in page_224.page(
        page_224.PHOTOGRAPHS, result | {"gains": "at the fitted temperature"}, answers, RUNS
    )
    assert "| cascade-11ep-seed0 | 90.00 % / 95.00 % | 80.00 % / 85.00 % | 90.00 % / 95.00 % | 0.50 |" in with_statics
    alone = page_224.page(page_224.PHOTOGRAPHS, result | {"statics": [], "equal_accuracy": []}, answers, RUNS)
    assert "No static model was trained" in alone and "static 8x8, dominated" not in alone


def test_a_coin_between_two_static_models_is_the_alternative(scripts: ModuleType) -> None:
    """Half of the photographs to each where the MACs lie half-way; the largest static model alone above it."""
    import cross_fitting
    import page_224

    right = np.array([[1, 1], [0, 1], [0, 1], [0, 0]], bool)
    answers = {"pytorch/right": right, "small, pytorch/right": right[:, :1], "large, pytorch/right": right[:, 1:]}
    for loss, exits in ((0.25, [1, 1, 1, 1]), (0.5, [0, 1, 1, 0]), (1, [0, 0, 1, 1]), (2, [0, 0, 0, 0])):
        answers[f"pytorch/loses {loss:g} %"] = np.array(exits, np.uint8)
    result = {
        "evaluations": [{"target": "pytorch", "macs": [100e6, 300e6], "top1": [0.25, 0.75], "images": 4}],
        "statics": [
            {"target": "pytorch", "static": name, "macs": [macs], "top1": [top1]}
            for name, macs, top1 in (("large", 250e6, 0.75), ("small", 150e6, 0.25))
        ],
        "equal_accuracy": [],
        "times": [],
        "crossed_times": {"pytorch": {"images": 4, "static_mean_ms": 30, "mean_ms": 20, "less_time": [1.25, 1.75]}},
        "crossed": {
            "equal": {"pytorch": {"points": [-0.25, 0.5], "fewer_macs": [1.0, 1.5]}},
            "differences": {"static models/loses 0.5 %": [0.125, 0.375], "static models/loses 1 %": [-0.5, 0.5]},
        },
    }
    found = page_224.mixtures(result, answers)
    assert [(duel.run, duel.cost, duel.mine.mean()) for duel in found] == [
        ("loses 0.25 %", 300e6, 0.75),
        ("loses 0.5 %", 200e6, 0.75),
        ("loses 1 %", 200e6, 0.5),
    ]
    assert [duel.theirs.mean() for duel in found] == [0.75, 0.5, 0.5]
    answers["pytorch/costs as large"] = np.array([0, 1, 1, 0], np.uint8)
    dear = page_224.mixtures(result, answers)
    assert [(duel.run, duel.cost) for duel in dear[3:]] == [("costs as large", 200e6)]
    more = [{"target": "pytorch", "static": f"seed {k}", "macs": [150e6], "top1": [0.25 * k]} for k in (0, 2)]
    answers |= {f"seed {k}, pytorch/right": right[:, :1] if k == 0 else right[:, 1:] for k in (0, 2)}
    best = page_224.mixtures(result | {"statics": [*result["statics"], *more]}, answers)
    assert [duel.theirs.mean() for duel in best] == [0.75] * 4, "of equal MACs the better one, alone where that is best"
    answers["pytorch/as good as large"] = np.array([0, 1, 1, 0], np.uint8)
    answers = with_crossed(answers)
    again = page_224.mixtures(result, answers, cross_fitting.CROSSED)
    assert [(duel.name, duel.cost, duel.difference) for duel in again] == [
        (duel.name, duel.cost, duel.difference) for duel in found
    ]
    words = page_224.verdict(page_224.PHOTOGRAPHS, result, answers, RUNS)
    crossed = "| pytorch | 75.00 % | +0.00 (-25.00 to +50.00) | 1.25 (1.00 to 1.50) | 1.50 (1.25 to 1.75) |"
    assert crossed in words, "250 over a mean of 200 MMACs"
    assert "interval above 0 at 1 of 3 costs" in " ".join(words.split())
    assert "| loses 0.5 % | 200 | 75.00 % | 50.00 % | +25.00 (+12.50 to +37.50) |" in words
    assert "the first exit has 90.00 % on them, and 25.00 % on the test" in " ".join(words.split())
    assert "| loses 0.5 % | 200 | 75.00 % | 50.00 % | +25.00 (" in words and "does not win" not in words
    again = RUNS | {"static14-again": RUN | {"test_top1": [0.76]}, "static14": RUN | {"test_top1": [0.75]}}
    said = " ".join(page_224.verdict(page_224.PHOTOGRAPHS, result, answers, again).split())
    assert "static14-again, has 76.00 %, 1.00 points more than the static model" in said
    assert "Another training" not in words
    worse = {**answers, "large, pytorch/right": np.ones((4, 1), bool), "pytorch/right": np.zeros((4, 2), bool)}
    assert "The method does not win here" in page_224.verdict(page_224.PHOTOGRAPHS, result, worse, RUNS)


def test_in_time_the_alternative_is_of_the_same_milliseconds(scripts: ModuleType) -> None:
    """A run of 15 ms lies half-way between static models of 10 and 20, whatever their MACs; one of 5 ms is left out."""
    import page_224

    right = np.array([[1, 1], [0, 1], [0, 1], [0, 0]], bool)
    answers = {"onnx-int8/right": right, "small, onnx-int8/right": right[:, :1], "large, onnx-int8/right": right[:, 1:]}
    answers |= {f"onnx-int8/loses {x} %": np.array([0, 1, 1, 0], np.uint8) for x in ("0.25", "0.5", "1", "2")}
    ms = {"loses 0.25 %": 25.0, "loses 0.5 %": 15.0, "loses 2 %": 5.0, "costs as large": 19.0}
    answers["onnx-int8/costs as large"] = answers["onnx-int8/loses 2 %"]
    ms |= {"small": 10.0, "large": 20.0}
    result: dict[str, Any] = {
        "statics": [{"target": "onnx-int8", "static": name, "macs": [1]} for name in ("small", "large")],
        "times": [{"target": "onnx-int8", "run": run, "mean_ms": mean} for run, mean in ms.items()],
    }
    found = page_224.timed_mixtures(result, answers, "onnx-int8")
    assert [(d.run, d.cost, d.theirs.mean()) for d in found] == [
        ("loses 0.25 %", 25.0, 0.75),
        ("loses 0.5 %", 15.0, 0.5),
        ("costs as large", 19.0, pytest.approx(0.7)),
    ]
    table = page_224.in_time(page_224.CIFAR224, result, answers)
    assert "| loses 0.5 % | 15.00 | 75.00 % | 50.00 % | +25.00 (" in table and "equal mean milliseconds" in table
    untimed = result | {"times": [t for t in result["times"] if t["run"] != "large"]}
    assert page_224.in_time(page_224.CIFAR224, untimed, answers) == ""


def test_held_out_images_that_are_like_the_test_ones_need_no_other_thresholds(scripts: ModuleType) -> None:
    import page_224

    right = np.array([[1, 1], [0, 1]], bool)
    answers = {"pytorch/right": right, "without relations/right": ~right}
    answers |= {f"pytorch/loses {x} %": np.array([0, 1], np.uint8) for x in ("0.25", "0.5", "1", "2")}
    plain = {key: value for key, value in OTHERS.items() if key != "crossed"}
    assert "other half" not in page_224.reuse_text(page_224.CIFAR224, plain, answers)
    assert page_224.crossed_text(page_224.CIFAR224, plain, answers) == ""


def test_the_best_static_model_is_what_early_exit_is_held_against(scripts: ModuleType) -> None:
    """3 of 4 images leave at exit 0, of a third of the static model's MACs: (4 * 300) / (3 * 100 + 300)."""
    import page_224

    right = np.array([[1, 1], [1, 1], [1, 1], [0, 1]], bool)
    answers = {
        "pytorch/right": right,
        "large, pytorch/right": right[:, 1:],
        "pytorch/as good as large": np.array([0, 0, 0, 1], np.uint8),
    }
    point = {"top1": 1.0, "shares": [0.75, 0.25]}
    equal = {"target": "pytorch", "tolerance": 0.0, "static_top1": 1.0, "static_macs": 300e6, "cascade": point}
    result = {
        "evaluations": [{"target": "pytorch", "macs": [100e6, 300e6], "images": 4}],
        "statics": [
            {"target": "pytorch", "static": name, "macs": [macs], "top1": [top1]}
            for name, macs, top1 in (("small", 150e6, 0.25), ("large", 300e6, 1.0))
        ],
        "equal_accuracy": [
            equal | {"static": "small", "fewer_macs": 9.0},
            equal | {"static": "large", "fewer_macs": 2.0},
        ],
        "times": [
            {"target": "pytorch", "run": "large", "mean_ms": 30.0},
            {"target": "pytorch", "run": "as good as large", "mean_ms": 12.0, "less_time": {"large": [2.0, 3.0]}},
        ],
    }
    table = page_224.at_its_accuracy(result, answers)
    row = "| pytorch | 100.00 % | +0.00 (+0.00 to +0.00) | 2.00 (1.20 to 3.00) | 2.50 (2.00 to 3.00) |"
    assert "large: top-1" in table and row in table and "9.00" not in table


OTHERS: dict[str, Any] = {
    "statics": [],
    "crossed": {"differences": {"without relations/loses 0.5 %": [-0.25, 0.125]}},
    "evaluations": [{"target": "pytorch", "macs": [100e6, 300e6], "top1": [0.25, 0.75]}],
    "others": [{"name": "without relations", "macs": [100e6, 290e6], "top1": [0.75, 0.25]}],
}


def test_another_cascade_is_held_against_this_one_by_image(scripts: ModuleType) -> None:
    import page_224

    right = np.array([[1, 1], [0, 1], [0, 1], [0, 0]], bool)
    answers = {"pytorch/right": right, "without relations/right": ~right}
    answers |= {f"pytorch/loses {x} %": np.array([0, 1, 1, 0], np.uint8) for x in ("0.25", "0.5", "1", "2")}
    answers["without relations/loses 0.5 %"] = np.array([1, 0, 0, 0], np.uint8)
    answers["pytorch/costs as static 9x9"] = answers["without relations/costs as static 9x9"] = np.zeros(4, np.uint8)
    answers = with_crossed(answers)
    table = page_224.reuse_text(page_224.PHOTOGRAPHS, OTHERS, answers)
    assert "| this one | 1 | 300.00 | 75.00 % | - |" in table
    assert "| without relations | 1 | 290.00 | 25.00 % | -50.00 (-100.00 to +50.00) |" in table
    assert "within the intervals of one training each. Other" in " ".join(table.split())
    assert "| loses 0.5 % | without relations | 200 | 148 | 75.00 % | 75.00 % | +0.00 (" in table
    assert "| loses 0.5 % | without relations | 200 | 148 | 75.00 % | 75.00 % | +0.00 (-25.00 to +12.50) |" in table
    assert "| costs as static 9x9 | without relations | 100 | 100 | 25.00 % | 75.00 % | -50.00 (" in table
    equal, _, sent_on = table.partition("What reuse is there for")
    assert (
        sent_on.count("loses") == 4 and "| loses 1 % | 2 | without relations | 100.00 % | 0.00 % | +100.00 (" in sent_on
    )
    assert equal.count("loses") == 2, "none where the other one cannot be had so cheaply; and crossed"
    for shipped, other, words in (
        (0, 1, "**Reuse costs accuracy at the last exit here**"),
        (1, 0, "is better with reuse**"),
    ):
        clear = {
            "pytorch/right": np.full((9, 2), bool(shipped)),
            "without relations/right": np.full((9, 2), bool(other)),
        }
        clear |= {f"pytorch/loses {x} %": np.zeros(9, np.uint8) for x in ("0.25", "0.5", "1", "2")}
        assert words in page_224.reuse_text(page_224.PHOTOGRAPHS, OTHERS, with_crossed(clear))
    assert page_224.reuse_text(page_224.PHOTOGRAPHS, OTHERS | {"others": []}, answers) == ""


def test_as_cheap_is_by_the_images_that_choose(scripts: ModuleType) -> None:
    """One cascade against itself: the same thresholds; against a dearer one's cost: better ones."""
    import cross_fitting

    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    logits = np.zeros((400, 2, 2), np.float32)
    for k, gap in enumerate((1.0, 3.0)):
        logits[np.arange(400), k, labels] = rng.normal(gap, 1.5, 400)
    cheap, dear, dearest = (
        Evidence(*2 * (in_memory(logits, labels, macs),)) for macs in ((10, 100), (10, 200), (1000, 2000))
    )
    same, more = cross_fitting.as_cheap(cheap, cheap), cross_fitting.as_cheap(dear, cheap)
    assert set(same) == {"loses 0.25 %", "loses 0.5 %", "loses 1 %", "loses 2 %"}
    for loss in (0.005, 0.02):
        run = f"loses {100 * loss:g} %"
        assert same[run] == cheap.at(cheap.losing(loss))
        assert more[run].shares[1] >= same[run].shares[1]
    assert more["loses 2 %"].shares[1] > same["loses 2 %"].shares[1]
    assert cross_fitting.as_cheap(cheap, dearest) == {}
    given = cross_fitting.as_cheap(cheap, dearest, {"small": 999, "large": 1500})
    assert list(given) == ["costs as large"], "the small one costs less than the first exit"
    assert given["costs as large"] == dearest.at(dearest.within(1500)) and 0 < given["costs as large"].shares[1] < 1


def test_each_half_leaves_by_the_other_halfs_thresholds(scripts: ModuleType) -> None:
    """Logits that are the same twice: halves that are drawn of them are alike, and no image is left out."""
    import cross_fitting

    rng = np.random.default_rng(0)
    labels = np.arange(1000) % 2
    logits = np.zeros((1000, 2, 2), np.float32)
    for k, gap in enumerate((1.0, 4.0)):
        logits[np.arange(1000), k, labels] = rng.normal(gap, 1.5, 1000)
    own = Evidence(*2 * (in_memory(logits, labels, (10, 100)),))
    folds = list(cross_fitting.halves(own, cross_fitting.dealt(1000)))
    assert sorted(np.concatenate([half for half, *_ in folds]).tolist()) == list(range(1000))
    (half, other, fold), (second, first, _) = folds
    assert np.array_equal(other, second) and np.array_equal(half, first)
    assert np.array_equal(fold.test.logits, logits[half]) and np.array_equal(fold.search.logits, logits[other])
    assert np.array_equal(fold.test.labels, labels[half])
    alone = in_memory(logits[:, 1:], labels, (50,))
    top1 = alone.correct[other, 0].mean()
    reached = cross_fitting.crossed_equal(own, alone, "static")["given/crossed: as good as static"]
    assert np.array_equal(reached[half] == 0, fold.test_confidences[:, 0] >= fold.reaching(top1)[0])
    found = cross_fitting.crossed_losses(own, {"itself": own})
    assert set(found) == {
        f"{who}/crossed: loses {x} %" for who in ("given", "itself") for x in ("0.25", "0.5", "1", "2")
    }
    for run in ("loses 0.5 %", "loses 2 %"):
        exits = found[f"given/crossed: {run}"]
        assert np.array_equal(exits, found[f"itself/crossed: {run}"]), "as cheap as itself: itself"
        threshold = fold.losing(float(run.split()[1]) / 100)[0]
        assert np.array_equal(exits[half] == 0, fold.test_confidences[:, 0] >= threshold)
    assert 0 < found["given/crossed: loses 2 %"].mean() < found["given/crossed: loses 0.5 %"].mean() < 1


def test_the_times_are_of_both_halves(
    scripts: ModuleType, zoo_bundle: CascadeBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the cascade by each half's thresholds: a static model worse than exit 0 lets all leave there."""
    import cross_fitting

    images = sample("cifar10-test").first(60)
    kept = compute(BundleSource(Runtime(zoo_bundle)), images, tmp_path / "kept")
    own = Evidence(kept, kept)
    wrong = in_memory(-np.array(kept.logits[:, :1]), kept.labels, (1,))  # the least likely class
    monkeypatch.setattr(cross_fitting, "engine_ms", lambda result: float(len(result.stage_ms)))
    redone = cross_fitting.Redone((0, 0), (1, 1), [0.75, 0.0, 0.25], [[0.5, 0.0, 0.5], [1.0, 0.0, 0.0]] * 20)
    bundles = zoo_bundle, zoo_bundle
    found = cross_fitting.crossed_time(own, wrong, bundles, images, 8, redone, lambda what, done, of: None)
    assert (found["images"], found["mean_ms"]) == (8, 1.0), "all at exit 0"
    assert found["static_mean_ms"] > 1 and found["less_time"][0] <= found["static_mean_ms"] <= found["less_time"][1]


def test_milliseconds_are_weighted_by_where_all_images_leave(scripts: ModuleType) -> None:
    import cross_fitting

    ms, exits = np.array([1.0, 3.0, 8.0]), np.array([0, 0, 1])
    assert cross_fitting.weighted(ms, exits, [0.5, 0.5]) == 5.0
    assert cross_fitting.weighted(ms, exits, [0.5, 0.25, 0.25]) == 1.0 + 2.0 + 1.0, "none timed at exit 2: the mean"


def made_up(seed: int, images: int) -> tuple[Evidence, ExitLogits]:
    """A cascade of two exits and a static model a little worse than its last."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, images)
    logits = rng.normal(0, 1, (images, 3, 5)).astype(np.float32)
    lift = np.array([2.7, 3.3, 3.1]) - 1.3 * rng.normal(0, 1, (images, 1))
    logits[np.arange(images)[:, None], np.arange(3), labels[:, None]] += lift
    own = in_memory(logits[:, :2], labels, (10, 50))
    return Evidence(own, own), in_memory(logits[:, 2:], labels, (40,))


def test_intervals_hold_what_other_images_would_have_given_as_thresholds(
    scripts: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty sets of made-up images: what they give scatters no more than an interval says, and near as much."""
    import cross_fitting

    monkeypatch.setattr(cross_fitting, "DRAWS", 40)
    fewer, claimed, fixed = [], [], []
    for seed in range(20):
        own, static = made_up(seed, 600)
        redone = cross_fitting.equal_intervals(own, static, lambda what, done, of: None)
        [exits] = cross_fitting.crossed_equal(own, static, "").values()
        costs = np.array([10.0, 50.0])[exits]
        fewer.append(40 / costs.mean())
        assert redone.fewer_macs[0] < fewer[-1] < redone.fewer_macs[1]
        claimed.append(np.diff(redone.fewer_macs)[0] / 3.92)
        fixed.append(np.diff(times_fewer(costs, 40))[0] / 3.92)
    assert 0.8 < np.mean(claimed) / np.std(fewer) < 2.5
    assert np.mean(fixed) < 0.7 * np.std(fewer), "as thresholds held fixed would say"


def test_duels_are_redone_on_half_samples(scripts: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against itself a cascade differs by nothing, and the interval is nothing."""
    import cross_fitting
    import page_224

    monkeypatch.setattr(cross_fitting, "DRAWS", 10)
    own, static = made_up(0, 400)
    right = own.test.correct
    answers = {"given/right": right, "itself/right": right, "small, given/right": static.correct}
    result = {
        "evaluations": [{"target": "given", "macs": [10, 50]}],
        "statics": [{"target": "given", "static": "small", "macs": [9]}],
        "others": [{"name": "itself", "macs": [10, 50]}],
    }
    found = cross_fitting.loss_intervals(
        own, {"itself": own}, page_224.differences(result, answers), lambda what, done, of: None
    )
    runs = {f"loses {x} %" for x in ("0.25", "0.5", "1", "2")}
    assert set(found) == {f"{who}/{run}" for who in ("itself", "static models") for run in runs}
    assert all(found[f"itself/{run}"] == (0, 0) for run in runs)
    exits = cross_fitting.crossed_losses(own, {})["given/crossed: loses 1 %"]
    lead = right[np.arange(400), exits].mean() - static.correct.mean()
    low, high = found["static models/loses 1 %"]
    assert low < lead < high


def test_static_models_one_after_another_are_a_cascade_without_reuse(scripts: ModuleType, tmp_path: Path) -> None:
    """What the cascade of their stages says, to the bit, at its MACs; without computing any of it again."""
    import rivals_224

    config = PRESETS["dvt_tiny"].replace(name="both", grids=(2, 4))
    alone = {"feature_reuse": False, "relation_reuse": False}
    images = sample("cifar10-test").first(8)
    torch.manual_seed(0)
    statics = {
        f"{grid}" * 64: Cascade(config.replace(name=f"static{grid}", grids=(grid,), **alone)).eval() for grid in (4, 2)
    }
    whole = Cascade(config.replace(**alone)).eval()
    for stage, one in zip(whole.stages, reversed(statics.values()), strict=True):
        stage.load_state_dict(one.stages[0].state_dict())
    for digest, model in (*statics.items(), ("w" * 64, whole)):
        for name in ("search", "test"):
            compute(TorchSource(model, digest), images, tmp_path / f"pytorch-{digest[:12]}" / name)
    configs = {digest: model.config for digest, model in statics.items()}
    found, wanted = rivals_224.apart(config, configs, tmp_path), rivals_224.kept(tmp_path, "pytorch", "w" * 64)
    assert (
        found is not None
        and np.array_equal(found.test.logits, wanted.test.logits)
        and found.test.about.macs == wanted.test.about.macs
    )
    assert found.search.top1 == wanted.search.top1
    assert rivals_224.apart(config, dict(list(configs.items())[:1]), tmp_path) is None
    deeper = configs["4" * 64].replace(depth=config.depth + 1)
    assert rivals_224.apart(config, configs | {"4" * 64: deeper}, tmp_path) is None


def test_what_is_trained_later_is_held_against_what_was_kept(scripts: ModuleType, tmp_path: Path) -> None:
    """The page's cascade is not there any more: its logits are, and a static model's of its first grid."""
    import add_to_224
    import rivals_224

    data, place = tmp_path / "data", tmp_path / "docs/results/cifar224"
    write_cifar10(data)
    config, alone = PRESETS["dvt_tiny"].replace(grids=(2, 4)), {"feature_reuse": False, "relation_reuse": False}
    models = {
        "whole": config,
        "two": config.replace(name="two", grids=(2,), **alone),
        "four": config.replace(name="four", grids=(4,), **alone),
        "deep": config.replace(name="deep", grids=(2,), depth=3, **alone),
        "less": config.replace(name="less", relation_reuse=False),
    }
    models |= {name: models["deep"].replace(name=name) for name in ("deep again", "deep, a third")}
    short = {"less, 1 epoch": models["less"], "whole, 1 epoch": config, "four, 1 epoch": models["four"]}
    paths = {name: tmp_path / name / "cascade.safetensors" for name in (*models, *short, "dealt otherwise")}
    for seed, name in enumerate(paths):
        torch.manual_seed(seed)
        cascade = Cascade((models | short).get(name, config)).eval()
        cascade.trained_on = open_training_data(data, 16, int(name == "dealt otherwise")).dealt
        write_run(paths[name].parent, epochs=1 if name in short else 2)
        save_cascade(cascade, paths[name])
    result = scripts.run_study(
        scripts.Study(str(paths["whole"]), str(data), tmp_path / "out", statics=(paths["two"],), timed=2),
        lambda *words: None,
    )
    result["times"] = json.loads((ROOT / "docs/results/eval.json").read_text())["times"]
    place.mkdir(parents=True)
    (place / "eval.json").write_text(json.dumps(result | {"others": []}))
    (place / "answers.npz").write_bytes((tmp_path / "out/answers.npz").read_bytes())
    scripts.keep(tmp_path / "out/logits", place / "logits", digests(paths, models, "whole", "two"))

    def add(*names: str) -> tuple[dict[str, Any], str]:
        given = [paths[name] for name in names]
        add_to_224.add(scripts.SUBJECTS["cifar224"], data, given, tmp_path / "docs", lambda *words: None)
        page = (tmp_path / "docs/results-cifar224.md").read_text()
        return json.loads((place / "eval.json").read_text()), page

    write_run(place / "runs/dvt_cifar10_224/cascade-2ep-seed0", epochs=2)
    for name, why in (
        ("dealt otherwise", "with other images held out"),
        *((s, "of its epochs") for s in list(short)[::2]),
    ):
        with pytest.raises(typer.BadParameter, match=why):
            add("less", name)
    assert set(rivals_224.read_models(place / "logits")) == set(digests(paths, models, "whole", "two")), "none computed"
    first, _ = add("deep", "less")
    names = [static["static"] for static in first["statics"]]
    assert names[0] == "static 2x2" and names[1].startswith("static 2x2 of ") and len(names) == 2
    assert [other["name"] for other in first["others"]] == ["without relations"]
    second, page = add("four", "deep", "less")
    assert [static["static"] for static in second["statics"]][2:] == ["static 4x4"], "deep is there already"
    assert [other["name"] for other in second["others"]] == ["without relations", scripts.APART]
    added = digests(paths, models, "whole", "two", "four", "deep", "less")
    assert set(rivals_224.read_models(place / "logits")) == set(added)
    assert "| static 4x4 | pytorch |" in page or "| static 4x4, dominated by" in page
    assert "| the static models, one after another | 1 |" in page
    assert (
        "Those of deep, four, less were computed later" in " ".join(page.split())
        and "thresholds carried over" not in page
    )
    runs = {
        key.removeprefix("pytorch/") for key in scripts.read_answers(place / "answers.npz") if "pytorch/costs" in key
    }
    assert runs >= {f"costs as {name}" for name in ("static 2x2", "static 4x4")}, "of those that were there, too"
    short_too, page = add("less, 1 epoch", "whole, 1 epoch")
    added = {other["name"]: other["against"] for other in short_too["others"]}
    assert added == {
        "without relations": "",
        scripts.APART: "",
        "the cascade, 1 epoch": "the cascade, 1 epoch",
        "without relations, 1 epoch": "the cascade, 1 epoch",
    }
    assert "### Reuse left out, after 1 epoch" in page
    again, same = add("less, 1 epoch")
    assert again == short_too and same == page, "the one of as many epochs was kept"
    third, _ = add("deep again", "deep, a third")
    names = [static["static"] for static in third["statics"]]
    assert len(set(names)) == 5 and names[3:] == [
        f"{names[1]} {static['artifact_sha256'][:6]}" for static in third["statics"][3:]
    ]


def digests(paths: dict[str, Path], models: dict[str, Any], *names: str) -> dict[str, Any]:
    return {checkpoint_sha256(paths[name]): models[name] for name in names}


def write_run(folder: Path, epochs: int) -> None:
    """What a training leaves beside its checkpoint, as far as it is read."""
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(RUN | {"epochs": epochs}))


def test_ablations_of_other_epochs_are_held_against_a_cascade_of_as_many(scripts: ModuleType) -> None:
    """Not against the page's own, whose figures stand above them."""
    import page_224

    right = np.array([[1, 1], [0, 1], [0, 1], [0, 0]], bool)
    answers = {"pytorch/right": right, "the cascade, 1 epoch/right": np.ones((4, 2), bool)}
    answers |= {"without relations, 1 epoch/right": right, f"{page_224.APART}/right": right}
    for name in ("pytorch", "the cascade, 1 epoch", "without relations, 1 epoch"):
        answers |= {f"{name}/loses {x} %": np.array([0, 1, 1, 0], np.uint8) for x in ("0.25", "0.5", "1", "2")}
    base, figures = "the cascade, 1 epoch", {"macs": [100e6, 290e6], "top1": [0.25, 0.75]}
    whole = {"name": base, "against": base, "macs": [100e6, 300e6], "top1": [1.0, 1.0]}
    less = {"name": "without relations, 1 epoch", "against": base} | figures
    result = OTHERS | {"others": [{"name": page_224.APART, "against": ""} | figures, less, whole]}
    main, shorter = page_224.contests(result)
    assert [other["name"] for other in main.others] == [page_224.APART] and main.figures is result["evaluations"][0]
    assert shorter.figures is whole and shorter.others == [less]
    [duel] = [duel for duel in page_224.equal_costs(shorter, answers) if duel.run == "loses 0.5 %"]
    assert (duel.cost, duel.other_cost, duel.difference) == (200e6, 195e6, 0.25)
    text = page_224.reuse_text(page_224.CIFAR224, result, answers)
    assert "Reuse is left out further down" in " ".join(text.split()) and "None with a reuse left out" not in text
    assert "### Reuse left out, after 1 epoch\n" in text
    assert (
        "| the cascade, 1 epoch | 1 | 300.00 | 100.00 % | - |" in text
        and "against the cascade, 1 epoch, points" in text
    )
    assert "| without relations, 1 epoch | 1 | 290.00 | 75.00 % | -25.00 (" in text
    assert text.count("the cascade, 1 epoch |") == 2, "nowhere against this one"


def test_reuse_is_said_to_help_only_where_its_interval_does(scripts: ModuleType) -> None:
    import page_224

    right, half = np.ones((40, 2), bool), np.arange(80).reshape(40, 2) % 4 < 2
    answers = {"pytorch/right": right, "half/right": half, "same/right": right}
    others = [{"name": "half"}, {"name": "same"}]
    contest = page_224.Contest("pytorch", "this one", {}, others)
    assert "pays" not in page_224.of_reuse(contest, answers)
    early = {**answers, "pytorch/right": np.stack([half[:, 0], right[:, 1]], axis=1)}
    early["noisy/right"] = np.stack([~half[:, 0], right[:, 1]], axis=1)
    contest = page_224.Contest("pytorch", "this one", {}, [*others, {"name": "noisy"}])
    assert page_224.of_reuse(contest, early).endswith("**Its first exit pays for it**: 50.00 points less than same")
    said = page_224.at_the_last_exit(page_224.Contest("pytorch", "this one", {}, others), answers)
    assert said.startswith("**The last exit is better than half**") and said.endswith(
        "against same intervals contain 0"
    )


def test_a_coarse_answer_has_the_probability_of_its_fine_ones_together(scripts: ModuleType) -> None:
    logits = np.log(np.array([[[0.3, 0.3, 0.4]], [[0.2, 0.2, 0.6]]], np.float32))  # two images, one exit
    kept = in_memory(logits, np.array([1, 1]), (1,), "made up")
    assert scripts.coarse_right(kept, (0, 0, 1)).tolist() == [[True], [False]]


@pytest.mark.parametrize("name", ["photographs", "cifar224"])
def test_the_shipped_page_is_of_its_figures(scripts: ModuleType, name: str) -> None:
    import page_224

    subject = scripts.SUBJECTS[name]
    place = ROOT / "docs/results" / subject.name
    if not (place / "eval.json").exists():
        pytest.skip(f"{name} has no page yet")
    result = json.loads((place / "eval.json").read_text())
    runs = page_224.read_runs(place, subject.model)
    others = page_224.others_of(subject, ROOT / "docs")
    made = page_224.page(subject, result, scripts.read_answers(place / "answers.npz"), runs, others)
    assert made == (ROOT / "docs" / subject.page).read_text()


def test_the_readme_opens_with_what_the_page_of_photographs_has() -> None:
    """The ratios and differences by thresholds from the other half, and their intervals."""
    result = json.loads((ROOT / "docs/results/photographs/eval.json").read_text())
    page = (ROOT / "docs/results.md").read_text()
    words = " ".join((ROOT / "README.md").read_text().split())
    opening = words[words.index("The curve is that of") : words.index("make demo")]
    row = next(line for line in page.splitlines() if line.startswith("| pytorch | 88.49 % | -0.20"))
    difference, fewer = (cell.strip() for cell in row.split("|")[3:5])
    for cell in (difference, fewer):
        value, _, interval = cell.partition(" (")
        assert value in opening and interval.rstrip(")") in opening
    timed = result["crossed_times"]["onnx-int8"]
    assert f"{timed['static_mean_ms'] / timed['mean_ms']:.2f} times less time" in opening
    assert "({:.2f} to {:.2f};".format(*timed["less_time"]) in opening
    apart = [found for name, found in result["crossed"]["differences"].items() if "one after another" in name]
    assert len(apart) == 4 and sum(low < 0 < high for low, high in apart) == 3
    assert "contain 0 at three of four costs" in opening


def test_the_readme_says_of_cifar_what_its_page_has() -> None:
    """Ratios and differences with their intervals, where they contain 0, and how far the static models are apart."""
    page = (ROOT / "docs/results-cifar224.md").read_text()
    words = " ".join((ROOT / "README.md").read_text().split())
    said = words[words.index("On CIFAR-10 at 224 px, where") : words.index("make demo")]

    def cells(start: str) -> list[str]:
        row = next(line for line in page.splitlines() if line.startswith(start))
        return [cell.strip() for cell in row.split("|")[1:-1]]

    for cell in (*cells("| pytorch | 90.05 %")[2:4], cells("| onnx-int8 | 89.99 %")[4]):
        value, _, interval = cell.partition(" (")
        assert value in said and interval.rstrip(")") in said
    result = json.loads((ROOT / "docs/results/cifar224/eval.json").read_text())
    alone = [s for s in result["statics"] if s["target"] == "pytorch"]
    large, small = (
        next(s for s in result["statics"] if (s["static"], s["target"]) == (name, "pytorch"))
        for name in ("static 14x14", "static 7x7")
    )
    assert f"has {100 * (large['top1'][0] - small['top1'][0]):.2f} points less" in said
    assert 0.24 < small["macs"][0] / large["macs"][0] < 0.27, "a quarter of its MACs"
    table = page[page.index("At equal mean MACs") : page.index("And at equal mean milliseconds")]
    differences = [line.split("|")[5].strip() for line in table.splitlines() if line.startswith("| loses")]
    above = sorted(d.split(" ")[0] for d in differences if float(d.split("(")[1].split(" ")[0]) > 0)
    assert len(differences) == 4 and len(above) == 3 and f"{above[0]} to {above[-1]} points" in said
    table = page[page.index("With early exit, each") : page.index("What reuse is there for")]
    rows = [line for line in table.splitlines() if line.startswith("| loses") and "one after another" in line]
    intervals = [line.split("(")[1].split(")")[0].split(" to ") for line in rows]
    assert len(rows) == 4 and all(float(low) < 0 < float(high) for low, high in intervals)
    assert f"the best of {('four', 'five', 'six')[len(alone) - 4]} static models" in said
    apart = cells("| costs as static 10x10 | the static models, one after another")[6]
    assert f"leads by {apart.partition(' ')[0]} points {apart.partition(' ')[2]}" in said
    assert f"and {cells('| costs as static 10x10 | 1190')[4].partition(' ')[0]} at what a 10x10 model costs" in said
    short = [line for line in page.splitlines() if line.startswith("| without features and relations, 1 epoch |")]
    first, last = (line.split("|")[5].strip() for line in short)
    less, low, high = re.findall(r"[\d.]+", last)
    assert f"the last exit has {less} points less without either reuse ({high} to {low})" in said and last[0] == "-"
    assert f"and the first {first[1:].partition(' ')[0]} more" in said and first[0] == "+"


def test_a_page_says_what_is_not_trained_yet(scripts: ModuleType) -> None:
    import page_224

    some = {f"{variant}-2ep-seed0": RUN for variant in page_224.CIFAR224.variants if variant != "static10-depth3"}
    words = page_224.untrained_text(page_224.CIFAR224, some)
    assert words.strip().endswith("has: `static10-depth3`.") and "train_cifar224.py" in words
    assert page_224.untrained_text(page_224.CIFAR224, some | {"static10-depth3-2ep-seed1": RUN}) == ""


def test_a_run_that_measured_itself_in_bf16_is_no_better_training(scripts: ModuleType) -> None:
    import page_224

    run = RUN | {"test_top1": [0.9010]}
    assert page_224.better_training(0.9005, {"static14": run | {"precision": "bf16"}}) == ""
    assert "Another training" in page_224.better_training(0.9005, {"static14": run})
    assert "Another training" in page_224.better_training(0.8980, {"static14": run | {"precision": "bf16"}})


@pytest.mark.parametrize("name", ["photographs", "cifar224"])
def test_the_run_of_a_page_says_for_how_many_epochs_it_was(scripts: ModuleType, name: str) -> None:
    import rivals_224

    subject = scripts.SUBJECTS[name]
    run = ROOT / "docs/results" / name / "runs" / subject.model / subject.run
    assert f"-{rivals_224.epochs_of(run)}ep-" in subject.run
    with pytest.raises(typer.BadParameter, match="for how many epochs"):
        rivals_224.epochs_of(run.parent)
