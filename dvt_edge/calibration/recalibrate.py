"""A bundle's operating points, found anew on images of its own task: what `dvt-edge calibrate` does.

logits of the bundle's artifacts (cached on disk) -> `thresholds.calibrate` -> the bundle's manifest, in one atomic step
"""

from __future__ import annotations

import dataclasses
import errno
import re
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Literal

from dvt_edge.calibration.exit_logits import About, BundleSource, ExitLogits, compute, open_logits
from dvt_edge.calibration.thresholds import Calibration, Cost, Unit
from dvt_edge.data.classes import in_classes
from dvt_edge.data.dealing import held_out_images
from dvt_edge.data.images import LabelledImages
from dvt_edge.data.reading import open_images
from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.device.manifest import Manifest
from dvt_edge.device.runtime import Runtime
from dvt_edge.errors import BundleError, DataError, DvtEdgeError
from dvt_edge.quiet import Report

Part = Literal["test", "train", "held-out"]


def images_of(bundle: CascadeBundle, data: str, part: Part) -> LabelledImages:
    """A split of the images at `data`, or those of its training split that the bundle's cascade was not trained on.

    Raises DataError where it is not known which those are.
    """
    known = bundle.manifest.model.trained_on
    if part != "held-out":
        images = open_images(data, part)
        if part == "test" and known and images.fingerprint == known.fingerprint:
            raise DataError(
                f"{data}: what {bundle.manifest.name} was trained on; --split held-out takes what was held out"
            )
        return images
    if (held_out := held_out_images(data, known)) is None:
        found = "other images than those" if known else "no word in the bundle on the images"
        raise DataError(f"{data}: {found} that {bundle.manifest.name} was trained on, so none are known to be held out")
    return held_out


def some_of(images: LabelledImages, skip: int, limit: int) -> LabelledImages:
    """Of the images in a random order, always the same, `limit` after the first `skip`, under a source that says so.

    Raises DataError where none is left.
    """
    end = min(len(images), skip + limit)
    if skip >= end:
        raise DataError(f"{images.source}: {len(images)} images; {skip} left out leave none")
    if end - skip == len(images):
        return images
    return dataclasses.replace(images.shuffled().take(range(skip, end)), source=f"{images.source}[{skip}:{end}]")


def bundle_logits(
    bundle: CascadeBundle, images: LabelledImages, cache: Path, report: Report | None = None
) -> ExitLogits:
    """Logits of the bundle's artifacts on `images`, kept in `logits_folder` below `cache` and reused from there.

    Raises DataError for images with labels of other classes, and for a cache that may not be written.
    """
    images = in_classes(images, bundle.labels, bundle.manifest.name)
    folder = logits_folder(bundle, images, cache)
    try:
        found = compute(BundleSource(Runtime(bundle)), images, folder, report)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        raise DataError(f"{cache}: logits cannot be kept there ({error.strerror}); --cache says where else") from error
    return belonging(found, bundle)


def cache_of(bundle: Path) -> Path:
    """Where the logits of a bundle, a folder or a .zip, are kept unless asked otherwise: beside it."""
    path = bundle.resolve()
    return path.with_name(path.name + ".logits")


def logits_folder(bundle: CascadeBundle, images: LabelledImages, cache: Path) -> Path:
    """Its name has the hash of the artifacts, the images' source, their number and `fingerprint`, and the resize."""
    source = re.sub(r"[^A-Za-z0-9]+", "-", images.source).strip("-")[-80:]
    resize = bundle.manifest.preprocessing.resize
    digest = images.fingerprint.rpartition(":")[2][:8]
    return cache / f"{bundle.artifacts_sha256[:12]}-{source}-{len(images)}-{digest}-{resize}"


def cached_logits(bundle: CascadeBundle, folder: Path) -> ExitLogits:
    """Logits that `bundle_logits` or others computed before. Raises DataError where they are not this bundle's."""
    return belonging(open_logits(folder), bundle)


def belonging(data: ExitLogits, bundle: CascadeBundle) -> ExitLogits:
    data.check_belongs(bundle.manifest, bundle.artifacts_sha256)
    return data


def cost_of(about: About, unit: Unit, per_stage: Sequence[float] = ()) -> Cost:
    """The cost of leaving at each exit, in `unit`, from what each stage costs: given, or measured with the logits."""
    if unit == "macs":
        if per_stage:
            raise DataError("costs of the stages in MACs are the manifest's own; give them for ms or mJ only")
        return Cost("macs", tuple(map(float, about.macs)), "counted on the graphs that ship")
    if per_stage:
        if len(per_stage) != about.exits:
            raise DataError(f"{len(per_stage)} costs of stages; the bundle has {about.exits} stages")
        return Cost(unit, tuple(accumulate(map(float, per_stage))), "given for each stage")
    if unit == "ms" and about.stage_ms:
        return Cost(unit, tuple(accumulate(about.stage_ms)), f"median stage times, batch 1, {about.machine}")
    raise DataError(f"no cost of the stages in {unit} is known: give what each stage costs on the device")


def write_points(bundle: CascadeBundle, calibration: Calibration, default: str | None = None) -> CascadeBundle:
    """Write the points into the manifest of a bundle's folder; the file is replaced whole or not at all.

    Raises ManifestError where the manifest needs a point that is not among them, and BundleError where the bundle was
    calibrated meanwhile: certificates count such attempts.
    """

    def applied(now: Manifest) -> Manifest:
        if now.attempts != bundle.manifest.attempts:
            raise BundleError(f"{bundle.path}: was calibrated meanwhile; nothing was written, run it again")
        return calibration.apply_to(now, default)

    return bundle.rewrite(applied)


def writable(path: Path) -> None:
    """Raises DvtEdgeError for a .zip, which is never changed."""
    if path.is_file():
        raise DvtEdgeError(f"{path}: calibrating writes into a bundle's folder, not into a .zip; unpack it first")
