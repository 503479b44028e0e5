"""The host's side of a comparison: what the same artifacts, and PyTorch, give for the same pixels. Kept on disk.

pixels, by their hash  ->  logits of every exit, (images, exits, classes) float32, of the artifacts and of PyTorch
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dvt_edge.atomic import new_folder
from dvt_edge.data.images import LabelledImages
from dvt_edge.device.device_log import LogHeader
from dvt_edge.device.manifest import Manifest
from dvt_edge.device.preprocess import preprocess
from dvt_edge.device.runtime import Runtime
from dvt_edge.errors import DataError
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.stages import StageChain, split
from dvt_edge.quiet import Report, each
from dvt_edge.validation.log_batches import KEY

Pixels = NDArray[np.uint8]
Logits = NDArray[np.float32]
FILES = ("keys", "artifact", "pytorch")


@dataclass(frozen=True)
class LoggedPixels:
    """The pixels file beside a log: (images, size, size, 3) uint8, memory-mapped."""

    array: NDArray[np.uint8]

    @classmethod
    def beside(cls, log: Path, header: LogHeader, size: int) -> LoggedPixels | None:
        """None where the log keeps none, or it is not there; a torn end is left out."""
        if header.pixels is None:
            return None
        path = log.parent / header.pixels
        if not path.is_file():
            return None
        each_bytes = size * size * 3
        count = path.stat().st_size // each_bytes
        if not count:
            return None
        return cls(np.memmap(path, np.uint8, "r", shape=(count, size, size, 3)))

    def get(self, place: int | None, sha256: str) -> Pixels | None:
        """An image's, where they are there and have the hash that its record gives."""
        if place is None or place >= len(self.array):
            return None
        pixels = np.array(self.array[place])
        return pixels if hashlib.sha256(pixels.tobytes()).hexdigest() == sha256 else None


@dataclass
class HostRun:
    """`rows` finds an image's logits by its key; `pytorch` is None without a checkpoint.

    Of a test set, `places` has the place of each image by what a log may call it, and `data_rows` its row by its place.
    """

    rows: dict[bytes, int]
    artifact: Logits
    pytorch: Logits | None
    places: dict[str, int] = field(default_factory=dict)
    data_rows: list[int] = field(default_factory=list)

    @classmethod
    def empty(cls, manifest: Manifest, pytorch: bool = False) -> HostRun:
        none = np.zeros((0, len(manifest.stages), manifest.model.classes), np.float32)
        return cls({}, none, none if pytorch else None)

    def row(self, key: bytes) -> int:
        """-1 where the host did not see these pixels."""
        return self.rows.get(key, -1)

    def place(self, name: str) -> int:
        """-1 of what is no image of the test set."""
        return self.places.get(name, -1)


def run_host(
    runtime: Runtime,
    cascade: Cascade | None,
    images: LabelledImages | None,
    logged: LoggedPixels | None,
    cache: Path | None,
    limit: int,
    report: Report | None = None,
) -> HostRun:
    """Every distinct picture among the first `limit` images of a test set and of a log, through artifacts and PyTorch.

    What is in the folder `cache` for this artifact and checkpoint is not run again.
    """
    run = open_cache(runtime, cascade, cache)
    spec = runtime.manifest.image_size(0)
    found: dict[bytes, Pixels] = {}
    data_keys = []
    for place in range(min(limit, len(images)) if images is not None else 0):
        assert images is not None
        pixels = preprocess(images[place], spec.size, spec.resize)
        data_keys.append(key_of_pixels(pixels))
        found.setdefault(data_keys[-1], pixels)
    for pixels in logged.array[:limit] if logged is not None else ():
        found.setdefault(key_of_pixels(pixels), pixels)
    new = {key: pixels for key, pixels in found.items() if key not in run.rows}
    add(run, new, runtime, cascade, report)
    run.data_rows = [run.rows[key] for key in data_keys]
    run.places = {} if images is None else places_of(images, len(data_keys))
    if new and cache is not None:
        save_cache(run, folder_of(runtime, cascade, cache))
    return run


def places_of(images: LabelledImages, count: int) -> dict[str, int]:
    """The place of each of the first `count` images by what a log may call it: its place, its name, and the ends of its
    path. A name that several have, such as 0001.png in two class folders, is none.
    """
    own = {str(k): k for k in range(count)} | {images.name(k): k for k in range(count)}
    ends: dict[str, set[int]] = {}
    for place, name in enumerate(images.names[:count] if images.names else ()):
        parts = Path(name).parts
        for end in {"/".join(parts[-n:]) for n in (1, 2, 3)} - own.keys():
            ends.setdefault(end, set()).add(place)
    return own | {end: place for end, (place, *others) in ends.items() if not others}


def add(
    run: HostRun,
    found: dict[bytes, Pixels],
    runtime: Runtime,
    cascade: Cascade | None,
    report: Report | None,
) -> None:
    """Run pixels that are new, and append their logits."""
    chain = StageChain(split(cascade)) if cascade is not None else None
    ours, theirs = [], []
    for pixels in each(list(found.values()), f"{runtime.manifest.target}: the host runs {len(found)} images", report):
        ours.append(np.stack([logits for logits, _ in runtime.steps(np.ascontiguousarray(pixels))]))
        if chain is not None:
            steps = chain.run(torch.from_numpy(np.array(pixels))[None])
            theirs.append(np.stack([out["logits"][0].numpy() for _, out in steps]))
    if ours:
        start = len(run.artifact)
        run.artifact = np.concatenate([run.artifact, np.stack(ours)])
        if run.pytorch is not None:
            run.pytorch = np.concatenate([run.pytorch, np.stack(theirs)])
        run.rows.update({key: start + k for k, key in enumerate(found)})


def key_of_pixels(pixels: NDArray[np.uint8]) -> bytes:
    return hashlib.sha256(pixels.tobytes()).digest()[:KEY]


# -- the cache ---------------------------------------------------------------------------------------------------------


def folder_of(runtime: Runtime, cascade: Cascade | None, cache: Path) -> Path:
    """Its name has the artifacts' hash and that of the weights."""
    weights = "none"
    if cascade is not None:
        digest = hashlib.sha256()
        for name, tensor in sorted(cascade.state_dict().items()):
            digest.update(name.encode() + tensor.detach().numpy().tobytes())
        weights = digest.hexdigest()[:12]
    return cache / f"{runtime.bundle.artifacts_sha256[:12]}-{weights}"


def open_cache(runtime: Runtime, cascade: Cascade | None, cache: Path | None) -> HostRun:
    run = HostRun.empty(runtime.manifest, cascade is not None)
    shape = run.artifact.shape[1:]
    if cache is None or not (folder := folder_of(runtime, cascade, cache)).is_dir():
        return run
    try:
        keys = np.load(folder / "keys.npy", allow_pickle=False)
        artifact = np.load(folder / "artifact.npy", mmap_mode="r", allow_pickle=False)
        pytorch = None if cascade is None else np.load(folder / "pytorch.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{folder}: a damaged cache ({error}); delete it") from error
    ok = keys.shape == (len(artifact), KEY) and keys.dtype == np.uint8 and artifact.shape[1:] == shape
    if not ok or (pytorch is not None and pytorch.shape != artifact.shape):
        raise DataError(f"{folder}: a damaged cache; delete it")
    rows = {key.tobytes(): k for k, key in enumerate(keys)}
    return HostRun(rows, artifact, pytorch)


def save_cache(run: HostRun, folder: Path) -> None:
    keys = np.frombuffer(
        b"".join(key for key, _ in sorted(run.rows.items(), key=lambda item: item[1])), np.uint8
    ).reshape(-1, KEY)
    with new_folder(folder) as new:
        for name, array in zip(FILES, (keys, run.artifact, run.pytorch), strict=True):
            if array is not None:
                np.save(new / f"{name}.npy", array, allow_pickle=False)
