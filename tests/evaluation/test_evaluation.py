"""dvt-edge eval: thresholds come from other images than the figures, and the figures are those of the exit rule."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.fake_bundle import FakeEngine, write_bundle
from support.fake_cifar import write_cifar10
from support.seeded import state_dict
from support.synthetic import cascade_logits

from dvt_edge.calibration.exit_logits import (
    CHUNK,
    BundleSource,
    ExitLogits,
    Member,
    collect,
    compute,
    in_memory,
    merge,
    open_logits,
)
from dvt_edge.cli.app import main
from dvt_edge.data.dealing import held_out_images, open_training_data
from dvt_edge.data.reading import sample
from dvt_edge.device import runtime as runtime_module
from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.device.exit_rule import confidence, decide, leaves
from dvt_edge.device.manifest import ImageSize
from dvt_edge.device.runtime import Result, Runtime
from dvt_edge.device.trained_on import TrainedOn
from dvt_edge.errors import DataError, DvtEdgeError
from dvt_edge.evaluation import curves
from dvt_edge.evaluation.curves import (
    Evidence,
    TorchSource,
    answer_batch,
    carry_over,
    engine_ms,
    evaluate,
    search_and_test,
    stage_milliseconds,
    take_turns,
    throughputs,
)
from dvt_edge.evaluation.study import (
    Study,
    bundle_source,
    equal_accuracy,
    equal_run,
    named,
    points_of,
    run_study,
    static_source,
    times,
)
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.checkpoint import load_cascade, save_cascade
from dvt_edge.network.pixels import evaluation_batch, normalise
from dvt_edge.network.presets import config_for

MACS = (10, 30, 100)


def exits_that_learn(images: int, seed: int) -> ExitLogits:
    """Three exits of rising accuracy whose confidence says something about being right."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, images)
    difficulty = rng.normal(0, 1, (images, 1))
    logits = rng.normal(0, 1, (images, 3, 5)).astype(np.float32)
    lift = np.array([1.5, 2.2, 3.0]) - 1.2 * difficulty
    logits[np.arange(images)[:, None], np.arange(3), labels[:, None]] += lift
    return in_memory(logits, labels, MACS, source=f"draw {seed}")


def test_a_point_is_what_the_exit_rule_gives_image_by_image() -> None:
    search, test = exits_that_learn(800, 0), exits_that_learn(500, 1)
    test = ExitLogits(test.logits, test.labels, search.about.__class__(**{**vars(search.about), "images": 500}))
    found = evaluate(Evidence(search, test))
    for point in found.curves["joint"][:: max(1, len(found.curves["joint"]) // 4)]:
        exits, right = [], []
        for logits, label in zip(test.logits, test.labels, strict=True):
            values, guesses = [], []
            for k, z in enumerate(logits):
                values.append(confidence(z))
                guesses.append(int(z.argmax()))
                if leaves(values[-1], k, point.thresholds, 2):
                    break
            answer = decide(values, guesses)
            exits.append(answer.exit)
            right.append(answer.label == label)
        assert point.top1 == pytest.approx(np.mean(right), abs=2 / 500)  # printed thresholds are rounded
        assert point.cost == pytest.approx(np.mean(np.array(MACS)[exits]), rel=0.01)
        assert sum(point.shares) == pytest.approx(1)


def test_thresholds_do_not_depend_on_the_test_images() -> None:
    search, one, other = (exits_that_learn(n, s) for n, s in ((800, 0), (500, 1), (500, 2)))
    about = {**vars(search.about), "images": 500}
    pairs = [ExitLogits(t.logits, t.labels, search.about.__class__(**about)) for t in (one, other)]
    first, second = (evaluate(Evidence(search, t)) for t in pairs)
    assert [p.thresholds for p in first.curves["joint"]] == [p.thresholds for p in second.curves["joint"]]
    assert [p.top1 for p in first.curves["joint"]] != [p.top1 for p in second.curves["joint"]]


def test_joint_thresholds_are_not_below_the_published_search() -> None:
    search, test = exits_that_learn(4000, 0), exits_that_learn(8000, 1)
    test = ExitLogits(test.logits, test.labels, search.about.__class__(**{**vars(search.about), "images": 8000}))
    found = evaluate(Evidence(search, test))
    for point in found.curves["paper"]:
        as_cheap = [p.top1 for p in found.curves["joint"] if p.cost <= point.cost * 1.001]
        if as_cheap:
            assert max(as_cheap) > point.top1 - 0.02  # 2 points: sampling noise and the curve's thirty points


def test_logits_of_two_artifacts_are_refused() -> None:
    with pytest.raises(DataError, match="one artifact"):
        Evidence(exits_that_learn(100, 0), exits_that_learn(100, 1))


@pytest.mark.parametrize(("part", "exit_"), [("search", 0), ("search", 2), ("test", 1)])
def test_logits_that_are_not_finite_are_refused(part: str, exit_: int) -> None:
    """They would be the least or the greatest confidence, or none, and pass for an answer."""
    logits = exits_that_learn(100, 0)
    broken = ExitLogits(logits.logits.copy(), logits.labels, logits.about)
    broken.logits[17, exit_, 3] = np.nan
    with pytest.raises(DataError, match=rf"\[17\]: the logits of exit {exit_} are not finite"):
        Evidence(*((broken, logits) if part == "search" else (logits, broken)))


def test_carrying_thresholds_over_to_the_same_artifact_costs_nothing() -> None:
    pair = Evidence(exits_that_learn(800, 0), exits_that_learn(800, 0))
    for row in carry_over(pair, pair, (0.0, 0.02)):
        assert row.carried == row.own == row.reference


@pytest.fixture(scope="module")
def tiny() -> Cascade:
    torch.manual_seed(0)
    return Cascade(config_for("dvt_tiny")).eval()


@pytest.mark.parametrize("thresholds", [(0.0, 0.0, 0.0), (0.12, 0.12, 0.0), (2.0, 2.0, 0.0)])
def test_a_batch_that_images_leave_answers_as_one_by_one(tiny: Cascade, thresholds: tuple[float, ...]) -> None:
    source = TorchSource(tiny, "x" * 64)
    pixels = np.stack([source.pixels(image) for image in sample("cifar10-test").first(24)])
    logits, _ = source.logits(pixels)
    expected, exits = [], []
    for rows in logits:
        values, labels = [confidence(z) for z in rows], [int(z.argmax()) for z in rows]
        exits.append(next(k for k in range(3) if leaves(values[k], k, thresholds, 2)))
        expected.append(labels[exits[-1]])
    found = answer_batch(tiny, normalise(torch.from_numpy(pixels), tiny.config), thresholds)
    assert found.tolist() == expected
    if thresholds[0] == 0.12:
        assert len(set(exits)) > 1  # or the test shows nothing


def test_logits_are_kept_resumed_and_bound_to_their_artifact(tiny: Cascade, tmp_path: Path) -> None:
    images, source = sample("cifar10-calibration").first(CHUNK + 20), TorchSource(tiny, "a" * 64)
    collect(source, images, tmp_path / "kept", team=Member(1, 2))  # one of two processes, then a kill
    with pytest.raises(DataError, match="1 parts of 2 are not there"):
        merge(source, images, tmp_path / "kept")
    collect(source, images, tmp_path / "kept", team=Member(0, 2))
    merge(source, images, tmp_path / "kept")
    kept = open_logits(tmp_path / "kept")
    whole = compute(source, images, tmp_path / "whole")
    assert np.array_equal(kept.logits, whole.logits) and kept.about == whole.about
    assert isinstance(open_logits(tmp_path / "kept").logits, np.memmap)
    assert not (tmp_path / "kept/parts").exists()

    pixels = torch.from_numpy(source.pixels(images[3]))[None]
    with torch.inference_mode():
        expected = torch.cat(tiny(normalise(pixels, tiny.config))).numpy()
    np.testing.assert_allclose(kept.logits[3], expected, atol=1e-5)

    source.artifact_sha256 = "b" * 64
    with pytest.raises(DataError, match="holds the logits of"):
        compute(source, images, tmp_path / "kept")
    collect(TorchSource(tiny, "a" * 64), images, tmp_path / "begun", team=Member(0, 2))
    with pytest.raises(DvtEdgeError, match="begun for"):
        collect(source, images, tmp_path / "begun")


def test_processes_that_share_the_work_all_get_the_whole(tiny: Cascade, tmp_path: Path) -> None:
    images, source = sample("cifar10-calibration").first(CHUNK + 20), TorchSource(tiny, "a" * 64)
    meeting, said = threading.Barrier(2, timeout=120), []

    done_first = threading.Event()  # the process that merges reaches the barrier before the other one begins

    class Meeting(Member):
        def barrier(self) -> None:
            if self.rank == 0:
                done_first.set()
            meeting.wait()

    def work(rank: int) -> ExitLogits:
        def report(what: str, done: int, total: int) -> None:
            said.append((rank, done))

        assert rank == 0 or done_first.wait(120)
        return compute(source, images, tmp_path / "shared", report, Meeting(rank, 2))

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(work, range(2)))
    alone = compute(source, images, tmp_path / "alone")
    assert all(np.array_equal(f.logits, alone.logits) and f.about == alone.about for f in found)
    assert sorted(said) == [(0, CHUNK), (1, 20)]


def test_a_bundle_gives_its_runtimes_logits_and_times(zoo_bundle, tmp_path: Path) -> None:
    runtime, images = Runtime(zoo_bundle), sample("cifar10-test").first(20)
    found = compute(BundleSource(runtime), images, tmp_path)
    assert np.array_equal(found.logits[7], np.stack(runtime.logits(images[7])))
    assert found.about.stage_ms is not None and min(found.about.stage_ms) > 0
    found.check_belongs(zoo_bundle.manifest, zoo_bundle.artifacts_sha256)
    with pytest.raises(DataError, match="came from"):
        found.check_belongs(zoo_bundle.manifest, "0" * 64)


def test_damaged_logits_are_refused_in_one_line(tiny: Cascade, tmp_path: Path) -> None:
    compute(TorchSource(tiny, "a" * 64), sample("cifar10-test").first(10), tmp_path / "kept")
    whole = (tmp_path / "kept/logits.npy").read_bytes()
    (tmp_path / "kept/logits.npy").write_bytes(whole[: len(whole) // 2])
    for folder in (tmp_path / "kept", tmp_path / "absent"):
        with pytest.raises(DataError) as caught:
            open_logits(folder)
        assert "\n" not in str(caught.value)


def test_held_out_images_are_the_trainings(tmp_path: Path) -> None:
    write_cifar10(tmp_path, train=60, test=20)
    data, known = str(tmp_path), open_training_data(tmp_path, 12, 5).dealt
    held_out = open_training_data(data, 12, 5)[1]
    for asked in ((None, None), (12, None), (12, 5)):
        search, test, words, dealt = search_and_test(data, known, *asked)
        assert dealt == known
        assert search.fingerprint == held_out.fingerprint and len(test) == 20 and "held out: 12, seed 5" in words
    for asked in ((13, None), (12, 0), (None, 0)):  # some of those were trained on
        with pytest.raises(DataError, match="12 held out by seed 5; leave --holdout and --seed out"):
            search_and_test(data, known, *asked)
    elsewhere = dataclasses.replace(known, fingerprint="0" * 64)
    for record in (None, elsewhere):  # asked for, or else unknown: then no training image is used at all
        assert len(search_and_test(data, record, 10, 0)[0]) == 10
        search, test, words, dealt = search_and_test(data, record)
        assert dealt is None
        assert len(search) == len(test) == 10 and search.source == test.source and "is not known" in words
    with pytest.raises(DataError, match="60 images to hold out of 60"):
        search_and_test(data, None, 60, 0)


def test_thresholds_are_reported_to_the_last_digit() -> None:
    """What is timed is what was counted: close to 1 a sixth decimal moves images."""
    evidence = Evidence(exits_that_learn(500, 0), exits_that_learn(500, 0))
    thresholds = np.array([0.99999934, 0.1234567, 0.0], np.float32)
    assert np.array(evidence.at(thresholds).thresholds, np.float32).tolist() == thresholds.tolist()


def test_a_bundle_of_another_checkpoint_is_refused(zoo_bundle: CascadeBundle, tmp_path: Path) -> None:
    cascade = load_cascade("zoo:dvt_cifar10")
    assert bundle_source(zoo_bundle.folder, cascade, "a" * 64).target == "onnx-fp32"  # it does not say which
    manifest = json.loads((zoo_bundle.folder / "manifest.json").read_text())
    shutil.copytree(zoo_bundle.folder, tmp_path / "b")
    manifest["model"]["checkpoint_sha256"] = "b" * 64
    (tmp_path / "b/manifest.json").write_text(json.dumps(manifest))
    assert bundle_source(tmp_path / "b", cascade, "b" * 64).target == "onnx-fp32"
    other = Cascade(cascade.config.replace(relation_reuse=False))
    for model, digest in ((cascade, "a" * 64), (other, "b" * 64)):
        with pytest.raises(DataError, match="b: a bundle of dvt_cifar10, checkpoint bbbbbb"):
            bundle_source(tmp_path / "b", model, digest)


def test_eval_of_a_cascade_beside_a_static_model(tiny: Cascade, tmp_path: Path, capsys) -> None:
    write_cifar10(tmp_path / "data", train=60, test=20)
    save_cascade(tiny, tmp_path / "tiny.safetensors")
    arguments = ["eval", str(tmp_path / "tiny.safetensors"), "--data", str(tmp_path / "data"), "--holdout", "20"]
    for seed, grid in ((1, 6), (2, 4), (3, 4)):
        torch.manual_seed(seed)
        config = tiny.config.replace(grids=(grid,), feature_reuse=False, relation_reuse=False)
        save_cascade(Cascade(config), tmp_path / f"{seed}.safetensors")
        arguments += ["--static", str(tmp_path / f"{seed}.safetensors")]
    arguments += ["--out", str(tmp_path / "out"), "--timed", "16", "--tolerance", "0.1"]
    assert main(arguments) == 0
    assert "at a static model's accuracy" in capsys.readouterr().out
    result = json.loads((tmp_path / "out/eval.json").read_text())
    with np.load(tmp_path / "out/answers.npz") as answers:  # each image's, so that rows can be compared in pairs
        right, left = answers["pytorch/right"], answers["pytorch/always the last exit"]
        assert right.shape == (20, 3) and right.mean(axis=0).tolist() == result["evaluations"][0]["top1"]
        assert (left == 2).all() and answers[f"{result['statics'][0]['static']}, pytorch/right"].shape == (20, 1)
    hashes = [row["artifact_sha256"] for row in result["statics"]]
    names = ["static 6x6", *(f"static 4x4 {sha[:6]}" for sha in hashes[1:])]  # two of one grid: told by their hash
    assert len(set(hashes)) == 3 and [row["static"] for row in result["statics"]] == names
    assert {row["run"] for row in result["throughput"]} >= {"always the last exit", *names}
    assert [row["static"] for row in result["equal_accuracy"]] == [name for name in names for _ in range(2)]
    for alone, equal, within in zip(
        result["statics"], result["equal_accuracy"][::2], result["equal_accuracy"][1::2], strict=True
    ):
        assert (equal["static_macs"], equal["static_top1"]) == (alone["macs"][0], alone["top1"][0])
        assert equal["fewer_macs"] == equal["static_macs"] / equal["cascade"]["cost"]
        assert (equal["tolerance"], within["tolerance"]) == (0.0, 0.1)
        assert within["cascade"]["cost"] <= equal["cascade"]["cost"]
    out = str(tmp_path / "out")
    assert main(["eval", arguments[1], "--data", arguments[3], "--static", arguments[1], "--out", out]) == 2
    assert "a static model has one" in capsys.readouterr().err


def test_a_static_model_that_trained_on_the_search_images_is_refused(tiny: Cascade, tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    known = open_training_data(tmp_path, 12, 5).dealt
    alone = Cascade(tiny.config.replace(grids=(6,), feature_reuse=False, relation_reuse=False))
    moved = dataclasses.replace(known, source="elsewhere/train")
    for record in (None, known, moved, dataclasses.replace(known, fingerprint="0" * 64, seed=6)):
        alone.trained_on = record
        save_cascade(alone, tmp_path / "a.safetensors")
        assert static_source(tmp_path / "a.safetensors", known.classes, known).macs
    for change in ({"seed": 6}, {"holdout": 11}):
        alone.trained_on = dataclasses.replace(known, **change)
        save_cascade(alone, tmp_path / "a.safetensors")
        with pytest.raises(DataError, match="expected 12 by seed 5, which thresholds are found on"):
            static_source(tmp_path / "a.safetensors", known.classes, known)


def test_a_static_model_of_other_classes_is_refused(tiny: Cascade, tmp_path: Path) -> None:
    """As many, or the same in another order: its answers would be counted as others."""
    classes = tuple("abcdefghij")
    alone = Cascade(tiny.config.replace(grids=(6,), feature_reuse=False, relation_reuse=False))
    alone.trained_on = TrainedOn("x/train", "0" * 64, classes[::-1], 5, 0)
    save_cascade(alone, tmp_path / "a.safetensors")
    with pytest.raises(DataError, match=r"trained on 10 classes \(j, i, h, \.\.\.\); expected 10 classes \(a, b, c"):
        static_source(tmp_path / "a.safetensors", classes, None)


def test_eval_counts_answers_by_the_names_of_the_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = sample("cifar10-test").first(60)
    assert images.labels is not None
    found = {}
    for order in (1, -1):
        labels = np.array(images.labels) if order == 1 else 9 - np.array(images.labels)
        file = tmp_path / f"{order}.npz"
        np.savez(file, images=np.stack(list(images)), labels=labels, classes=np.array(images.classes[::order]))
        out = tmp_path / str(order)
        assert main(["eval", "zoo:dvt_cifar10", "--data", str(file), "--out", str(out), "--timed", "8"]) == 0
        found[order] = json.loads((out / "eval.json").read_text())["evaluations"][0]["top1"]
    assert found[1] == found[-1] and found[1][0] > 0.6
    np.savez(tmp_path / "other.npz", images=np.stack(list(images)), labels=labels, classes=np.array(list("abcdefghij")))
    capsys.readouterr()
    assert main(["eval", "zoo:dvt_cifar10", "--data", str(tmp_path / "other.npz"), "--out", str(tmp_path / "o")]) == 2
    assert "dvt_cifar10 has 10 classes (airplane" in capsys.readouterr().err


def test_training_images_alone_are_no_test_images(tmp_path: Path) -> None:
    for name in ("train/ant", "train/cat", "val/ant", "val/cat"):
        (tmp_path / name).mkdir(parents=True)
        for k in range(3):
            Image.new("RGB", (8, 8), (k, 40, 9)).save(tmp_path / name / f"{k}.png")
    known = open_training_data(tmp_path, 2, 0).dealt
    assert len(search_and_test(str(tmp_path), known).search) == 2
    with pytest.raises(DataError, match="the images that the cascade was trained on"):
        search_and_test(str(tmp_path / "train"), known)
    kept = held_out_images(tmp_path / "train", known)  # named as the folder itself, they are the same images
    assert kept is not None and kept.fingerprint == open_training_data(tmp_path, 2, 0)[1].fingerprint


def test_runs_of_batches_take_turns(tiny: Cascade, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[float, ...]] = []
    monkeypatch.setattr(curves, "answer_batch", lambda cascade, images, thresholds: calls.append(thresholds))
    runs = {"first": (tiny, (0.0, 0.0, 0.0)), "last": (tiny, (2.0, 2.0, 0.0))}
    speeds = throughputs(runs, sample("cifar10-test").first(20), batch=10, rounds=3)
    assert set(speeds) == set(runs) and min(speeds.values()) > 0
    assert calls == [thresholds for _ in range(3) for _, thresholds in runs.values() for _ in range(2)]


def test_eval_of_a_published_checkpoint_on_images_in_a_list(tmp_path: Path, capsys) -> None:
    """Of a few images of a thousand classes; folders, one a class, would have to hold some of each."""
    rng = np.random.default_rng(0)
    for index in range(20):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(tmp_path / f"{index}.png")
    (tmp_path / "val.txt").write_text("".join(f"{index}.png, {index * 37}\n" for index in range(20)))
    (tmp_path / "classes.csv").write_text("name, id\n" + "".join(f"n{label:08}, {label}\n" for label in range(1000)))
    torch.save({"model_state_dict": state_dict("DVT_T2t_vit_12")}, tmp_path / "12.pth.tar")
    arguments = ["eval", str(tmp_path / "12.pth.tar"), "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--timed", "4"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "no training split: thresholds from 10 of its images" in out
    result = json.loads((tmp_path / "out/eval.json").read_text())
    assert len(result["evaluations"][0]["macs"]) == 3 and result["evaluations"][0]["images"] == 10
    before = (tmp_path / "out/logits").rglob("logits.npy")
    times = {path: path.stat().st_mtime_ns for path in before}
    assert main([*arguments, "--timed", "4"]) == 0  # the second time, nothing is computed again
    assert times == {path: path.stat().st_mtime_ns for path in times} and len(times) == 2


def test_runtimes_take_turns_and_their_stages_are_timed(
    zoo_bundle: CascadeBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    thresholds = {"first": (0.0, 0.0, 0.0), "last": (2.0, 2.0, 0.0), "some": (0.9, 0.9, 0.0)}
    runtimes = {name: Runtime(zoo_bundle, thresholds=t) for name, t in thresholds.items()}
    images, done = sample("cifar10-test").first(60), []
    order: list[str] = []

    def watched(name: str, run: Callable[[Any], Result]) -> Callable[[Any], Result]:
        def call(image: Any) -> Result:
            order.append(name)
            return run(image)

        return call

    for name, runtime in runtimes.items():
        monkeypatch.setattr(runtime, "run", watched(name, runtime.run))
    found = take_turns(runtimes, images, lambda now, of: done.append((now, of)))
    assert done == [(50, 60), (60, 60)]
    turns = [(name, 1 + block) for block in (50, 10) for _ in range(3) for name in runtimes]  # one more, to warm up
    assert order == [name for name, calls in turns for _ in range(calls)]
    assert {len(results) for results in found.values()} == {60}
    assert [len(stage_milliseconds(found[name])) for name in thresholds] == [1, 3, 3]
    ran = [r.stage_ms[1] for r in found["some"] if r.exit >= 1]
    assert 0 < len(ran) < 60 and stage_milliseconds(found["some"])[1] == pytest.approx(np.mean(ran))


def test_a_pause_of_the_machine_counts_in_no_time(zoo_bundle: CascadeBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """One run of one image takes a second; each image's median run is what counts."""
    runtime, calls = Runtime(zoo_bundle, thresholds=(0.0, 0.0, 0.0)), []
    genuine = runtime.run

    def paused(image: Any) -> Result:
        result = genuine(image)
        calls.append(1)
        return dataclasses.replace(result, total_ms=result.total_ms + 1000 * (len(calls) == 5))

    monkeypatch.setattr(runtime, "run", paused)
    (results,) = take_turns({"one": runtime}, sample("cifar10-test").first(6), lambda now, of: None).values()
    assert len(results) == 6 and len(calls) == 3 * 7 and max(map(engine_ms, results)) < 500


def test_chosen_points_lose_more_where_more_may_be_lost() -> None:
    pair = Evidence(exits_that_learn(2000, 0), exits_that_learn(2000, 0))
    costs = [pair.at(pair.losing(loss)).cost for loss in (0.0, 0.02, 0.1)]
    assert costs == sorted(costs, reverse=True) and costs[0] > costs[-1]


def test_a_tolerance_is_how_far_below_the_static_model_is_equal() -> None:
    cascade = Evidence(exits_that_learn(2000, 0), exits_that_learn(2000, 0))
    last = cascade.search
    about = dataclasses.replace(last.about, exits=1, macs=last.about.macs[-1:])
    alone = ExitLogits(last.logits[:, -1:], last.labels, about)
    same, below = (equal_accuracy(cascade, Evidence(alone, alone), t) for t in (0.0, 0.1))
    assert below["fewer_macs"] > same["fewer_macs"] and below["cascade"]["top1"] < same["cascade"]["top1"]
    assert below["crossing"]["cost"] < same["crossing"]["cost"]


def test_static_models_are_named_by_grid_then_macs_then_hash() -> None:
    def model(grid: int, depth: int, sha: str) -> TorchSource:
        return TorchSource(Cascade(config_for("dvt_tiny").replace(grids=(grid,), depth=depth)), sha * 64)

    def names(*models: TorchSource) -> list[str]:
        return [static.name for static in named(models)]

    small, deep, again = model(6, 2, "a"), model(6, 12, "b"), model(6, 12, "c")
    little, much = (f"static 6x6 of {found.macs[0] / 1e6:.0f} MMACs" for found in (small, deep))
    assert names(small, model(4, 2, "d")) == ["static 6x6", "static 4x4"]
    assert names(small, deep) == [little, much]
    assert names(deep, again) == ["static 6x6 bbbbbb", "static 6x6 cccccc"]
    assert names(small, deep, again) == [little, f"{much} bbbbbb", f"{much} cccccc"]


def test_a_bundle_is_timed_at_the_accuracy_of_each_static_model_of_its_target(
    zoo_bundle: CascadeBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_module, "engine_for", lambda name: FakeEngine([[0.0, 9.0, 0.0]]).load_stage)
    alone = BundleSource(Runtime(write_bundle(tmp_path / "static", stages=1)))
    monkeypatch.undo()
    source = BundleSource(Runtime(zoo_bundle))
    cascade = Evidence(exits_that_learn(2000, 0), exits_that_learn(2000, 0))
    last = cascade.search
    about = dataclasses.replace(last.about, exits=1, macs=last.about.macs[-1:])
    static = Evidence(*[ExitLogits(last.logits[:, 1:2], last.labels, about)] * 2)
    torch_source = TorchSource(Cascade(config_for("dvt_tiny").replace(grids=(6,))), "a" * 64)  # of another target
    rows = times(
        source,
        named([alone, torch_source]),
        {id(source): cascade, id(alone): static},
        sample("cifar10-test").first(4),
        0.05,
        lambda words, done, of: None,
    )
    found = {row["run"]: row for row in rows}
    equal, within = (found[equal_run("static 1x1", tolerance)] for tolerance in (0.0, 0.05))
    assert tuple(equal["thresholds"]) == cascade.at(cascade.reaching(static.search.top1[0])).thresholds
    assert tuple(within["thresholds"]) == cascade.at(cascade.reaching(static.search.top1[0] - 0.05)).thresholds
    assert within["macs"] < equal["macs"] and within["top1"] < equal["top1"]
    less = found["loses 5 %"]["less_time"]
    assert set(less) == {"always the last exit", "static 1x1"} and all(low <= high for low, high in less.values())
    assert sum(equal["shares"]) == pytest.approx(1)
    itself = found["static 1x1"]
    assert (itself["macs"], itself["top1"], itself["ran"]) == (1000, static.test.top1[0], [1.0])
    assert [name for name in found if "static" in name] == [
        "as good as static 1x1",
        "5.00 points below static 1x1",
        "costs as static 1x1",
        "static 1x1",
    ]
    dear = found["costs as static 1x1"]
    assert tuple(dear["thresholds"]) == cascade.at(cascade.within(1000)).thresholds
    cheaper = dataclasses.replace(about, macs=(about.macs[0] // 100,))
    little = Evidence(*[ExitLogits(last.logits[:, 1:2], last.labels, cheaper)] * 2)
    assert "costs as it" not in points_of(cascade, {"it": little}, 0.0), "the first exit costs more"


def test_timed_runs_leave_where_their_figures_say(zoo_bundle: CascadeBundle, tmp_path: Path) -> None:
    """Whatever temperature the bundle has; this one is a .zip."""
    assert min(zoo_bundle.manifest.confidence.temperature) < 0.9
    zoo_bundle.save_zip(tmp_path / "b.zip")
    images, source = sample("cifar10-test").first(60), BundleSource(Runtime(CascadeBundle.open(tmp_path / "b.zip")))
    logits = compute(source, images, tmp_path / "kept")
    rows = times(source, [], {id(source): Evidence(logits, logits)}, images, 0.0, lambda words, done, of: None)
    early = 0
    for row in rows:
        shares = np.array(row["shares"])
        np.testing.assert_allclose([*row["ran"], 0, 0][:3], 1 - np.cumsum([0, *shares[:-1]]), atol=1e-9)
        early += 0 < shares[0] < 1
    assert early >= 2


def test_thresholds_on_few_held_out_images_lose_what_they_aim_at(monkeypatch: pytest.MonkeyPatch) -> None:
    new = cascade_logits(20_000, seed=1)

    def error() -> float:
        lost = []
        for seed in range(2, 27):
            search = cascade_logits(200, seed=seed)
            about = dataclasses.replace(new.about, images=200)
            pair = Evidence(ExitLogits(search.logits, search.labels, about), new)
            lost.append(new.top1[-1] - pair.at(pair.losing(0.005)).top1)
        return float(np.sqrt(np.mean((np.array(lost) - 0.005) ** 2)))

    helped = error()
    monkeypatch.setattr(curves, "steadied", lambda right, predicted: right.astype(np.float64))
    assert helped < 0.6 * error()


def test_an_unsure_last_exit_loses_no_more() -> None:
    """Thresholds are found at its fitted temperature, not at what it says of itself."""
    search, new = cascade_logits(400, seed=2), cascade_logits(20_000, seed=1)
    points = []
    for sharpness in (1.0, 0.1):
        pair = [
            ExitLogits(x.logits.copy(), x.labels, dataclasses.replace(new.about, images=len(x))) for x in (search, new)
        ]
        for x in pair:
            x.logits[:, -1] *= sharpness
        evidence = Evidence(*pair)
        points.append(evidence.at(evidence.losing(0.02)))
    assert points[0].top1 == pytest.approx(points[1].top1, abs=0.003)
    assert points[0].cost == pytest.approx(points[1].cost, rel=0.03)


def test_two_bundles_of_one_target_are_refused(zoo_bundle: CascadeBundle, tmp_path: Path) -> None:
    two = (zoo_bundle.folder, zoo_bundle.folder)
    with pytest.raises(DataError, match="two bundles of onnx-fp32; expected one a target"):
        run_study(Study("zoo:dvt_cifar10", "sample:cifar10-test", tmp_path, bundles=two), lambda words, done, of: None)


def test_stages_of_several_image_sizes_have_no_one_set_of_pixels(zoo_bundle: CascadeBundle) -> None:
    manifest = zoo_bundle.manifest
    stage = manifest.stages[1]
    image = dataclasses.replace(stage.inputs[0], shape=(1, 16, 16, 3))
    smaller = dataclasses.replace(stage, image=ImageSize(16, 16), inputs=(image, *stage.inputs[1:]))
    other = dataclasses.replace(manifest, stages=(manifest.stages[0], smaller, manifest.stages[2]))
    runtime = types.SimpleNamespace(manifest=other)
    with pytest.raises(DataError, match="stages of several image sizes"):
        BundleSource(runtime)  # type: ignore[arg-type]


def test_a_damaged_part_is_named(tiny: Cascade, tmp_path: Path) -> None:
    source, images = TorchSource(tiny, "a" * 64), sample("cifar10-test").first(6)
    collect(source, images, tmp_path)
    (damaged,) = (tmp_path / "parts").iterdir()
    damaged.write_bytes(b"xx")
    with pytest.raises(DataError, match=f"{damaged.name}: damaged .*; delete it and run again"):
        compute(source, images, tmp_path)
    damaged.unlink()
    assert len(compute(source, images, tmp_path)) == 6


def test_the_hash_of_the_data_is_of_its_pixels_and_its_labels(tiny: Cascade, tmp_path: Path) -> None:
    source, images = TorchSource(tiny, "a" * 64), sample("cifar10-test").first(6)
    other_pixels = dataclasses.replace(images, read=lambda index: images[5 - index])
    other_labels = dataclasses.replace(images, labels=tuple((y + 1) % 10 for y in images.labels or ()))
    cases = {"plain": images, "again": images, "pixels": other_pixels, "labels": other_labels}
    found = {name: compute(source, case, tmp_path / name).about.data_sha256 for name, case in cases.items()}
    assert found["plain"] == found["again"] and len(set(found.values())) == 3


def test_images_go_through_in_batches_that_fit_a_cpus_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same logits, in the same order, the last batch being smaller."""
    torch.manual_seed(0)
    source, seen = TorchSource(Cascade(config_for("dvt_tiny")), "0" * 64), []
    pixels = np.stack([source.pixels(image) for image in sample("cifar10-test").first(8)])
    whole, _ = source.logits(pixels)
    forward = source.cascade.forward
    monkeypatch.setattr(source.cascade, "forward", lambda x: seen.append(len(x)) or forward(x))
    monkeypatch.setattr(curves, "evaluation_batch", lambda config, device: 3)
    split, _ = source.logits(pixels)
    assert seen == [3, 3, 2] and np.allclose(split, whole, atol=1e-5)
    wide = config_for("dvt_tiny").replace(image_size=224, resize=256)
    sizes = [evaluation_batch(c, torch.device("cpu")) for c in (config_for("dvt_tiny"), wide)]
    assert sizes == [256, 8] and evaluation_batch(wide, torch.device("cuda")) == 256
