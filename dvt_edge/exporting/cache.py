"""Earlier exports, kept by what they were made from: a second one of the same is a copy.

They lie in the user's cache folder, `bundles/<key>`. The key is a hash of all that a bundle depends on: the cascade,
the recipe, the images, the tools' versions, the machine, and this package's code. Together they take `LARGEST` bytes at
most; what was not used for longest goes first. What cannot be read or written there is exported as if there were none.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import dvt_edge
from dvt_edge import machine
from dvt_edge.atomic import new_folder
from dvt_edge.data.identity import cache_root
from dvt_edge.data.images import LabelledImages
from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.errors import BundleError
from dvt_edge.exporting.recipes import Recipe
from dvt_edge.network.cascade import Cascade

LARGEST = 2 * 2**30  # bytes of all that is kept


def key_of(
    cascade: Cascade, recipe: Recipe, images: LabelledImages, tools: Sequence[str], *others: str | bool | None
) -> str:
    """SHA-256 of what a bundle is made from; `others` are what it is called. Raises DataError: an unreadable image."""
    trained_on = cascade.trained_on and dataclasses.asdict(cascade.trained_on)
    pictures = images.fingerprint, images.source, images.names, images.classes
    versions = [installed(name) for name in (*tools, "numpy", "pillow")]
    described = cascade.config.to_dict(), trained_on, repr(recipe), pictures, versions, machine.describe(), others
    digest = hashlib.sha256(json.dumps([*described, code_sha256()], sort_keys=True).encode())
    for name, tensor in cascade.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def installed(package: str) -> str | None:
    """Its version, without importing it; None where it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def code_sha256() -> str:
    """Of this package's modules."""
    digest, root = hashlib.sha256(), Path(dvt_edge.__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def copied(key: str, out: Path) -> CascadeBundle | None:
    """The kept bundle of this key, verified, as a copy at `out`; None where there is none that is whole."""
    with contextlib.suppress(OSError, RuntimeError, BundleError):
        kept = folder_of(key)
        with new_folder(out) as folder:
            shutil.copytree(kept, folder, dirs_exist_ok=True)
            manifest = CascadeBundle.open(folder).manifest
        os.utime(kept)  # used just now
        return CascadeBundle(out, manifest)
    return None


def keep(key: str, bundle: CascadeBundle) -> None:
    """A copy of a bundle's folder for the next export of the same."""
    with contextlib.suppress(OSError, RuntimeError):
        with new_folder(folder_of(key)) as folder:
            shutil.copytree(bundle.folder, folder, dirs_exist_ok=True)
        make_room(folder_of(key).parent)


def make_room(root: Path) -> None:
    """Remove what was not used for longest, until the rest is small enough; the last one stays, however large."""
    kept = sorted((path for path in root.iterdir() if not path.name.startswith(".")), key=lambda p: p.stat().st_mtime)
    sizes = {path: sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) for path in kept}
    for path in kept[:-1]:
        if sum(sizes.values()) <= LARGEST:
            break
        shutil.rmtree(path, ignore_errors=True)
        del sizes[path]


def folder_of(key: str) -> Path:
    """Raises RuntimeError where the user has no home."""
    return cache_root() / "bundles" / key
