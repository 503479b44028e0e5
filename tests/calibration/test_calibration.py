"""Operating points: what each objective promises, figures from images not searched, and a manifest written whole."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.commands import refusal
from support.fake_bundle import write_bundle
from support.synthetic import cascade_logits

from dvt_edge import CascadeBundle
from dvt_edge.calibration import exit_logits, thresholds
from dvt_edge.calibration.confidence import exit_confidences, wilson
from dvt_edge.calibration.exit_logits import About, BundleSource, ExitLogits, compute, in_memory, open_logits, seal
from dvt_edge.calibration.paper_search import paper_thresholds
from dvt_edge.calibration.recalibrate import bundle_logits, cost_of, some_of, write_points
from dvt_edge.calibration.thresholds import Cost, Objective, RiskRule, calibrate, deal, parse_objective
from dvt_edge.cli.app import main
from dvt_edge.data.reading import Split, open_images, sample
from dvt_edge.device.bundle import list_files, set_policy
from dvt_edge.device.exit_rule import simulate_exits
from dvt_edge.device.manifest import ConfidenceSpec, to_json
from dvt_edge.device.power_policy import PowerPolicy, power_table
from dvt_edge.device.runtime import Runtime
from dvt_edge.device.schema import read_json
from dvt_edge.errors import BundleError, DataError, ManifestError

MACS = (1000, 3000, 6000)


def logits_of(images: int, seed: int = 0, labelled: bool = True) -> ExitLogits:
    """Three exits and classes; each exit has more evidence of the label than the one before."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, images)
    hard = rng.gamma(2.0, 0.5, (images, 1, 1))
    logits = rng.normal(0, 1, (images, 3, 3)) * hard
    logits[np.arange(images), :, labels] += np.array([1.0, 1.5, 2.0])
    return in_memory(logits.astype(np.float32), labels if labelled else None, MACS)


def test_the_parts_are_disjoint_complete_and_drawn_by_seed() -> None:
    for certified in (False, True):
        parts = deal(np.arange(1000), 3, certified)
        together = np.concatenate([parts.search, parts.certify, parts.measure])
        assert sorted(together) == list(range(1000)) and (len(parts.certify) > 300) == certified
    assert (deal(np.arange(1000), 3, True).search == deal(np.arange(1000), 3, True).search).all()
    assert (deal(np.arange(1000), 3, True).search != deal(np.arange(1000), 4, True).search).any()


def test_points_are_measured_on_the_images_that_were_not_searched() -> None:
    data = logits_of(3000)
    found = calibrate(data, objectives=(Objective("risk", 0.05, "safe"),))
    assert [p.name for p in found.points][-1] == "full" and len(found.points) == 5
    values, rows = exit_confidences(data, found.confidence), found.parts.measure
    for p in found.points:
        left = simulate_exits(values[rows], p.thresholds)
        right = data.correct[rows, left]
        assert p.images == found.record.measured == len(rows)
        assert (p.top1, p.top1_interval) == (right.mean(), wilson(int(right.sum()), len(rows)))
        assert p.exit_shares == pytest.approx([np.mean(left == k) for k in range(3)])
        assert p.mean_macs == pytest.approx(np.array(MACS)[left].mean())
        assert p.agreement == (data.guesses[rows, left] == data.guesses[rows, 2]).mean()
    costs = [p.mean_macs for p in found.points]
    assert costs == sorted(costs)


def test_figures_do_not_flatter() -> None:
    """Over many draws, what the manifest says of a point is on average what new images give."""
    new = logits_of(40_000, seed=99)
    gaps = []
    for seed in range(40):
        found = calibrate(logits_of(300, seed), temperature=(1.0,) * 3, seed=seed)
        values = exit_confidences(new, found.confidence)
        point = found.points[0]
        gaps.append(point.top1 - new.correct[np.arange(len(new)), simulate_exits(values, point.thresholds)].mean())
    assert abs(np.mean(gaps)) < 3 * np.std(gaps) / np.sqrt(len(gaps))


def test_each_objective_gives_what_it_says_on_many_images() -> None:
    data = logits_of(60_000)
    asked = [parse_objective(t) for t in ("eco=budget:2000", "accuracy:0.85", "risk:0.02", "paper:20")]
    found = calibrate(data, objectives=asked)
    points = {p.name: p for p in found.points}
    last = points["full"].top1
    for name, loss in (("fast", 0.05), ("balanced", 0.02), ("accurate", 0.005)):
        assert points[name].top1 == pytest.approx(last - loss, abs=0.006)
    assert points["eco"].mean_macs == pytest.approx(2000, rel=0.02)
    assert points["accuracy-0.85"].top1 == pytest.approx(0.85, abs=0.006)
    assert points["risk-0.02"].certificate and last - points["risk-0.02"].top1 <= 0.02 + 0.006
    assert points["risk-0.02"].mean_macs < 0.8 * points["full"].mean_macs
    values = exit_confidences(data, found.confidence)[found.parts.search]
    assert points["paper-20"].thresholds == tuple(map(float, paper_thresholds(values, 20)))
    certificate = points["risk-0.02"].certificate
    assert (certificate.n, certificate.delta, certificate.epsilon) == (20_000, 0.1, 0.02)
    assert certificate.artifact_sha256 == data.about.artifact_sha256
    assert certificate.data_sha256 == data.about.data_sha256
    assert [p.name for p in found.points if p.certificate] == ["risk-0.02", "full"]


def test_certificates_of_whole_calibrations_hold() -> None:
    """Search, walk and test together, on fresh draws: the true risk is above epsilon no oftener than delta."""
    new, epsilon, delta, draws = logits_of(40_000, seed=77), 0.03, 0.3, 60
    misses = 0
    for seed in range(draws):
        found = calibrate(
            logits_of(900, seed),
            objectives=(Objective("risk", epsilon, "safe"),),
            temperature=(1.0,) * 3,
            rule=RiskRule("disagreement", "binomial", delta),
            seed=seed,
        )
        (point,) = (p for p in found.points if p.name == "safe")
        left = simulate_exits(exit_confidences(new, found.confidence), point.thresholds)
        misses += (new.guesses[np.arange(len(new)), left] != new.guesses[:, -1]).mean() > epsilon
    assert misses / draws <= delta + 3 * np.sqrt(delta * (1 - delta) / draws)


def test_policies_weigh_expected_top1_which_orders_points_better_than_a_few_labels_do() -> None:
    truth = cascade_logits(40_000, seed=99)
    values = exit_confidences(truth, ConfidenceSpec("max_softmax", (1.0,) * 3))
    errors: dict[str, list[float]] = {"top1": [], "expected_top1": []}
    misordered = dict.fromkeys(errors, 0)
    for seed in range(20):
        found = calibrate(cascade_logits(400, seed=seed), temperature=(1.0,) * 3).points
        assert [row.accuracy for row in power_table(found).rows] == [p.expected_top1 for p in found]
        assert found[-1].expected_top1 == pytest.approx(found[-1].top1)
        real = [truth.correct[np.arange(len(truth)), simulate_exits(values, p.thresholds)].mean() for p in found]
        for name, gaps in errors.items():
            said = [getattr(p, name) for p in found]
            gaps += [(said[-1] - s) - (real[-1] - r) for s, r in zip(said, real, strict=True)]
            pairs = itertools.combinations(range(len(found)), 2)
            misordered[name] += sum((said[a] - said[b]) * (real[a] - real[b]) < 0 for a, b in pairs)
    rms = {name: np.sqrt(np.mean(np.square(gaps))) for name, gaps in errors.items()}
    assert rms["expected_top1"] < 0.6 * rms["top1"] and misordered["expected_top1"] < 0.5 * misordered["top1"]


def test_points_found_on_few_images_lose_what_they_aim_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """By `calibrate` itself, with and without the last exit's help."""
    new, temperature = cascade_logits(40_000, seed=1), (1.0, 1.0, 1.5)
    values = exit_confidences(new, ConfidenceSpec("max_softmax", temperature))

    def spread() -> float:
        lost = []
        for seed in range(2, 27):
            point = calibrate(cascade_logits(400, seed=seed), temperature=temperature).points[-2]
            assert point.name == "accurate"
            left = simulate_exits(values, point.thresholds)
            lost.append(new.correct[:, -1].mean() - new.correct[np.arange(len(new)), left].mean())
        return float(np.sqrt(np.mean((np.array(lost) - 0.005) ** 2)))

    helped = spread()
    monkeypatch.setattr(thresholds, "steadied", lambda right, predicted: right.astype(np.float64))
    assert helped < 0.6 * spread()


@pytest.mark.parametrize("temperature", [(1.0,) * 3, None])
def test_an_underconfident_last_exit_costs_nothing(temperature: tuple[float, ...] | None) -> None:
    """At temperature 1, where such an exit seems to judge no better than others, an aim of 2 points lost 3 to 6."""

    def underconfident(images: int, seed: int) -> ExitLogits:
        data = cascade_logits(images, seed=seed)
        assert data.labels is not None
        logits = data.logits.copy()
        logits[:, -1] *= np.float32(0.1)
        return in_memory(logits, data.labels, data.about.macs, "underconfident")

    new, lost = underconfident(40_000, seed=1), []
    for seed in range(2, 12):
        found = calibrate(underconfident(400, seed=seed), temperature=temperature)
        point = next(p for p in found.points if p.name == "balanced")
        left = simulate_exits(exit_confidences(new, found.confidence), np.array(point.thresholds, np.float32))
        lost.append(new.correct[:, -1].mean() - new.correct[np.arange(len(new)), left].mean())
    assert np.mean(lost) < 0.025


def test_without_labels_points_go_by_agreement() -> None:
    data = logits_of(6000, labelled=False)
    rule = RiskRule("disagreement", "binomial")
    found = calibrate(data, objectives=(Objective("risk", 0.05, "safe"),), temperature=(1.0,) * 3, rule=rule)
    assert all(p.top1 is None and p.top1_interval is None and p.expected_top1 is None for p in found.points)
    fast = found.points[0]
    assert fast.agreement == pytest.approx(0.95, abs=0.02) and fast.mean_macs < MACS[-1]
    for objective, words in (
        (Objective("accuracy", 0.5, "x"), "needs labels"),
        (Objective("risk", 0.05, "x"), "labels"),
    ):
        with pytest.raises(DataError, match=words):
            calibrate(data, objectives=(objective,), temperature=(1.0,) * 3)


def test_a_cost_in_other_units_is_searched_measured_and_kept() -> None:
    data = logits_of(4000)
    found = calibrate(data, objectives=(Objective("budget", 3.0, "eco"),), cost=cost_of(data.about, "ms", (2, 2, 2)))
    points = {p.name: p for p in found.points}
    assert points["full"].mean_cost == 6 and points["eco"].mean_cost == pytest.approx(3, rel=0.1)
    assert found.record.cost_unit == "ms" and found.record.cost_per_exit == (2.0, 4.0, 6.0)


@pytest.mark.parametrize("per_exit", [(1.0, 1.0, 2.0), (0.0, 1.0, 2.0), (1.0, float("nan"), 2.0), (-1.0, 1.0, 2.0)])
def test_costs_that_do_not_rise_are_refused(per_exit: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match="rising"):
        Cost("mJ", per_exit, "made up")


def test_one_image_leaves_nothing_to_search_on() -> None:
    found = calibrate(logits_of(1), temperature=(1.0,) * 3)
    assert {p.thresholds for p in found.points} == {(2.0, 2.0, 0.0)} and found.record.searched == 0
    assert calibrate(logits_of(1)).confidence.temperature == (1.0,) * 3
    with pytest.raises(DataError, match="no images"):
        calibrate(logits_of(1).take([]))


def test_memory_grows_with_images_and_not_with_their_logits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Logits of many classes are larger than everything found in them, and stay on disk."""
    monkeypatch.setattr(thresholds, "FITTED", 1000)
    classes, peaks = 300, []
    for images in (8_000, 24_000):
        rng = np.random.default_rng(0)
        logits = np.lib.format.open_memmap(tmp_path / f"{images}.npy", "w+", np.float32, (images, 3, classes))
        for start in range(0, images, 1000):
            logits[start : start + 1000] = rng.normal(0, 1, (1000, 3, classes))
        labels = rng.integers(0, classes, images)
        logits[np.arange(images), :, labels] += np.array([3.0, 4.0, 5.0], dtype=np.float32)
        data = in_memory(logits, labels, MACS)
        tracemalloc.start()
        calibrate(data, objectives=(Objective("risk", 0.05, "safe"),))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 16_000 < 3 * classes  # bytes; the logits of an image are four times as many


def test_images_left_out_have_a_source_of_their_own() -> None:
    """Cached logits go by source and number: the same number of other images must not be taken for them. Parts share
    no image, and are drawn at random: folders come class by class."""
    images = sample("cifar10-test")
    images = images.take(np.argsort(images.labels, kind="stable"))
    first, last = some_of(images, 0, 100), some_of(images, 100, 1000)
    assert len(first) == 100 and len(last) == 156 and first.source != last.source
    both = sorted(np.asarray(image).tobytes() for part in (first, last) for image in part)
    assert both == sorted(np.asarray(image).tobytes() for image in images)
    assert set(first.labels) == set(range(10))
    assert some_of(images, 0, 1000) is images
    with pytest.raises(DataError, match="leave none"):
        some_of(images, 256, 10)


# -- into a bundle --------------------------------------------------------------------------------------------------


@pytest.fixture
def bundle(tmp_path: Path) -> CascadeBundle:
    return write_bundle(tmp_path / "bundle")


def write_logits(folder: Path, bundle: CascadeBundle, images: int = 3000, **about: object) -> Path:
    data = logits_of(images)
    known = {"artifact_sha256": bundle.artifacts_sha256, "classes": bundle.labels, "data": "made up", **about}
    folder.mkdir()
    np.save(folder / "logits.npy", data.logits)
    np.save(folder / "labels.npy", data.labels)
    seal(folder, dataclasses.replace(data.about, **known))
    return folder


def test_the_command_writes_points_into_the_manifest(
    bundle: CascadeBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logits = write_logits(tmp_path / "logits", bundle)
    args = ["calibrate", str(bundle.folder), "--logits", str(logits), "--measure", "margin"]
    before = (bundle.folder / "manifest.json").read_bytes()
    assert main([*args, "--dry-run"]) == 0
    args += ["--objective", "risk:0.05"]
    assert main([*args, "--dry-run"]) == 2 and "is an attempt" in capsys.readouterr().err
    assert (bundle.folder / "manifest.json").read_bytes() == before
    assert main(args) == 0
    out = capsys.readouterr().out
    assert "AUROC" in out and "accuracy lost against the last exit at most 0.05 with probability 0.9" in out
    after = CascadeBundle.open(bundle.folder).manifest
    assert {p.name for p in after.operating_points} == {"fast", "balanced", "accurate", "full", "risk-0.05"}
    assert after.confidence.measure == "margin" and after.confidence.temperature != (1.0, 1.0, 1.0)
    assert after.calibration.searched == after.calibration.certified == 1000 and after.calibration.data == "made up"
    assert after.verification.exit_agreement is None  # was of the points before
    assert main(["inspect", str(bundle.folder)]) == 0
    assert "risk-0.05" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "--data"),
        (["--logits", "LOGITS", "--data", "x"], "--data"),
        (["--logits", "nowhere"], "nowhere"),
        (["--logits", "OTHER"], "came from"),
        (["--logits", "NAN"], "made up[17]: the logits of exit 2 are not finite"),
        (["--data", "nowhere"], "nowhere"),
        (["--logits", "LOGITS", "--objective", "speed:3"], "speed:3"),
        (["--logits", "LOGITS", "--objective", "budget:soon"], "budget:soon"),
        (["--logits", "LOGITS", "--objective", "paper:60"], "1 to 59"),
        (["--logits", "LOGITS", "--objective", "budget:1"], "first exit costs 1000"),
        (["--logits", "LOGITS", "--objective", "accuracy:0.999"], "the best is"),
        (["--logits", "LOGITS", "--objective", "custom=loss:0.05"], "not 'custom'"),
        (["--logits", "LOGITS", "--objective", "a\nb=loss:0.05"], "can be printed"),
        (["--logits", "LOGITS", "--objective", " =loss:0.05"], "can be printed"),
        (["--logits", "LOGITS", "--objective", "fast=paper"], "two operating points"),
        (["--logits", "LOGITS", "--objective", "risk:0.001"], "are needed"),
        (["--logits", "LOGITS", "--objective", "risk:2"], "from 0 to 1"),
        (["--logits", "LOGITS", "--objective", "risk:-1"], "from 0 to 1"),
        (["--logits", "LOGITS", "--measure", "gut"], "margin"),
        (["--logits", "LOGITS", "--bound", "none"], "wsr"),
        (["--logits", "LOGITS", "--cost", "mJ"], "no cost of the stages in mJ"),
        (["--logits", "LOGITS", "--cost", "mJ", "--stage-cost", "1,2"], "3 stages"),
        (["--logits", "LOGITS", "--cost", "mJ", "--stage-cost", "1,0,2"], "rising"),
        (["--logits", "LOGITS", "--temperature", "1,1"], "expected 3 of 0.001 to 1000"),
        (["--logits", "LOGITS", "--temperature", "1,0,1"], "expected 3 of 0.001 to 1000"),
        (["--logits", "LOGITS", "--default", "best"], "best"),
    ],
)
def test_errors_are_one_line_and_leave_the_manifest_as_it_was(
    bundle: CascadeBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], args: list[str], words: str
) -> None:
    folders = {
        "LOGITS": write_logits(tmp_path / "logits", bundle, 600),
        "OTHER": write_logits(tmp_path / "other", bundle, 600, artifact_sha256="0" * 64),
        "NAN": write_logits(tmp_path / "nan", bundle, 600),
    }
    broken = np.load(folders["NAN"] / "logits.npy")
    broken[17, 2, 0] = np.nan
    np.save(folders["NAN"] / "logits.npy", broken)
    seal(folders["NAN"], read_json(About, folders["NAN"] / "about.json"))
    before = (bundle.folder / "manifest.json").read_bytes()
    assert words in refusal(capsys, "calibrate", bundle.folder, *(folders.get(a, a) for a in args))
    assert (bundle.folder / "manifest.json").read_bytes() == before
    assert {p.name for p in bundle.folder.iterdir()} == {"manifest.json", "golden", "labels.json"} | {
        f"stage{k}.bin" for k in range(3)
    }


def test_a_zip_is_not_changed(bundle: CascadeBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = bundle.save_zip(tmp_path / "b.zip")
    assert main(["calibrate", str(path), "--data", "sample:cifar10-test"]) == 2
    assert "unpack it first" in capsys.readouterr().err


def test_what_happened_to_the_bundle_meanwhile_stays(bundle: CascadeBundle, tmp_path: Path) -> None:
    """A policy is kept; another bundle at its place, and other points, are not overwritten."""
    found = calibrate(logits_of(100), temperature=(1.0,) * 3)
    set_policy(CascadeBundle.open(bundle.folder), PowerPolicy("full", allow_uncertified=True))
    after = write_points(bundle, found)
    assert after.manifest.policy is not None and after.manifest.calibration is not None
    with pytest.raises(BundleError, match="was calibrated meanwhile"):
        write_points(bundle, found)
    (bundle.folder / "labels.json").write_text(json.dumps(list("abcdefghij")))
    new = dataclasses.replace(bundle.manifest, files=list_files(bundle.folder))
    (bundle.folder / "manifest.json").write_text(to_json(new))
    with pytest.raises(BundleError, match="another bundle has taken its place"):
        write_points(after, found)
    assert CascadeBundle.open(bundle.folder).manifest == new


def test_a_kill_while_writing_leaves_the_old_manifest(bundle: CascadeBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (bundle.folder / "manifest.json").read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_points(bundle, calibrate(logits_of(100), temperature=(1.0,) * 3))
    assert (bundle.folder / "manifest.json").read_bytes() == before
    monkeypatch.undo()
    assert CascadeBundle.open(bundle.folder).manifest.calibration is None


def test_a_default_point_that_stays_is_kept_and_one_that_goes_is_replaced(bundle: CascadeBundle) -> None:
    found = calibrate(logits_of(100), temperature=(1.0,) * 3)
    assert found.apply_to(bundle.manifest).default_operating_point == "accurate"
    eager = dataclasses.replace(bundle.manifest, default_operating_point="eager")
    assert found.apply_to(eager).default_operating_point == "accurate"
    assert found.apply_to(bundle.manifest, "full").default_operating_point == "full"
    with pytest.raises(ManifestError, match="nope"):
        found.apply_to(bundle.manifest, "nope")


def test_a_policy_that_names_a_point_which_would_go_is_an_error(bundle: CascadeBundle) -> None:
    manifest = dataclasses.replace(bundle.manifest, policy=PowerPolicy(otherwise="eager"))
    with pytest.raises(ManifestError, match="policy: no operating point 'eager'"):
        calibrate(logits_of(100), temperature=(1.0,) * 3).apply_to(manifest)


def test_the_bundles_own_outputs_are_computed_once_and_kept(zoo_bundle: CascadeBundle, tmp_path: Path) -> None:
    copy = tmp_path / "b"
    shutil.copytree(zoo_bundle.folder, copy)
    args = ["calibrate", str(copy), "--data", "sample:cifar10-test", "--limit", "40", "--objective", "eco=budget:15e6"]
    assert main(args) == 0
    (folder,) = (tmp_path / "b.logits").iterdir()
    stamp = (folder / "logits.npy").stat().st_mtime_ns
    assert main(args) == 0 and (folder / "logits.npy").stat().st_mtime_ns == stamp
    manifest = json.loads((copy / "manifest.json").read_text())
    assert manifest["calibration"]["searched"] == 20
    assert main(["run", str(copy), "sample:cifar10-test", "--limit", "3", "--point", "eco"]) == 0


def test_logits_of_one_split_are_not_those_of_another(zoo_bundle: CascadeBundle, tmp_path: Path) -> None:
    """Nor of images that took the place of others under the same name."""
    images, folder = sample("cifar10-test"), tmp_path / "photos"
    assert images.labels is not None

    def fill(split: str, first: int) -> None:
        for i in range(first, first + 6):
            place = folder / split / images.classes[images.labels[i]]  # type: ignore[index]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[i]).save(place / f"{i - first}.png")

    def found(split: Split) -> np.ndarray:
        return np.array(bundle_logits(zoo_bundle, open_images(folder, split), tmp_path / "cache").logits)

    fill("train", 0)
    fill("val", 6)
    train, val = found("train"), found("test")
    assert not np.array_equal(train, val) and np.array_equal(train, found("train"))
    shutil.rmtree(folder / "val")
    fill("val", 12)
    assert not np.array_equal(val, found("test"))
    kept = tmp_path / "kept"
    first, other = (open_images(folder, split) for split in get_args(Split))
    source = BundleSource(Runtime(zoo_bundle))
    compute(source, first, kept)
    with pytest.raises(DataError, match="give another folder or delete it"):
        compute(source, dataclasses.replace(other, source=first.source), kept)


class Overtaken(BundleSource):
    """Another command computes the same into the same folder, in the middle of it."""

    def __init__(self, runtime: Runtime, work: Callable[[], object]) -> None:
        super().__init__(runtime)
        self.work = work

    def logits(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        self.work()
        return super().logits(pixels)


def test_two_commands_that_compute_the_same_at_once_both_end_well(
    zoo_bundle: CascadeBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is overtaken while it collects, or while it merges: it takes what is there."""
    images, runtime = sample("cifar10-test").first(3), Runtime(zoo_bundle)
    plain = BundleSource(runtime)
    wanted = compute(plain, images, tmp_path / "alone").logits
    collected = compute(Overtaken(runtime, lambda: compute(plain, images, tmp_path / "a")), images, tmp_path / "a")
    assert np.array_equal(collected.logits, wanted)
    merge = exit_logits.merge
    monkeypatch.setattr(exit_logits, "merge", lambda *given: [merge(*given), merge(*given)])
    assert np.array_equal(compute(plain, images, tmp_path / "b").logits, wanted)
    for name in "ab":
        assert {p.name for p in (tmp_path / name).iterdir()} == {"about.json", "labels.npy", "logits.npy"}
    monkeypatch.setattr(exit_logits, "merge", lambda *given: (_ for _ in ()).throw(DataError("a damaged part")))
    with pytest.raises(DataError, match="a damaged part"):
        compute(plain, images, tmp_path / "c")


def test_logits_kept_of_images_resized_otherwise_are_others(zoo_bundle: CascadeBundle, tmp_path: Path) -> None:
    bundle = CascadeBundle.open(shutil.copytree(zoo_bundle.folder, tmp_path / "b"))
    images = sample("cifar10-test").first(2)
    before = bundle_logits(bundle, images, tmp_path / "kept").logits
    resize = dataclasses.replace(bundle.manifest.preprocessing, resize=40)
    other = bundle.rewrite(lambda now: dataclasses.replace(now, preprocessing=resize))
    assert not np.array_equal(bundle_logits(other, images, tmp_path / "kept").logits, before)
    assert len(list((tmp_path / "kept").iterdir())) == 2
    compute(BundleSource(Runtime(zoo_bundle)), images, tmp_path / "one")
    with pytest.raises(DataError, match="not of these images"):
        compute(BundleSource(Runtime(other)), images, tmp_path / "one")


# -- what a certificate may rest on ---------------------------------------------------------------------------------


def test_copies_of_an_image_are_counted_once() -> None:
    """600 copies of one image were certified as 200 draws."""
    data = logits_of(900)
    once = calibrate(data, objectives=[parse_objective("risk:0.1")])
    copies = data.take(np.r_[np.arange(900), np.zeros(600, dtype=int), np.arange(300)])
    found = calibrate(copies, objectives=[parse_objective("risk:0.1")])
    assert (once.repeated, found.repeated) == (0, 900)
    assert found.record.certified == once.record.certified == 300
    assert not set(found.parts.search) & set(found.parts.certify) and max(found.parts.certify) < 900
    with pytest.raises(DataError, match="are needed"):
        calibrate(data.take(np.zeros(600, dtype=int)), objectives=[parse_objective("risk:0.1")])


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("macs", [1], "macs (1,); expected 3"),
        ("macs", [], "expected 3"),
        ("macs", [0, 0, 0], "above 0"),
        ("macs", [-1, -2, -3], "above 0"),
        ("macs", [3, 2, 1], "none below the one before"),
        ("stage_ms", [1.0], "stage_ms (1.0,); expected 3"),
        ("stage_ms", [1.0, -1.0, 1.0], "0 or more"),
    ],
)
def test_what_is_said_of_logits_fits_them(
    field: str,
    value: list[float],
    words: str,
    bundle: CascadeBundle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Before any command computes with it."""
    folder = write_logits(tmp_path / "logits", bundle, 60)
    about = json.loads((folder / "about.json").read_text())
    (folder / "about.json").write_text(json.dumps(about | {field: value}))
    assert main(["simulate", str(bundle.path), "--logits", str(folder), "--hours", "1"]) == 2
    err = capsys.readouterr().err
    assert words in err and str(folder) in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("what", ["flipped", "float labels", "labels out of range", "another shape", "no hash", "cut"])
def test_kept_logits_that_are_not_what_was_kept_are_refused(what: str, bundle: CascadeBundle, tmp_path: Path) -> None:
    folder = write_logits(tmp_path / "logits", bundle, 60)
    assert len(open_logits(folder)) == 60
    file = folder / ("logits.npy" if what in ("flipped", "another shape", "cut") else "labels.npy")
    values = np.load(file)
    if what == "flipped":
        values[3] = -values[3]
        np.save(file, values)
    elif what == "cut":
        file.write_bytes(file.read_bytes()[:-7])
    elif what == "no hash":
        about = json.loads((folder / "about.json").read_text())
        del about["kept_sha256"]
        (folder / "about.json").write_text(json.dumps(about))
    else:
        changes = {"float labels": lambda v: v + 0.5, "labels out of range": lambda v: v + 99}
        np.save(file, changes.get(what, lambda v: v[:, :2])(values))
        seal(folder, read_json(About, folder / "about.json"))
    with pytest.raises(DataError) as caught:
        open_logits(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)
