"""Export: a trained cascade and a target in, a verified bundle out.

split -> convert each stage -> run the artifacts on real images -> check against PyTorch
      -> operating points on the artifacts' own outputs -> golden data -> manifest, in one atomic step
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dvt_edge import machine
from dvt_edge.atomic import new_folder
from dvt_edge.calibration.exit_logits import ExitLogits, data_sha256, in_memory
from dvt_edge.calibration.thresholds import DEFAULT, Calibration, calibrate
from dvt_edge.data.classes import class_names, in_classes
from dvt_edge.data.dealing import held_out_images
from dvt_edge.data.images import LabelledImages
from dvt_edge.data.reading import open_images, sample
from dvt_edge.data.shipped import with_clone
from dvt_edge.device.bundle import CascadeBundle, list_files, why_not_replaceable
from dvt_edge.device.manifest import (
    FORMAT,
    MANIFEST,
    ConfidenceSpec,
    Golden,
    Manifest,
    ModelSpec,
    Preprocessing,
    StageSpec,
    Verification,
    to_json,
)
from dvt_edge.device.preprocess import preprocess
from dvt_edge.device.runtime import Runtime
from dvt_edge.errors import BundleError, DataError, EngineError, ExportError, packages
from dvt_edge.exporting import cache
from dvt_edge.exporting.conversion import Conversion, convert_stages, workers_for
from dvt_edge.exporting.emulation import weighted_layers
from dvt_edge.exporting.exporters import exporter_for
from dvt_edge.exporting.gate import UNVERIFIED, is_degraded, judge
from dvt_edge.exporting.outliers import normalised, smoothed
from dvt_edge.exporting.own_environment import ENVIRONMENTS
from dvt_edge.exporting.qnn_chips import for_chips
from dvt_edge.exporting.qnn_simulator import simulated
from dvt_edge.exporting.recipes import DRAWN_IMAGES, Recipe, inside, keeping, range_images, recipe_for, smoothing
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.checkpoint import load_cascade
from dvt_edge.quiet import Report
from dvt_edge.validation.compare import artifact_logits, compare, pytorch_logits
from dvt_edge.version import __version__

GOLDEN_IMAGES = 4
SHIPPED, SAMPLE = "dvt_cifar10", "cifar10-calibration"  # images that the shipped cascade was not trained on
CHECKED_IMAGES = 256  # compared with PyTorch, output by output
TOOLS = {
    "onnxruntime": ("torch", "onnx", "onnxscript", "onnxruntime"),
    "executorch": ("torch", "torchao", "executorch"),
    "coreml": ("torch", "coremltools"),
    "litert": ("torch", "ai-edge-litert"),
}


def export(
    cascade: Cascade,
    target: str,
    out: str | os.PathLike[str],
    *,
    calibration: LabelledImages | str | os.PathLike[str] | None = None,
    limit: int = DRAWN_IMAGES,
    checkpoint_sha256: str | None = None,
    name: str | None = None,
    socs: Sequence[str] = (),
    keep_float: Sequence[str] = (),
    smooth: float | None = None,
    accept_degraded: bool = False,
    cached: bool = False,
    workers: int = 1,
    report: Report | None = None,
) -> CascadeBundle:
    """Export `cascade` for `target` into the folder `out`, replacing a bundle that was there.

    `calibration` are real images, as an object or a path: `calibration_images`. At most `limit` are drawn of them; the
    first set the quantization ranges, the others measure quality and operating points. `socs` are chips that an NPU's
    target is compiled for, in place of its recipe's; `keep_float` are layers left out of its quantization; `smooth`
    (0 to 1) moves outliers of activations into weights first: `outliers.py`. `report` is told of progress. Nothing is
    left at `out` unless every check passed; `accept_degraded` writes a bundle that breaks its recipe's bounds all the
    same, not verified and with the reason in its manifest. Where `cached`, an earlier export of the same is copied from
    the user's cache folder, or this one is kept there: `cache.py`. Stages are converted in `workers` processes at once,
    0: in as many as pay and memory allows; a script that asks for more than 1 needs `if __name__ == "__main__":`.

    Raises UnknownTargetError, MissingPackageError, DataError, or ExportError when an artifact disagrees with PyTorch or
    something else than a bundle is at `out`.
    """
    recipe, out = for_chips(smoothing(keeping(recipe_for(target), keep_float), smooth), socs), Path(out)
    check_replaceable(out)
    name = name or cascade.config.name
    if not name.isprintable():
        raise ExportError(f"name {name!r}: expected characters that can be printed")
    check_layers(cascade, keep_float)
    images = calibration_images(cascade, calibration).shuffled().first(limit)
    if recipe.quantization and recipe.quantization.calibration_images and len(images) < 2:
        raise DataError(f"{images.source}: one image; target {target} needs two at least, one to set its ranges")
    workers = workers or workers_for(cascade)
    made = Export(cascade, recipe, images, checkpoint_sha256, name, report, accept_degraded, workers)
    before = attempts_at(out)
    if not cached:
        return counted_on(made.run(out), before)
    key = cache.key_of(cascade, recipe, images, TOOLS[recipe.engine], name, checkpoint_sha256)
    degraded = f"{key}-degraded"  # for those who accept it
    for one in (key, degraded) if accept_degraded else (key,):
        if kept := cache.copied(one, out):
            made.report(f"{recipe.name}: as exported before", 1, 1)
            return counted_on(kept, before)
    bundle = made.run(out)
    cache.keep(degraded if is_degraded(bundle.manifest) else key, bundle)
    return counted_on(bundle, before)


Attempts = dict[str, dict[str, int]]  # calibrations of artifacts, by their hash and the data's


def attempts_at(out: Path) -> Attempts:
    """Of the bundle at `out`; none where there is none that can be read."""
    try:
        bundle = CascadeBundle.open(out)
    except BundleError:
        return {}
    return {bundle.artifacts_sha256: bundle.manifest.attempts}


def counted_on(bundle: CascadeBundle, before: Attempts) -> CascadeBundle:
    """The bundle with the calibrations that its artifacts had before: to export them again does not undo one."""
    seen, now = before.get(bundle.artifacts_sha256, {}), bundle.manifest.attempts
    attempts = {data: max(seen.get(data, 0), now.get(data, 0)) for data in seen | now}
    if attempts == now:
        return bundle
    return bundle.rewrite(lambda manifest: dataclasses.replace(manifest, attempts=attempts))


def check_replaceable(out: Path) -> None:
    """Raises ExportError where something else than a bundle is at `out`, or more than one."""
    if why := why_not_replaceable(out):
        raise ExportError(f"{out}: {why}; give another folder, nothing was replaced")


def check_layers(cascade: Cascade, patterns: Sequence[str]) -> None:
    """Raises ExportError for a pattern of `keep_float` that names no layer with weights of any stage."""
    names = list(weighted_layers(cascade))
    for pattern in patterns:
        if not any(inside(name, pattern) or inside(name.partition(".")[2], pattern) for name in names):
            raise ExportError(f"keep_float {pattern!r}: no layer of that name; expected one such as {names[-1]}")


def calibration_images(cascade: Cascade, given: LabelledImages | str | os.PathLike[str] | None) -> LabelledImages:
    """Images that the cascade was not trained on, their labels in its classes.

    Of the data that it was trained on those that were held out, where its checkpoint says which; else a path's test
    images. Without any, the package's sample, for cascades trained as the shipped one. Raises DataError.
    """
    name, known = cascade.config.name, cascade.trained_on
    if given is None:
        if known is None or known != load_cascade(f"zoo:{SHIPPED}").trained_on:
            how = with_clone(name, f"dvt-edge export zoo:{name} build/bundles --calibration")
            raise DataError(
                f"the package has no images that {name} was not trained on: "
                f"{how or 'export it with real ones (--calibration)'}"
            )
        given = sample(SAMPLE)
    if not isinstance(given, LabelledImages):
        path = os.fspath(given)
        given = held_out_images(path, known) or open_images(path, "test")
    if known is not None:
        given = in_classes(given, known.classes, name)
    elif given.labels is not None and len(given.classes) not in (0, cascade.config.num_classes):
        raise DataError(
            f"{given.source}: {len(given.classes)} classes; {name} has {cascade.config.num_classes}. "
            "Images without labels go into one flat folder"
        )
    if len(given) < 2:
        raise DataError(f"{given.source}: one image; expected at least two, one to calibrate and one to check")
    return given


class Export:
    def __init__(
        self,
        cascade: Cascade,
        recipe: Recipe,
        images: LabelledImages,
        checkpoint_sha256: str | None,
        name: str,
        report: Report | None,
        accept_degraded: bool = False,
        workers: int = 1,
    ) -> None:
        self.accept_degraded, self.workers = accept_degraded, workers
        self.cascade, self.recipe, self.name, self.checkpoint = cascade.eval(), recipe, name, checkpoint_sha256
        self.report = report or (lambda what, done, of: None)
        used = range_images(recipe, len(images))
        self.calibration = images.first(used)
        self.measured = images.take(range(used, len(images))[: recipe.measured_images])
        self.classes = class_names(cascade.trained_on, images, cascade.config.num_classes)

    def run(self, out: Path) -> CascadeBundle:
        exporter_for(self.recipe)  # a missing package is named before anything is done
        converted, size = self.outliers_moved(), self.cascade.config.image_size
        pixels = np.array([self.pixels(image) for image in self.calibration], np.uint8).reshape(-1, size, size, 3)
        with new_folder(out) as folder:
            conversion = Conversion(self.cascade, converted, self.recipe, pixels, folder)
            stages = convert_stages(conversion, self.workers, self.report)
            bundle = CascadeBundle(folder, self.draft(folder, stages))
            if self.recipe.proof == "lowered":
                manifest = self.measure_with_pytorch(bundle)
            else:
                with runtime_of(bundle, self.recipe) as runtime:
                    manifest = self.measure(bundle, runtime)
            manifest = dataclasses.replace(manifest, files=list_files(folder))
            (folder / MANIFEST).write_text(to_json(manifest))
            check_replaceable(out)  # once more: an export takes minutes
        return CascadeBundle.open(out)

    # -- stages ------------------------------------------------------------------------------------------------

    def outliers_moved(self) -> Cascade:
        """What is converted: the same in float, with outliers in the weights where the recipe says so."""
        quantization = self.recipe.quantization
        if quantization is None or quantization.smooth is None:
            return self.cascade
        return smoothed(self.cascade, normalised(self.calibration, self.cascade.config), quantization.smooth)

    def pixels(self, image: NDArray[np.uint8] | Path) -> NDArray[np.uint8]:
        return preprocess(image, self.cascade.config.image_size, self.cascade.config.resize)

    # -- the manifest ------------------------------------------------------------------------------------------

    def draft(self, folder: Path, stages: tuple[StageSpec, ...]) -> Manifest:
        """A manifest that can be run, with nothing measured in it yet."""
        config, recipe = self.cascade.config, self.recipe
        (folder / "labels.json").write_text(json.dumps(list(self.classes)) + "\n")
        (folder / "golden").mkdir()
        exits = len(stages)
        nothing = in_memory(np.zeros((1, exits, 2), np.float32), None, tuple(range(1, exits + 1)))
        return Manifest(
            format=FORMAT,
            name=self.name,
            target=recipe.name,
            engine=recipe.engine,
            backend=recipe.backend,
            model=ModelSpec(
                config.name,
                config.to_dict(),
                self.checkpoint,
                config.num_classes,
                self.cascade.trained_on,
            ),
            preprocessing=Preprocessing(
                config.image_size, config.resize, recipe.layout, mean=config.mean, std=config.std
            ),
            stages=stages,
            confidence=ConfidenceSpec("max_softmax", (1.0,) * exits),
            operating_points=calibrate(nothing, temperature=(1.0,) * exits).points,
            default_operating_point=DEFAULT,
            verification=Verification(False, "not checked yet", 0, self.measured.source, machine.describe()),
            labels="labels.json",
            golden=Golden(0, (), (), "artifact", 0.0),
            tools=tool_versions(recipe.engine) | (ENVIRONMENTS[recipe.environment].tools if recipe.environment else {}),
            files=list_files(folder),
        )

    def measure(self, bundle: CascadeBundle, runtime: Runtime) -> Manifest:
        """Run the artifacts, hold them against PyTorch, and find the operating points on their own outputs."""
        interpreted = self.recipe.proof == "interpreted"
        images = self.measured
        checked = images.first(CHECKED_IMAGES)
        comparison = compare(self.cascade, runtime, checked, self.report)
        rest = images.take(range(len(checked), len(images)))
        logits = comparison.logits
        if len(rest):
            logits = [np.concatenate(z) for z in zip(logits, artifact_logits(runtime, rest, self.report), strict=True)]
        found = self.points(images, logits, bundle)
        manifest = dataclasses.replace(
            bundle.manifest,
            confidence=found.confidence,
            operating_points=found.points,
            calibration=found.record,
            attempts={found.record.data_sha256: found.attempts},
        )
        said = judge(comparison, self.recipe, manifest, self.accept_degraded)
        worst = max(q.max_abs_error for q in comparison.qualities())
        tolerance = worst if self.recipe.quantization else self.recipe.bounds.max_abs_error or worst
        if interpreted:
            tolerance = max(tolerance, half_tolerance(logits))
        return dataclasses.replace(
            manifest, verification=said, golden=self.golden(bundle.folder, images, logits, "artifact", tolerance)
        )

    def measure_with_pytorch(self, bundle: CascadeBundle) -> Manifest:
        """For a backend that nothing here runs: everything from PyTorch, and marked as not verified."""
        logits = pytorch_logits(self.cascade, self.measured, self.report)
        tolerance = half_tolerance(logits)
        found = self.points(self.measured, logits, bundle)
        return dataclasses.replace(
            bundle.manifest,
            confidence=found.confidence,
            operating_points=found.points,
            verification=dataclasses.replace(bundle.manifest.verification, reason=UNVERIFIED[self.recipe.proof]),
            golden=self.golden(bundle.folder, self.measured, logits, "pytorch", tolerance),
        )

    def points(self, images: LabelledImages, logits: list[NDArray[np.float32]], bundle: CascadeBundle) -> Calibration:
        """The standard operating points, at fitted temperatures where labels are known, else those of the draft."""
        manifest = bundle.manifest
        labels = None if images.labels is None else np.array(images.labels, dtype=np.int64)
        data = in_memory(np.stack(logits, axis=1), labels, manifest.macs, images.source)
        about = dataclasses.replace(
            data.about,
            artifact_sha256=bundle.artifacts_sha256,
            data_sha256=data_sha256(map(self.pixels, images), labels),
        )
        found = ExitLogits(data.logits, labels, about)
        temperature = manifest.confidence.temperature if labels is None else None
        return calibrate(found, temperature=temperature, name_of=images.name)

    def golden(
        self,
        folder: Path,
        images: LabelledImages,
        logits: list[NDArray[np.float32]],
        source: str,
        tolerance: float,
    ) -> Golden:
        pixels = [self.pixels(image) for image in images.first(GOLDEN_IMAGES)]
        count = len(pixels)
        (folder / "golden/image.bin").write_bytes(np.stack(pixels).tobytes())
        names = tuple(f"golden/stage{k}.logits.bin" for k in range(len(logits)))
        for name, z in zip(names, logits, strict=True):
            (folder / name).write_bytes(z[:count].astype("<f4").tobytes())
        return Golden(count, ("golden/image.bin",) * len(names), names, source, tolerance)  # type: ignore[arg-type]


@contextmanager
def runtime_of(bundle: CascadeBundle, recipe: Recipe) -> Iterator[Runtime]:
    """Of the bundle's engine, or of what stands in for one that does not run here."""
    if recipe.proof == "simulated":
        with simulated(bundle, recipe) as runtime:
            yield runtime
    elif recipe.proof == "interpreted":
        with packages(f"target {recipe.name}", recipe.extra):
            interpreter = import_module("dvt_edge.exporting.coreml_check").load_stage
        yield Runtime(bundle, load_stage=interpreter)
    else:
        yield Runtime(bundle)


def half_tolerance(logits: list[NDArray[np.float32]]) -> float:
    """What float16 on another processor may be off by."""
    return 0.02 * float(max(np.abs(z).max() for z in logits))


def tool_versions(engine: str) -> dict[str, str]:
    versions = {"dvt-edge": __version__}
    for package in TOOLS[engine]:
        try:
            versions[package] = version(package)
        except PackageNotFoundError as error:
            raise EngineError(f"the package {package!r} is imported but has no version: reinstall it") from error
    return versions
