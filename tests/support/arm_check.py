"""`make arm-check`: the shipped cascade's CPU bundles on emulated ARM processors, by the device log, against the host.

    python tests/support/arm_check.py FOLDER [IMAGES]          64 unless given; FOLDER keeps the emulated userland

Prints a Markdown table; exit code 1 where a log breaks its bounds or a fault is named.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from support.arm_root import PROCESSORS, build, command, executorch_library

from dvt_edge import CascadeBundle, export, load_cascade
from dvt_edge.data.reading import open_images, sample
from dvt_edge.exporting.recipes import recipe_for
from dvt_edge.machine import describe
from dvt_edge.validation.device_validation import HostSide, LogReport, validate_log

TARGETS = ("onnx-int8", "onnx-fp32", "executorch-xnnpack-int8", "executorch-xnnpack-fp32")
DEVICE = Path(__file__).with_name("device_process.py")


def root_in(folder: Path) -> Path:
    """The emulated userland, built where it is not there yet."""
    root = (folder / "root").resolve()  # apt takes folders from /
    if not (root / "ready").exists():
        build(root)
    return root


def bundle_in(folder: Path, target: str) -> CascadeBundle:
    path = folder / target
    return CascadeBundle.open(path) if path.exists() else export(load_cascade("zoo:dvt_cifar10"), target, path)


def images_in(folder: Path, count: int) -> Path:
    """The first of the package's test images, as a device takes them."""
    images, data = sample("cifar10-test").first(count), folder / f"images-{count}.npz"
    arrays = {"images": np.stack([np.asarray(image) for image in images]), "labels": np.array(images.labels)}
    np.savez(data, classes=np.array(images.classes), **arrays)
    return data


def engine_options(root: Path, target: str) -> list[str]:
    return ["--executorch", str(executorch_library(root))] if target.startswith("executorch") else []


def device_log(root: Path, processor: str, bundle: CascadeBundle, images: Path, log: Path) -> Path:
    for old in (log, log.with_name(log.name + ".pixels")):
        old.unlink(missing_ok=True)
    words, environment = command(root, processor)
    options = [bundle.path, images, log, "--every-stage", "--pixels", "--count", "100000"]
    options += engine_options(root, bundle.manifest.target)
    subprocess.run([*words, *map(str, [DEVICE, *options])], env=environment, check=True, capture_output=True)
    return log


def row(target: str, processor: str, report: LogReport) -> str:
    kernels: list[dict[str, Any]] = report.figures["exits"]["kernels"]
    errors = " / ".join(f"{k['max_abs_error']:.2g}" for k in kernels)
    top1 = " / ".join(f"{k['top1_agreement']:.1%}" for k in kernels)
    confusion = np.array(report.figures["confusion"])
    exits = confusion.trace() / confusion.sum()
    answers = report.figures["answers"]
    same = answers["same"] / answers["compared"]
    verdict = "passed" if report.passed else "failed"
    shares = f"{exits:.1%} | {same:.1%}"
    return f"| {target} | {processor} | {report.figures['images']} | {errors} | {top1} | {shares} | {verdict} |"


def main(folder: Path, count: int) -> bool:
    root, ok, data = root_in(folder), True, images_in(folder, count)
    print(f"Host: {describe()}\n")
    print("| bundle | processor | images | max abs of a logit by exit | top-1 by exit | exit | answer | verdict |")
    print("|---|---|---|---|---|---|---|---|")
    for target in TARGETS:
        bundle, recipe = bundle_in(folder, target), recipe_for(target)
        for processor in PROCESSORS:
            log = device_log(root, processor, bundle, data, folder / f"{target}-{processor}.jsonl")
            side = HostSide(bundle, recipe.device, recipe.bounds, images=open_images(data), cache=folder / "cache")
            report = validate_log(log, side)
            ok &= report.passed
            print(row(target, processor, report), flush=True)
    return ok


if __name__ == "__main__":
    ended = main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 64)
    sys.exit(not ended)
