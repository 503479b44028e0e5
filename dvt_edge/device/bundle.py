"""A bundle on disk: manifest.json and the files that it lists, in a folder or in one .zip of it.

Opening verifies everything: the manifest against its schema, each path, each size, each SHA-256.
"""

from __future__ import annotations

import dataclasses
import hashlib
import lzma
import math
import os
import shutil
import stat
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvt_edge.atomic import write_bytes
from dvt_edge.device.manifest import MANIFEST, FileSpec, Manifest, parse_manifest, to_json
from dvt_edge.device.power_policy import PowerPolicy
from dvt_edge.device.schema import parse_json
from dvt_edge.errors import (
    ArchiveError,
    BundleError,
    ChangedFileError,
    ManifestError,
    MissingFileError,
    UnsafePathError,
)

MAX_MANIFEST = 16 * 2**20  # bytes
MAX_UNPACKED = 4 * 2**30  # bytes that a .zip may unpack to
MAX_ENTRIES = 10_000
DAMAGED = (  # what a .zip that cannot be unpacked raises
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, NotImplementedError, EOFError, ValueError, OSError
)  # fmt: skip
MAX_RATIO = 200  # of unpacked to packed bytes; weights hardly compress, so a larger one is a bomb
FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # so that the same folder gives the same .zip


class CascadeBundle:
    """A verified bundle. Get one from `open`; its `folder` may be a temporary one when it came from a .zip."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> CascadeBundle:
        """Open and verify a bundle's folder or .zip.

        Raises ManifestError, NewerFormatError, MissingFileError, ChangedFileError, UnsafePathError or ArchiveError,
        all of them BundleErrors. A .zip is unpacked into a temporary folder that goes with the object.
        """
        path = Path(path)
        if path.is_dir():
            return cls(path, verify(path))
        if not path.exists():
            raise MissingFileError(f"{path}: no such bundle; expected a folder with {MANIFEST}, or a .zip of it")
        folder = Path(tempfile.mkdtemp(prefix="dvt-edge-"))
        try:
            unpack(path, folder)
            bundle = cls(folder, verify(folder))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        weakref.finalize(bundle, shutil.rmtree, folder, ignore_errors=True)
        return bundle

    def file(self, name: str) -> Path:
        return self.folder / name

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, one for each logit."""
        names = parse_json(self.file(self.manifest.labels).read_bytes(), self.manifest.labels)
        if not isinstance(names, list) or len(names) != self.manifest.model.classes:
            raise ManifestError(f"{self.manifest.labels}: expected a list of {self.manifest.model.classes} names")
        return tuple(map(str, names))

    def golden(self) -> tuple[NDArray[np.uint8], list[NDArray[np.float32]]]:
        """Images (n, size, size, 3) uint8 and, for each exit, logits (n, classes) float32.

        Raises ManifestError for files of another length.
        """
        golden, size = self.manifest.golden, self.manifest.preprocessing.size

        def read(name: str, dtype: str, *shape: int) -> NDArray[Any]:
            content = self.file(name).read_bytes()
            if len(content) != math.prod(shape) * np.dtype(dtype).itemsize:
                raise ManifestError(f"{name}: {len(content)} bytes; expected {shape} {dtype}")
            return np.frombuffer(content, dtype=dtype).reshape(shape)

        images = read(golden.image, "u1", golden.images, size, size, 3)
        return images, [read(name, "<f4", golden.images, self.manifest.model.classes) for name in golden.logits]

    @property
    def size(self) -> int:
        """Bytes of all listed files."""
        return sum(f.size for f in self.manifest.files.values())

    @property
    def artifacts_sha256(self) -> str:
        """One hash of all the stages' artifacts: what thresholds, logits and certificates are bound to."""
        digest = hashlib.sha256()
        for stage in self.manifest.stages:
            for path in sorted(self.manifest.files):
                if path == stage.artifact or path.startswith(stage.artifact + "/"):
                    digest.update(f"{path}\0{self.manifest.files[path].sha256}\n".encode())
        return digest.hexdigest()

    def artifact_size(self, stage: int) -> int:
        """Bytes of one stage's artifact."""
        name = self.manifest.stages[stage].artifact
        return sum(f.size for path, f in self.manifest.files.items() if path == name or path.startswith(name + "/"))

    def save_zip(self, path: str | os.PathLike[str]) -> Path:
        """Pack the bundle into one .zip, written atomically; the same bundle gives the same bytes."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        try:
            with zipfile.ZipFile(name, "w", zipfile.ZIP_DEFLATED) as archive:
                for member in (MANIFEST, *sorted(self.manifest.files)):
                    info = zipfile.ZipInfo(member, FIXED_TIME)
                    info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                    archive.writestr(info, self.file(member).read_bytes())
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return path


def set_policy(bundle: CascadeBundle, policy: PowerPolicy | None) -> CascadeBundle:
    """Write a power policy into a bundle's manifest, or take it out; the file is replaced whole or not at all.

    Raises ManifestError where the policy names a point that the bundle has not.
    """
    try:
        manifest = dataclasses.replace(bundle.manifest, policy=policy)
    except ValueError as error:
        raise ManifestError(f"{bundle.folder}: {error}") from error
    write_bytes(bundle.folder / MANIFEST, to_json(manifest).encode())
    return CascadeBundle.open(bundle.folder)


def verify(folder: Path) -> Manifest:
    """The manifest of a folder whose every listed file is there, unchanged, and inside it, with none beside them."""
    file = folder / MANIFEST
    if not file.is_file() or file.is_symlink():
        raise ManifestError(f"{folder}: no {MANIFEST}; not a bundle")
    if file.stat().st_size > MAX_MANIFEST:
        raise ManifestError(f"{file}: {file.stat().st_size} bytes; at most {MAX_MANIFEST} are read")
    manifest = parse_manifest(file.read_bytes())
    for name, spec in manifest.files.items():
        check_path(name)
        check_file(folder, name, spec)
    for name in manifest.needed_files:
        if name not in manifest.files and not any(path.startswith(name + "/") for path in manifest.files):
            raise ManifestError(f"{folder}: the manifest needs {name!r}, which is not among its files")
    for found in files_below(folder):
        if found != MANIFEST and found not in manifest.files:
            raise MissingFileError(f"{folder}: the file {found!r} is not in the manifest")
    return manifest


def check_path(name: str) -> None:
    """Raises UnsafePathError unless `name` is a plain relative path with forward slashes that stays inside."""
    parts = name.split("/")
    unsafe = not name or any(p in ("", ".", "..") for p in parts) or any(c in name for c in "\\:\0")
    if unsafe or name == MANIFEST or PurePosixPath(name).is_absolute():
        raise UnsafePathError(f"the path {name!r} leaves the bundle or is not plain; expected relative/with/slashes")


def check_file(folder: Path, name: str, spec: FileSpec) -> None:
    path = folder / name
    for part in (path, *path.parents):
        if part == folder:
            break
        if part.is_symlink():
            raise UnsafePathError(f"{name!r} is or lies behind a link; a bundle holds plain files only")
    if not path.is_file():
        raise MissingFileError(f"{folder}: the file {name!r} of the manifest is missing")
    size = path.stat().st_size
    if size != spec.size:
        raise ChangedFileError(f"{name!r} has {size} bytes; the manifest says {spec.size}")
    digest = sha256(path)
    if digest != spec.sha256:
        raise ChangedFileError(f"{name!r} has SHA-256 {digest[:16]}...; the manifest says {spec.sha256[:16]}...")


def files_below(folder: Path) -> Iterable[str]:
    for root, folders, files in os.walk(folder):
        for name in (*files, *(f for f in folders if (Path(root) / f).is_symlink())):
            yield (Path(root) / name).relative_to(folder).as_posix()


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_files(folder: Path) -> dict[str, FileSpec]:
    """A FileSpec for every file below `folder`, as the manifest holds them."""
    return {
        name: FileSpec(sha256(folder / name), (folder / name).stat().st_size)
        for name in sorted(files_below(folder))
        if name != MANIFEST
    }


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a bundle's .zip, counting the bytes as they come rather than trusting what it declares."""
    try:
        with zipfile.ZipFile(archive) as zipped:
            members = [m for m in zipped.infolist() if not m.is_dir()]
            limit = min(MAX_UNPACKED, MAX_RATIO * archive.stat().st_size)
            if len(members) > MAX_ENTRIES or sum(m.file_size for m in members) > limit:
                raise ArchiveError(f"{archive}: {len(members)} files that unpack to over {limit} bytes; refused")
            if len({m.filename for m in members}) != len(members):
                raise ArchiveError(f"{archive}: the same file stands in it twice")
            for member in members:
                if member.filename != MANIFEST:
                    check_path(member.filename)
                if stat.S_ISLNK(member.external_attr >> 16):
                    raise UnsafePathError(f"{archive}: {member.filename!r} is a link; a bundle holds plain files only")
                limit -= unpack_member(zipped, member, folder / member.filename, limit)
    except DAMAGED as error:
        if isinstance(error, BundleError):
            raise
        raise ArchiveError(f"{archive}: not a readable .zip of a bundle ({error})") from error


def unpack_member(zipped: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, limit: int) -> int:
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with zipped.open(member) as source, target.open("xb") as out:
        while chunk := source.read(2**20):
            written += len(chunk)
            if written > limit:
                raise ArchiveError(f"{member.filename!r} unpacks to more than it declares; refused")
            out.write(chunk)
    return written
