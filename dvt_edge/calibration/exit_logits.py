"""Every exit's logits for a set of images: computed once an artifact, kept on disk, reused by all that follows.

    a folder:  logits.npy   (images, exits, classes) float32, memory-mapped when opened
               labels.npy   (images,) int64, where they are known
               about.json   which artifact and which images gave them; written last, so that it means "whole"
               parts/       chunks while it is being computed; a killed run goes on after the last of them

`compute` does it all. Chunks belong to processes in turn, so several may work on one folder: each `collect`s its own,
then one of them `merge`s.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
import json
import math
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dvt_edge import machine
from dvt_edge.atomic import new_file, write_bytes, write_text
from dvt_edge.data.images import LabelledImages, numbered
from dvt_edge.device.manifest import Manifest
from dvt_edge.device.runtime import Runtime
from dvt_edge.device.schema import dump_json, parse_json, read_json
from dvt_edge.errors import DataError, DvtEdgeError, one_line
from dvt_edge.quiet import Report

CHUNK = 250  # images; what a killed run may lose


@dataclass(frozen=True)
class About:
    """Where logits come from. `stage_ms` is the median time of each stage at batch 1; null where it was not timed."""

    name: str
    target: str  # a recipe's name, or "pytorch"
    artifact_sha256: str  # of the bundle's stage artifacts, or of the checkpoint
    data: str
    data_sha256: str  # of the preprocessed pixels and the labels
    images: int
    exits: int
    classes: tuple[str, ...]
    macs: tuple[int, ...]  # cumulative, one an exit
    stage_ms: tuple[float, ...] | None
    machine: str
    read_sha256: str = ""  # the images' `fingerprint`
    kept_sha256: str = ""  # of the logits and labels as they lie on disk: `content_sha256`
    sees: tuple[int, ...] = ()  # the source's: what images are resized to, and cut to


@dataclass(frozen=True)
class ExitLogits:
    """(images, exits, classes) float32 logits, perhaps memory-mapped, and (images,) int64 labels or None."""

    logits: NDArray[np.float32]
    labels: NDArray[np.int64] | None
    about: About

    def __post_init__(self) -> None:
        wanted = (self.about.images, self.about.exits, len(self.about.classes))
        if self.logits.shape != wanted or self.logits.dtype != np.float32:
            raise DataError(f"logits of shape {self.logits.shape} and {self.logits.dtype}; expected {wanted} float32")
        macs, ms = self.about.macs, self.about.stage_ms
        if len(macs) != wanted[1] or any(a > b for a, b in itertools.pairwise((1, *macs))):
            raise DataError(f"macs {macs}; expected {wanted[1]}, above 0 and none below the one before")
        if ms is not None and (len(ms) != wanted[1] or not all(0 <= value < math.inf for value in ms)):
            raise DataError(f"stage_ms {ms}; expected {wanted[1]} of 0 or more, or null")
        if self.labels is None:
            return
        if self.labels.shape != wanted[:1] or self.labels.dtype != np.int64:
            raise DataError(f"labels of shape {self.labels.shape} and {self.labels.dtype}; expected {wanted[:1]} int64")
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < wanted[2]:
            raise DataError(f"labels from {self.labels.min()} to {self.labels.max()}; there are {wanted[2]} classes")

    def __len__(self) -> int:
        return len(self.logits)

    @cached_property
    def guesses(self) -> NDArray[np.int64]:
        """(images, exits): the label that each exit gives."""
        return self.logits.argmax(axis=2)

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """(images, exits): whether it is the true one. Raises DataError where labels are not known."""
        if self.labels is None:
            raise DataError(f"{self.about.data}: its labels are not known, so correctness is not either")
        return self.guesses == self.labels[:, None]

    @cached_property
    def distinct(self) -> NDArray[np.int64]:
        """The first image of each that give the same logits at every exit: one image, under several names."""
        first: dict[bytes, int] = {}
        for index, row in enumerate(self.logits):
            first.setdefault(hashlib.blake2b(row.tobytes(), digest_size=16).digest(), index)
        return np.fromiter(first.values(), dtype=np.int64, count=len(first))

    @property
    def top1(self) -> tuple[float, ...]:
        """Accuracy of each exit, a fraction."""
        return tuple(float(c) for c in self.correct.mean(axis=0))

    def take(self, indices: Sequence[int] | NDArray[np.int64]) -> ExitLogits:
        """These images only, in this order."""
        kept = np.asarray(indices, dtype=np.int64)
        about = dataclasses.replace(self.about, images=len(kept))
        return ExitLogits(self.logits[kept], None if self.labels is None else self.labels[kept], about)

    def check_belongs(self, manifest: Manifest, artifacts_sha256: str) -> None:
        """Raises DataError unless these logits came from the bundle with that manifest and those artifacts."""
        if self.about.artifact_sha256 != artifacts_sha256:
            raise DataError(
                f"the logits of {self.about.data} came from {self.about.target} artifacts "
                f"{self.about.artifact_sha256[:12]}...; the bundle {manifest.name} has {artifacts_sha256[:12]}..."
            )
        if self.about.exits != len(manifest.stages) or len(self.about.classes) != manifest.model.classes:
            raise DataError(
                f"logits of {self.about.exits} exits and {len(self.about.classes)} classes; "
                f"the bundle {manifest.name} has {len(manifest.stages)} and {manifest.model.classes}"
            )


class LogitSource(Protocol):
    """What gives logits: a bundle's artifacts (`BundleSource`), or PyTorch (`evaluation.curves.TorchSource`)."""

    name: str
    target: str
    artifact_sha256: str
    classes: tuple[str, ...]
    grids: tuple[int, ...]
    macs: tuple[int, ...]
    sees: tuple[int, int]  # `resize` and `size` of `pixels`

    def pixels(self, image: Any) -> NDArray[np.uint8]:
        """The image as the cascade's (size, size, 3) uint8 RGB."""
        ...

    def logits(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """(n, size, size, 3) -> (n, exits, classes) logits and, where timed one by one, (n, stages) milliseconds."""
        ...


class Team(Protocol):
    """Processes that share the work, as one of them sees it (`training.Process` is one)."""

    @property
    def rank(self) -> int: ...

    @property
    def world(self) -> int: ...

    def barrier(self) -> None:
        """Wait for all the others."""
        ...


@dataclass(frozen=True)
class Member:
    """One of a team that needs no waiting, such as the only one."""

    rank: int = 0
    world: int = 1

    def barrier(self) -> None: ...


ALONE = Member()


class BundleSource:
    """A bundle's own artifacts, one image at a time, every stage run and timed.

    Raises DataError for a bundle whose stages take several image sizes.
    """

    def __init__(self, runtime: Runtime) -> None:
        manifest = runtime.manifest
        if not manifest.same_pixels:
            raise DataError(f"{manifest.name}: stages of several image sizes; expected one for all")
        self.runtime, self.name, self.target = runtime, manifest.name, manifest.target
        self.artifact_sha256, self.classes, self.macs = runtime.bundle.artifacts_sha256, runtime.labels, manifest.macs
        self.grids = tuple(stage.grid for stage in manifest.stages)
        self.sees = manifest.image_size(0).resize, manifest.image_size(0).size

    def pixels(self, image: Any) -> NDArray[np.uint8]:
        return self.runtime.preprocess(image)

    def logits(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        steps = [list(self.runtime.steps(one)) for one in pixels]
        logits = np.stack([np.stack([z for z, _ in row]) for row in steps])
        return logits, np.array([[ms for _, ms in row] for row in steps], dtype=np.float32)


def collect(
    source: LogitSource,
    images: LabelledImages,
    folder: str | os.PathLike[str],
    report: Report | None = None,
    team: Team = ALONE,
) -> None:
    """Compute this process's chunks of `images` into `folder`/parts, skipping those that are there.

    Raises DvtEdgeError when the folder was begun for another artifact or other images.
    """
    folder = Path(folder)
    total = len(images)
    asked = {
        "artifact_sha256": source.artifact_sha256,
        "read_sha256": images.fingerprint,
        "sees": list(source.sees),
    }
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    if (folder / "asked.json").exists():
        if (found := parse_json((folder / "asked.json").read_bytes(), str(folder / "asked.json"))) != asked:
            raise DvtEdgeError(f"{folder}: begun for {found}, not for {asked}; give another folder or delete it")
    elif team.rank == 0:
        write_text(folder / "asked.json", json.dumps(asked))
    done = 0
    for chunk in range(team.rank, chunks(total), team.world):
        span = range(chunk * CHUNK, min((chunk + 1) * CHUNK, total))
        if not part(folder, chunk).exists():
            pixels = np.stack([source.pixels(images[i]) for i in span])
            logits, ms = source.logits(pixels)
            digests = np.array([pixel_digest(p) for p in pixels], dtype="S8")
            write_part(part(folder, chunk), logits=logits, digests=digests, **({} if ms is None else {"ms": ms}))
        done += len(span)
        if report:
            report(f"{source.target}: logits of {total} images", done, math.ceil(total / team.world))


def merge(source: LogitSource, images: LabelledImages, folder: str | os.PathLike[str]) -> None:
    """Join the parts of every process into logits.npy, and say what they are in about.json."""
    folder = Path(folder)
    missing = [c for c in range(chunks(len(images))) if not part(folder, c).exists()]
    if missing:
        raise DataError(f"{folder}: {len(missing)} parts of {chunks(len(images))} are not there yet")
    shape = (len(images), len(source.macs), len(source.classes))
    digest, times = hashlib.sha256(), []
    with new_file(folder / "logits.npy") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for chunk in range(chunks(len(images))):
            try:
                with np.load(part(folder, chunk), allow_pickle=False) as arrays:
                    rows = arrays["logits"].astype("<f4").reshape(-1, *shape[1:])
                    digest.update(arrays["digests"].tobytes())
                    if "ms" in arrays:
                        times.append(arrays["ms"])
            except Exception as error:  # a damaged archive can fail in any way
                raise DataError(f"{part(folder, chunk)}: damaged ({error}); delete it and run again") from error
            file.write(rows.tobytes())
    if images.labels is not None:
        labels = np.array(images.labels, dtype=np.int64)
        digest.update(labels.tobytes())
        buffer = io.BytesIO()
        np.save(buffer, labels)
        write_bytes(folder / "labels.npy", buffer.getvalue())
    about = About(
        name=source.name,
        target=source.target,
        artifact_sha256=source.artifact_sha256,
        data=images.source,
        data_sha256=digest.hexdigest(),
        images=len(images),
        exits=len(source.macs),
        classes=source.classes,
        macs=tuple(source.macs),
        stage_ms=tuple(np.median(np.concatenate(times), axis=0).round(5).tolist()) if times else None,
        machine=machine.describe(),
        read_sha256=images.fingerprint,
        sees=tuple(source.sees),
    )
    seal(folder, about)
    tidy(folder)


def tidy(folder: Path) -> None:
    """Remove what a finished folder needs no more."""
    shutil.rmtree(folder / "parts", ignore_errors=True)
    (folder / "asked.json").unlink(missing_ok=True)


def compute(
    source: LogitSource,
    images: LabelledImages,
    folder: str | os.PathLike[str],
    report: Report | None = None,
    team: Team = ALONE,
) -> ExitLogits:
    """The logits at `folder`, computed there by the whole team unless they are.

    Raises DvtEdgeError when the folder holds, or was begun for, those of another artifact or other images.
    """
    folder = Path(folder)
    if not whole(folder):
        try:
            collect(source, images, folder, report, team)
            team.barrier()
            if team.rank == 0 and not whole(folder):
                merge(source, images, folder)
        except (DvtEdgeError, FileNotFoundError):
            if not whole(folder):  # else another command was faster with the same
                raise
        if team.rank == 0:
            tidy(folder)
    team.barrier()
    found = open_logits(folder)
    given = source.artifact_sha256, images.fingerprint, tuple(source.sees)
    if (found.about.artifact_sha256, found.about.read_sha256, found.about.sees) != given:
        words = f"{found.about.images} images of {found.about.data} through {found.about.target}"
        raise DataError(f"{folder}: holds the logits of {words}, not of these images; give another folder or delete it")
    return found


def whole(folder: Path) -> bool:
    """Whether `merge` is done with it: about.json is what it writes last."""
    return (folder / "about.json").is_file()


def open_logits(folder: str | os.PathLike[str]) -> ExitLogits:
    """The logits in a folder that `merge` wrote; memory-mapped, nothing unpickled.

    Raises DataError for a folder that is not one, or is damaged.
    """
    folder = Path(folder)
    if not whole(folder):
        raise DataError(f"{folder}: no about.json; not a finished folder of logits")
    try:
        about = read_json(About, folder / "about.json")
        logits = np.load(folder / "logits.npy", mmap_mode="r", allow_pickle=False)
        labelled = (folder / "labels.npy").exists()
        labels = np.load(folder / "labels.npy", allow_pickle=False) if labelled else None
        if about.kept_sha256 != content_sha256(folder):
            raise DataError("its arrays are not those that were kept")
        return ExitLogits(logits, labels, about)
    except Exception as error:  # a damaged array can fail in any way
        raise DataError(f"{folder}: damaged, or of an older dvt-edge ({one_line(error)}); delete it") from error


def seal(folder: Path, about: About) -> None:
    """Say of the arrays in a folder what they are, and their hash: `open_logits` takes no others."""
    write_text(folder / "about.json", dump_json(dataclasses.replace(about, kept_sha256=content_sha256(folder))))


def content_sha256(folder: Path) -> str:
    """Of the files of a folder of logits, as they lie there."""
    digest = hashlib.sha256()
    for name in ("logits.npy", "labels.npy"):
        if (folder / name).exists():
            with (folder / name).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def in_memory(
    logits: NDArray[np.float32], labels: NDArray[np.int64] | None, macs: Sequence[int], source: str = "given arrays"
) -> ExitLogits:
    """Arrays as ExitLogits, for callers that have logits of their own; hashed as they are."""
    logits = np.ascontiguousarray(logits, dtype=np.float32)
    digest = hashlib.sha256(logits.tobytes())
    names = numbered(logits.shape[2])
    sha = digest.hexdigest()
    about = About(
        "given", "given", sha, source, sha, len(logits), logits.shape[1], names, tuple(macs), None, machine.describe()
    )
    return ExitLogits(logits, labels, about)


def data_sha256(pixels: Iterable[NDArray[np.uint8]], labels: NDArray[np.int64] | None) -> str:
    """The hash that `About.data_sha256` holds, of images (size, size, 3) as the cascade sees them, and their labels."""
    digest = hashlib.sha256()
    for image in pixels:
        digest.update(pixel_digest(image))
    if labels is not None:
        digest.update(labels.tobytes())
    return digest.hexdigest()


def pixel_digest(pixels: NDArray[np.uint8]) -> bytes:
    return hashlib.blake2b(pixels.tobytes(), digest_size=8).digest()


def chunks(total: int) -> int:
    return math.ceil(total / CHUNK)


def part(folder: Path, chunk: int) -> Path:
    return folder / "parts" / f"{chunk:06}.npz"


def write_part(path: Path, **arrays: NDArray[Any]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes(path, buffer.getvalue())
