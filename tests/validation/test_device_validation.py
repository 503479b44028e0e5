"""`dvt-edge validate --device-log`: each fault of a device is named, and none where there is none.

The device is a process of its own, tests/support/device_process.py, which shares no code with the hypotheses.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.log_fuzzer import fuzz_validation
from support.needs import needs

from dvt_edge import CascadeBundle
from dvt_edge.cli.app import main
from dvt_edge.data.images import from_arrays
from dvt_edge.data.reading import sample
from dvt_edge.device.device_log import ImageRecord, encode
from dvt_edge.device.log_reader import LogReader
from dvt_edge.device.runtime import Runtime
from dvt_edge.exporting.recipes import recipe_for
from dvt_edge.validation.device_validation import HostSide, validate_log
from dvt_edge.validation.host_run import places_of, run_host
from dvt_edge.validation.verdicts import share

ROOT = Path(__file__).parents[2]
MUTATED_LOGS = int(os.environ.get("DVT_EDGE_MUTATED_LOGS", "120"))
CLEAN_LOGS = int(os.environ.get("DVT_EDGE_CLEAN_LOGS", "9"))


@dataclasses.dataclass(frozen=True)
class Bench:
    """Where a device is tested: bundles, photos that are larger than they take and not square, and a cache."""

    folder: Path
    bundles: dict[str, Path]
    photos: Path

    def log(
        self, *options: object, name: str = "log.jsonl", target: str = "onnx-int8", images: Path | None = None
    ) -> Path:
        path = self.folder / name
        for old in (path, path.with_name(path.name + ".pixels")):
            old.unlink(missing_ok=True)
        command = [
            ROOT / "tests/support/device_process.py",
            self.bundles[target],
            images or self.photos,
            path,
            *options,
        ]
        subprocess.run(
            [sys.executable, *map(str, command)],
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        return path

    def validate(
        self, log: Path, *options: object, target: str = "onnx-int8", code: int | None = None
    ) -> dict[str, Any]:
        out = self.folder / "out.json"
        out.unlink(missing_ok=True)
        given = [str(o) for o in options]
        if "--data" not in given:
            given += ["--data", str(self.photos)]
        arguments = ["validate", str(self.bundles[target]), *given, "--device-log", str(log)]
        ended = main([*arguments, "--json", str(out), "--cache", str(self.folder / "cache")])
        if code is not None:
            assert ended == code
        found: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
        assert not found or found["passed"] == (ended == 0)
        return found


def faults(found: dict[str, Any]) -> list[str]:
    return [f["fault"] for f in found["findings"]]


def verdicts(found: dict[str, Any]) -> dict[str, str]:
    return {c["name"]: c["verdict"] for c in found["checks"]}


@pytest.fixture(scope="module")
def bench(zoo_bundle: CascadeBundle, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    needs("onnxruntime")
    from dvt_edge import export, load_cascade

    folder = tmp_path_factory.mktemp("bench")
    photos, images = folder / "photos", sample("cifar10-test")
    photos.mkdir()
    dice = np.random.default_rng(0)
    for k in range(64):
        width, height = ((97, 71), (64, 90), (120, 61), (75, 75))[k % 4]
        large = np.asarray(Image.fromarray(np.asarray(images[k])).resize((width, height), Image.Resampling.LANCZOS))
        grainy = np.clip(large + dice.normal(0, 9, large.shape), 0, 255).astype(np.uint8)
        Image.fromarray(grainy).save(photos / f"{k:03}.png")
    export(load_cascade("zoo:dvt_cifar10"), "onnx-int8", folder / "onnx-int8")
    assert zoo_bundle.path is not None
    return Bench(folder, {"onnx-int8": folder / "onnx-int8", "onnx-fp32": zoo_bundle.path}, photos)


# -- without a fault ---------------------------------------------------------------------------------------------------

KINDS = (
    (),
    ("--kernel-noise", 0.035),  # ARM's int8 kernels: at most 0.15 of a logit from x86's
    ("--throttled", "--records", 300),
    ("--other-decoder", "--pixels"),
    ("--suspend", "--point", "fast"),
    ("--top5", "--kernel-noise", 0.03, "--pixels"),
    ("--every-stage", "--kernel-noise", 0.035),
    ("--no-logits", "--max-stage", 1),
    ("--other-decoder", "--kernel-noise", 0.03, "--throttled"),
)


@pytest.mark.parametrize("number", range(CLEAN_LOGS))
def test_of_a_log_without_a_fault_none_is_named(bench: Bench, number: int) -> None:
    """DVT_EDGE_CLEAN_LOGS=200 for the two hundred."""
    log = bench.log(*KINDS[number % len(KINDS)], "--seed", number)
    assert bench.validate(log, code=0)["findings"] == []


def test_a_packed_bundle_is_validated_as_its_folder_is(bench: Bench) -> None:
    CascadeBundle.open(bench.bundles["onnx-int8"]).save_zip(bench.folder / "packed.zip")
    bench.bundles["packed"] = bench.folder / "packed.zip"
    assert bench.validate(bench.log(), target="packed", code=0)["findings"] == []


def test_agreement_that_is_whole_passes_a_bound_of_one() -> None:
    for images in range(1, 600):
        assert share("exits", images, images, 1.0, "").verdict == "pass"
        assert share("exits", images - 1, images, 1.0, "").verdict == "fail"


def test_another_jpeg_decoder_is_no_fault(bench: Bench) -> None:
    """Go's (support/decode_jpegs.go) does not smooth colours; the JDK's gives what libjpeg-turbo gives, bit by bit."""
    ours, theirs = bench.folder / "ours", bench.folder / "theirs"
    for folder, ending in ((ours, "jpg"), (theirs, "png")):
        folder.mkdir()
        for path in (Path(__file__).parent / "other_decoder").glob(f"*.{ending}"):
            shutil.copy(path, folder)
    found = bench.validate(bench.log("--pixels", images=theirs), "--data", ours, code=0)
    assert found["findings"] == [] and found["pixels"]["known"] == 16 and found["pixels"]["same"] == 0


@pytest.mark.parametrize("processor", ["cortex-a53", "i8mm"])
def test_logs_of_arm_kernels_are_clean(bench: Bench, processor: str) -> None:
    """Of `make arm-check`: onnxruntime's ARM kernels, emulated, on float32 artifacts, which are the same everywhere."""
    log = Path(__file__).parent / "arm_logs" / f"onnx-fp32-{processor}.jsonl"
    data = bench.folder / "sample.npz"
    images = sample("cifar10-test").first(24)
    np.savez(data, images=np.stack([np.asarray(i) for i in images]), labels=np.array(images.labels))
    if LogReader(log).header.artifact_sha256 != CascadeBundle.open(bench.bundles["onnx-fp32"]).artifacts_sha256:
        pytest.skip("the exporters here are of other versions than those of the logs")
    found = bench.validate(log, "--data", data, target="onnx-fp32", code=0)
    assert found["findings"] == [] and found["images"] == 24 and found["header"]["os"] == "aarch64"


def test_a_log_is_held_against_host_and_pytorch(bench: Bench) -> None:
    """The sides are told apart: kernels of the device, quantization, and both together."""
    data = bench.folder / "sample.npz"
    images = sample("cifar10-test").first(64)
    np.savez(
        data, images=np.stack([np.asarray(i) for i in images]), labels=np.array(images.labels), classes=images.classes
    )
    log = bench.log("--every-stage", "--kernel-noise", 0.01, images=data)
    found = bench.validate(log, "zoo:dvt_cifar10", "--data", data, code=0)
    kernels, quantization, total = (found["exits"][side] for side in ("kernels", "quantization", "total"))
    for k in range(3):
        assert kernels[k]["images"] == quantization[k]["images"] == total[k]["images"] == 64
        assert 0 < kernels[k]["max_abs_error"] < 0.1 < quantization[k]["max_abs_error"]
        assert kernels[k]["sqnr_db"] > 35 > quantization[k]["sqnr_db"] > total[k]["sqnr_db"] - 0.5
        assert total[k]["top1_agreement"] >= 0.9 and total[k]["cosine"] > 0.99
    accuracy = found["accuracy"]
    assert accuracy["images"] == 64 and accuracy["device"] > 0.8
    assert accuracy["interval"][0] <= accuracy["difference"] <= accuracy["interval"][1]
    assert np.array(found["confusion"]).sum() == found["answers"]["compared"] == 64
    assert found["latency"]["total_ms"]["p50"] <= found["latency"]["total_ms"]["p99"]
    assert set(verdicts(found).values()) <= {"pass", "not checked"}


def test_heat_and_sleep_are_in_the_figures(bench: Bench) -> None:
    found = bench.validate(bench.log("--throttled", "--suspend", "--records", 2000), code=0)
    rows = found["latency"]["over_time"]
    assert found["latency"]["sustained"] > 1.2
    assert rows[-1]["temperature_c"] > rows[0]["temperature_c"]
    assert "the device was suspended for 3600 s" in found["notes"]


# -- with one ----------------------------------------------------------------------------------------------------------

FAULTS = {
    "channel-order": ("channel order", "red and blue are swapped"),
    "resize-filter": ("resize filter", "bilinear, not antialiased"),
    "resize-nearest": ("resize filter", "nearest sample"),
    "squash": ("squash", "squashed to a square with bicubic"),
    "no-normalisation": ("missing normalisation", "the graph's normalisation was undone"),
    "double-normalisation": ("double normalisation", "in the app, and again in the graph"),
    "rotated": ("rotated frame", "turned by 90 degrees to the right"),
    "video-range": ("video-range YUV", "full-range YUV was taken for video range"),
    "wrong-thresholds": ("wrong thresholds", "those of the point 'fast'"),
    "state-mix-up": ("state mix-up", "stage 1 got the state of the image before"),
    "dropped-stage": ("dropped stage", "stage 2 was never run"),
    "shuffled-labels": ("shuffled labels", "in another order"),
    "clock-jump": ("clock jump", "the clock jumps by -1"),
    "wrong-provider": ("wrong provider", "ran on XnnpackExecutionProvider; the bundle promises CPUExecutionProvider"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named(bench: Bench, fault: str) -> None:
    name, words = FAULTS[fault]
    found = bench.validate(bench.log("--fault", fault, "--pixels"), code=1)
    assert faults(found) == [name]
    assert words in found["findings"][0]["words"]


@pytest.mark.parametrize("logits", ["all", "top5"])
@pytest.mark.parametrize("fault", ["channel-order", "no-normalisation", "double-normalisation", "state-mix-up"])
def test_faults_after_the_pixels_were_logged_are_named(bench: Bench, fault: str, logits: str) -> None:
    """The pixels are right then, and only the logits tell, all of them or the largest five."""
    options = ["--top5"] if logits == "top5" else []
    found = bench.validate(bench.log("--fault", fault, "--late", *options), code=1)
    assert faults(found) == [FAULTS[fault][0]]
    assert verdicts(found)["pixels"] == "pass" and verdicts(found)["kernels"] == "fail"


def test_stale_artifacts_are_named(bench: Bench) -> None:
    """By what the header says; and, where it says the bundle's, by the logits of another bundle."""
    lying = bench.log("--fault", "stale-artifact", "--stale", bench.bundles["onnx-fp32"])
    assert faults(bench.validate(lying, code=1)) == []
    told = bench.validate(lying, "zoo:dvt_cifar10", code=1)
    assert faults(told) == ["stale artifact"] and "the checkpoint in float32, not of" in told["findings"][0]["words"]
    found = bench.validate(lying, "--other", bench.bundles["onnx-fp32"], code=1)
    assert faults(found) == ["stale artifact"] and "those of onnx-fp32" in found["findings"][0]["words"]
    other = bench.validate(bench.log(), target="onnx-fp32", code=1)
    assert faults(other) == ["stale artifact"]
    assert verdicts(other)["answers"] == "not checked" and "kernels" not in verdicts(other)


def test_float16_overflow_is_named(bench: Bench) -> None:
    found = bench.validate(bench.log("--fault", "float16-overflow", target="onnx-fp32"), target="onnx-fp32", code=1)
    assert faults(found) == ["float16 overflow"] and verdicts(found)["finite logits"] == "fail"


def test_float16_overflow_is_named_where_quantizers_hide_it(bench: Bench) -> None:
    """Logits are finite then: a state with infinities, cut off, explains them."""
    found = bench.validate(bench.log("--fault", "float16-overflow"), code=1)
    assert faults(found) == ["float16 overflow"] and verdicts(found)["finite logits"] == "pass"
    assert "had become infinite" in found["findings"][0]["words"]


def test_pixels_without_their_file_are_no_diagnosis(bench: Bench) -> None:
    """A hash tells that pixels differ, not how: exits and answers fail, and no fault is guessed."""
    found = bench.validate(bench.log("--fault", "channel-order"), code=1)
    assert faults(found) == [] and verdicts(found)["pixels"] == "not checked"
    assert verdicts(found)["answers"] == "fail"


# -- the command -------------------------------------------------------------------------------------------------------


def test_bounds_may_be_replaced_and_are_read_strictly(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    log = bench.log("--kernel-noise", 0.02)
    bounds = bench.folder / "bounds.json"
    bounds.write_text('{"max_kernel_error": 0.001, "max_p99_ms": 1.0}')
    found = bench.validate(log, "--bounds", bounds, code=1)
    assert (verdicts(found)["kernels"], verdicts(found)["latency"]) == ("fail", "fail")
    for text, words in (
        ('{"max_kernel": 1}', "unknown field 'max_kernel'"),
        ('{"max_kernel_error": null}', "max_kernel_error None; expected"),
        ('{"max_p99_ms": -1}', "max_p99_ms -1; expected"),
        ('{"max_p99_ms": true}', "max_p99_ms True; expected"),
        ("[]", "expected an object"),
        ("{", "not JSON"),
    ):
        bounds.write_text(text)
        bench.validate(log, "--bounds", bounds, code=2)
        assert words in capsys.readouterr().err


def test_options_that_do_not_go_together_are_refused(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, log = str(bench.bundles["onnx-int8"]), bench.folder / "none.jsonl"
    for arguments, words in (
        ([bundle], "takes a checkpoint to compare with, --device-log or --outputs"),
        ([bundle, "zoo:dvt_cifar10", "--json", "x.json"], "--json go with --device-log"),
        ([bundle, "zoo:dvt_cifar10", "--device-log", str(log), "--record"], "--record says"),
        ([bundle, "--device-log", str(log)], "none.jsonl: cannot be read"),
    ):
        assert main(["validate", *arguments]) == 2
        assert words in capsys.readouterr().err


def test_logs_that_cannot_be_compared_are_refused(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    first = bench.folder / "first.jsonl"
    header = {"log": 1, "device": "d", "target": "onnx-int8", "artifact_sha256": "c" * 64, "stages": 3}
    first.write_text(json.dumps(header) + "\n")
    bench.validate(first, code=2)
    assert "a log of version 1 has no answers; `dvt-edge profile` reads it" in capsys.readouterr().err
    log = bench.log()
    reader = LogReader(log)
    smaller = dataclasses.replace(reader.header, stages=2, backends=reader.header.backends[:2])
    first.write_bytes(encode(smaller))
    bench.validate(first, code=2)
    assert "a log of 2 stages and 10 classes" in capsys.readouterr().err
    first.write_bytes(encode(reader.header))
    bench.validate(first, code=2)
    assert "no answered image" in capsys.readouterr().err


def test_a_log_with_holes_and_a_torn_end_says_so(bench: Bench) -> None:
    log = bench.log()
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:40], *lines[43:-1], lines[-1][:-9]]))
    found = bench.validate(log, code=1)
    assert verdicts(found)["whole log"] == "fail" and faults(found) == []
    assert found["notes"] == [
        "the last line is torn and left out",
        "3 records are missing: between seq 38 and 42",
    ]


def test_a_confidence_beyond_float32_fails_and_stays_out_of_the_figures(bench: Bench) -> None:
    """Of an answer like the host's, and of one that is not and is shown among the worst."""
    log = bench.log()
    wild = re.sub(rb'"confidence":\[[0-9.]+', b'"confidence":[9.5e299', log.read_bytes())
    log.write_bytes(re.sub(rb'"label":\d', b'"label":3', wild))
    found = bench.validate(log, code=1)
    assert verdicts(found)["confidence"] == "fail" and found["worst"]
    assert {row["device"]["confidence"] for row in found["worst"]} >= {None}


def test_labels_that_are_not_the_largest_logit_fail(bench: Bench) -> None:
    log = bench.log()
    reader = LogReader(log)
    lines = [encode(reader.header)]
    for record in reader:
        if isinstance(record, ImageRecord) and record.id == "5":
            label = (record.label + 1) % 10
            name = sample("cifar10-test").classes[label]
            lines.append(encode(dataclasses.replace(record, label=label, label_name=name)))
        else:
            lines.append(encode(record))
    log.write_bytes(b"".join(lines))
    assert verdicts(bench.validate(log, code=1))["labels"] == "fail"


def test_mutated_logs_are_refused_fail_or_pass_unchanged(bench: Bench, tmp_path: Path) -> None:
    """DVT_EDGE_MUTATED_LOGS=10000 for ten thousand."""
    data = tmp_path / "sample.npz"
    images = sample("cifar10-test").first(24)
    np.savez(data, images=np.stack([np.asarray(i) for i in images]), labels=np.array(images.labels))
    log = bench.log("--kernel-noise", 0.01, images=data)
    recipe = recipe_for("onnx-int8")
    side = HostSide(CascadeBundle.open(bench.bundles["onnx-int8"]), recipe.device, recipe.bounds, images=images)
    side = dataclasses.replace(side, cache=tmp_path / "cache")
    assert validate_log(log, side).passed
    outcomes, wrong = fuzz_validation(MUTATED_LOGS, 0, tmp_path, log, side)
    assert not wrong
    assert outcomes["SchemaError"] and outcomes["differs"] and outcomes["same"]


# -- two logs ----------------------------------------------------------------------------------------------------------


def test_two_logs_are_held_against_each_other(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    before = bench.log("--kernel-noise", 0.01, name="before.jsonl")
    after = bench.log("--kernel-noise", 0.01, "--seed", 5, name="after.jsonl")
    found = bench.validate(after, "--against", before, code=0)["against"]
    assert found["pictures"] == 64 and found["same_artifacts"] and found["other_point"] == 0
    assert 0 < found["exits"][0]["max_abs_error"] < 0.1 and found["exit_agreement"] == 1
    worse = bench.log("--fault", "state-mix-up", "--throttled", name="after.jsonl")
    found = bench.validate(worse, "--against", before, code=1)
    assert verdicts(found)["against: logits"] == "fail" and faults(found) == ["state mix-up"]
    assert found["against"]["exits"][0]["max_abs_error"] < 0.1 < 0.3 < found["against"]["exits"][1]["max_abs_error"]
    lines = before.read_bytes().splitlines(keepends=True)
    before.write_bytes(lines[0])
    bench.validate(after, "--against", before, code=2)
    assert "before.jsonl: no answered image" in capsys.readouterr().err


# -- calibration on a device's logits ----------------------------------------------------------------------------------


def test_points_are_found_on_the_devices_own_logits(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A device whose kernels are the host's gives the points that the host's own run gives; with noise, others."""
    data = tmp_path / "sample.npz"
    images = sample("cifar10-test")
    np.savez(
        data, images=np.stack([np.asarray(i) for i in images]), labels=np.array(images.labels), classes=images.classes
    )
    points = {}
    for name, options in (("same", ()), ("other", ("--kernel-noise", 0.2)), ("host", None)):
        bundle = tmp_path / name
        shutil.copytree(bench.bundles["onnx-int8"], bundle)
        given = ["--data", str(data), "--objective", "loss:0.02"]
        if options is not None:
            log = bench.log("--every-stage", "--count", 256, *options, images=data)
            given += ["--device-log", str(log)]
        assert main(["calibrate", str(bundle), *given]) == 0
        points[name] = CascadeBundle.open(bundle).manifest.operating_points
    thresholds = {name: [p.thresholds for p in found] for name, found in points.items()}
    assert thresholds["same"] == thresholds["host"] != thresholds["other"]
    capsys.readouterr()
    early = bench.log(images=data, name="early.jsonl")
    top5 = bench.log("--every-stage", "--top5", images=data, name="top5.jsonl")
    stranger = bench.log("--every-stage", target="onnx-fp32", name="stranger.jsonl")
    own = log.with_name("own.jsonl")  # the camera's pictures, numbered
    own.write_bytes(re.sub(rb'"data":"[^"]*"', b'"data":""', log.read_bytes(), count=1))
    for options, words in (
        (("--device-log", early), "a log of early exits; calibration takes one of every stage"),
        (("--device-log", log, "--logits", tmp_path), "--logits and --device-log: give one of them"),
        (("--device-log", top5), "has the logits of 0 exits; all are needed"),
        (("--device-log", stranger), "a log of artifacts"),
        (("--device-log", own), "names no data set"),
    ):
        assert main(["calibrate", str(tmp_path / "host"), "--data", str(data), *map(str, options)]) == 2
        assert words in capsys.readouterr().err


def test_a_name_that_several_images_have_is_none() -> None:
    """Of two class folders; their own places and names stay."""
    names = ("data/cat/0001.png", "data/dog/0001.png", "data/dog/0002.png")
    pixels = np.zeros((3, 4, 4, 3), np.uint8)
    images = dataclasses.replace(from_arrays(pixels, np.array([0, 1, 1]), ("cat", "dog"), "mine"), names=names)
    found = places_of(images, 3)
    assert "0001.png" not in found
    assert [found[name] for name in ("0", "dog/0001.png", names[0], "0002.png", "2")] == [0, 1, 0, 2, 2]
    assert places_of(images, 1)["0001.png"] == 0 and "1" not in places_of(images, 1)


def test_a_kill_while_the_hosts_run_is_kept_leaves_the_one_before(
    zoo_bundle: CascadeBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, runtime = sample("cifar10-test").first(4), Runtime(zoo_bundle)
    run_host(runtime, None, images, None, tmp_path, 2)
    (folder,) = tmp_path.iterdir()
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    save, calls = np.save, []
    monkeypatch.setattr(np, "save", lambda *a, **k: save(*a, **k) if not calls.append(1) and len(calls) < 2 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_host(runtime, None, images, None, tmp_path, 4)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before and list(tmp_path.iterdir()) == [
        folder
    ]


def test_what_cannot_be_compared_is_said(bench: Bench) -> None:
    """Thresholds of the app's own, a pixels file that stayed on the device, pictures that the host does not have."""
    log = bench.log("--pixels")
    log.write_bytes(re.sub(rb'"point":"[^"]*"', b'"point":"custom"', log.read_bytes()))
    log.with_name(log.name + ".pixels").unlink()
    found = bench.validate(log, code=0)
    assert verdicts(found)["exit rule"] == "not checked"
    assert found["notes"] == ["its pixels file 'log.jsonl.pixels' is not beside it"]
    apart = dataclasses.replace(bench, folder=bench.folder / "apart", photos=bench.folder / "apart/few")  # no cache yet
    apart.photos.mkdir(parents=True)
    shutil.copy(bench.photos / "000.png", apart.photos)
    found = apart.validate(log, code=0)
    assert "63 images have pixels that the host does not: no logits to compare" in found["notes"]


def test_a_log_that_names_no_data_set_is_told_by_pixels(bench: Bench) -> None:
    """As the apps write it of a folder that a user picks: no place in the test set is known, and it is said."""
    log = bench.log()
    log.write_bytes(re.sub(rb',"data":"[^"]*"', b"", log.read_bytes(), count=1))
    found = bench.validate(log, code=0)
    assert "without input and accuracy" in " ".join(found["notes"])
    assert found["pixels"]["known"] == 0 and found["pixels"]["run_by_host"] == found["images"]
    assert found["accuracy"] is None and verdicts(found)["pixels"] == "not checked"


def test_answers_that_are_not_the_last_exits_fail(bench: Bench) -> None:
    log = bench.log()
    reader = LogReader(log)
    lines = [encode(reader.header)]
    for record in reader:
        if isinstance(record, ImageRecord) and record.exit == 2:
            record = dataclasses.replace(record, exit=1)
        lines.append(encode(record))
    log.write_bytes(b"".join(lines))
    assert verdicts(bench.validate(log, code=1))["exit rule"] == "fail"
