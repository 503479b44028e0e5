"""A bundle on disk: manifest.json and the files that it lists, in a folder or in one .zip of it.

Opening verifies everything: the manifest against its schema, each path, each size, each SHA-256. Nothing is unpacked,
and what is read later is verified again: what runs is what was verified. Normative: docs/bundle.md.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import re
import stat
import unicodedata
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dvt_edge.atomic import new_file, write_bytes
from dvt_edge.device.manifest import MANIFEST, MAX_FILES, FileSpec, Manifest, parse_manifest, to_json
from dvt_edge.device.power_policy import PowerPolicy
from dvt_edge.device.schema import MAX_JSON, parse_json
from dvt_edge.errors import (
    ArchiveError,
    BundleError,
    ChangedFileError,
    ManifestError,
    MissingFileError,
    SchemaError,
    UnsafePathError,
    cause,
    one_line,
)

MAX_MANIFEST = MAX_JSON
MAX_LABELS = 2**20  # bytes
MAX_UNPACKED = 4 * 2**30  # bytes that a .zip may unpack to
MAX_RATIO = 200  # of unpacked to packed bytes; weights hardly compress, so a larger one is a bomb
MAX_DIRECTORY = 16 * 2**20  # bytes of a .zip's central directory
MAX_PATH, MAX_PARTS = 1024, 32  # bytes of UTF-8, parts
CHUNK = 2**20  # bytes
MAX_LINE = 300  # characters of an error, its path aside
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # so that the same folder gives the same .zip
STALE = re.compile(r"\.manifest\.json\.\w{8}")  # what a killed writer of dvt-edge 0.1.0 left in a bundle
RESERVED = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9¹²³])(\..*)?", re.IGNORECASE)  # names of devices on Windows
END = b"PK\x05\x06"  # of a .zip: its end record, 22 bytes and a comment
ZIP64 = b"PK\x06\x07"  # 20 bytes before it: of sizes that a bundle does not need
ENTRY = b"PK\x01\x02"  # of its central directory: one file or folder
Tree = dict[str, Any]  # a part -> the tree below it, or None for a file
TRIES = 50  # of a bundle that another process replaces meanwhile


class CascadeBundle:
    """A verified bundle at `path`, a folder or a .zip. Get one from `open`. Plain data: copied and pickled freely."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> CascadeBundle:
        """Open and verify a bundle's folder or .zip.

        Raises ManifestError, NewerFormatError, MissingFileError, ChangedFileError, UnsafePathError or ArchiveError,
        all of them BundleErrors.
        """
        path = Path(path)
        for attempt in range(TRIES):
            before = identity(path)
            try:
                return cls(path, verify(path, before[2] if before else None))
            except Exception as error:
                if identity(path) != before and attempt < TRIES - 1:
                    continue  # replaced by another bundle meanwhile
                kind = type(error) if isinstance(error, BundleError) else BundleError
                raise kind(line_of(path, error)) from error
        raise AssertionError

    @property
    def folder(self) -> Path:
        """Raises BundleError of a .zip."""
        if self.path.is_file():
            raise BundleError(f"{self.path}: a .zip is never changed; unpack it into a folder first")
        return self.path

    def read(self, name: str) -> bytes:
        """A listed file, verified anew. Raises ChangedFileError where it is not what the manifest says any more."""
        spec = self.manifest.files[name]
        try:
            if self.path.is_dir():
                with (self.path / name).open("rb") as file:
                    content = file.read(spec.size + 1)
            else:
                check_directory(self.path)
                with zipfile.ZipFile(self.path) as archive, archive.open(name) as file:
                    content = file.read(spec.size + 1)
        except Exception as error:
            raise ChangedFileError(f"{self.path}: {name!r} cannot be read any more ({cause(error)})") from error
        check(name, len(content), hashlib.sha256(content).hexdigest(), spec, self.path)
        return content

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, one for each logit. Raises ManifestError."""
        name, count = self.manifest.labels, self.manifest.model.classes
        try:
            names = parse_json(self.read(name), name)
        except SchemaError as error:
            raise ManifestError(f"{self.path}: {error}") from error
        if not isinstance(names, list) or len(names) != count or not all(isinstance(n, str) for n in names):
            raise ManifestError(f"{self.path}: {name}: expected a list of {count} names")
        return tuple(names)

    def golden(self, stage: int = 0) -> tuple[NDArray[np.uint8], list[NDArray[np.float32]]]:
        """The pixels (n, size, size, 3) uint8 of one stage and, for each exit, logits (n, classes) float32.

        Raises ManifestError for files of another length, and where there are none.
        """
        golden, size = self.manifest.golden, self.manifest.image_size(stage).size
        if not golden.images:
            raise ManifestError(f"{self.path}: no golden images in it")

        def array(name: str, dtype: str, *shape: int) -> NDArray[Any]:
            content = self.read(name)
            if len(content) != math.prod(shape) * np.dtype(dtype).itemsize:
                raise ManifestError(f"{self.path}: {name}: {len(content)} bytes; expected {shape} {dtype}")
            return np.frombuffer(content, dtype=dtype).reshape(shape)

        images = array(golden.image[stage], "u1", golden.images, size, size, 3)
        return images, [array(name, "<f4", golden.images, self.manifest.model.classes) for name in golden.logits]

    @property
    def size(self) -> int:
        """Bytes of all listed files."""
        return sum(f.size for f in self.manifest.files.values())

    @property
    def artifacts_sha256(self) -> str:
        return self.manifest.artifacts_sha256

    def uncertified(self, point: str) -> str | None:
        """Why no certificate covers an operating point, in words; None where one holds."""
        return self.manifest.uncertified(point)

    def artifact(self, stage: int) -> dict[str, bytes]:
        """A stage's artifact: the content of its files, verified, by their paths in the bundle."""
        return {name: self.read(name) for name in self.manifest.artifact_files(stage)}

    def artifact_size(self, stage: int) -> int:
        """Bytes of a stage's artifact."""
        return sum(self.manifest.files[name].size for name in self.manifest.artifact_files(stage))

    def save_zip(self, path: str | os.PathLike[str]) -> Path:
        """Pack the bundle into one .zip, written atomically; the same bundle gives the same bytes."""
        path = Path(path)
        with new_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for member in (MANIFEST, *sorted(self.manifest.files)):
                info = zipfile.ZipInfo(member, FIXED_TIME)
                info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                archive.writestr(info, to_json(self.manifest) if member == MANIFEST else self.read(member))
        return path

    def rewrite(self, change: Callable[[Manifest], Manifest]) -> CascadeBundle:
        """The bundle with its manifest changed, as it is by now, in its folder: replaced whole or not at all.

        Raises BundleError of a .zip, of a bundle that another one has replaced since it was opened, and where nothing
        can be written beside the folder.
        """
        folder = self.folder.resolve()
        now = CascadeBundle.open(self.path).manifest
        if now.files != self.manifest.files:
            raise BundleError(f"{self.path}: another bundle has taken its place meanwhile; nothing was written")
        manifest = change(now)
        try:
            write_bytes(folder / MANIFEST, to_json(manifest).encode(), beside=folder)
        except OSError as error:
            raise BundleError(
                f"{folder}: its manifest is written through {folder.parent}, on the same file system: {cause(error)}"
            ) from error
        for entry in list(folder.iterdir()):
            if STALE.fullmatch(entry.name):
                entry.unlink(missing_ok=True)
        return CascadeBundle.open(self.path)


def set_policy(bundle: CascadeBundle, policy: PowerPolicy | None) -> CascadeBundle:
    """Write a power policy into a bundle's manifest, or take it out.

    Raises ManifestError where the policy names a point that the bundle has not.
    """
    try:
        return bundle.rewrite(lambda now: dataclasses.replace(now, policy=policy))
    except ValueError as error:
        raise ManifestError(f"{bundle.path}: {error}") from error


def upgrade(path: str | os.PathLike[str]) -> CascadeBundle:
    """Rewrite a bundle's folder or .zip in the newest format."""
    bundle = CascadeBundle.open(path)
    if bundle.path.is_dir():
        return bundle.rewrite(lambda now: now)
    return CascadeBundle.open(bundle.save_zip(bundle.path))


def why_not_replaceable(path: Path) -> str | None:
    """What at `path` is not a bundle and nothing else, in words; None where a new bundle may take its place.

    A path that ends in .zip is that of a packed one.
    """
    if path.is_symlink():
        return "it is a link"
    if not path.exists():
        return None
    packed = path.suffix == ".zip"
    if packed and path.is_file():
        try:
            CascadeBundle.open(path)
        except (BundleError, OSError) as error:
            return f"it is not a bundle ({one_line(error)})"
        return None
    if packed or not path.is_dir():
        return "it is a folder, not a .zip" if packed else "it is a file, not a bundle"
    if not any(path.iterdir()):
        return None
    try:
        manifest = read_manifest(path)
        _, unlisted = scan(path, tree_of(manifest.files))
    except (BundleError, OSError) as error:
        return f"it is not a bundle ({one_line(error)})"
    return unlisted and f"{unlisted!r} in it does not belong to the bundle"


# -- folders -----------------------------------------------------------------------------------------------------------


def identity(path: Path) -> tuple[int, int, int, int] | None:
    """Device, inode, mode and last change of what is at `path`; None where nothing is. Inodes are used again."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_mode, found.st_ctime_ns


def verify(path: Path, mode: int | None) -> Manifest:
    """The manifest of a verified bundle. `mode` is that of its path, None where there is nothing."""
    if mode is None:
        raise MissingFileError(f"{path}: no such bundle; expected a folder with {MANIFEST}, or a .zip of it")
    if stat.S_ISDIR(mode):
        return verify_folder(path)
    if stat.S_ISREG(mode):
        return verify_zip(path)
    raise ArchiveError(f"{path}: neither a folder nor a .zip")


def verify_folder(folder: Path) -> Manifest:
    """The manifest of a folder whose every listed file is there, unchanged, and inside it, with none beside them."""
    manifest = read_manifest(folder)
    listed = tree_of(manifest.files)
    check_needed(manifest, folder)
    found, unlisted = scan(folder, listed)
    for name, spec in manifest.files.items():
        if name not in found:
            raise MissingFileError(f"{folder}: the file {name!r} of the manifest is missing")
        if found[name] != spec.size:
            check(name, found[name], "", spec, folder)
        with (folder / name).open("rb") as file:
            check(name, *digest(file), spec, folder)
    if unlisted is not None:
        raise MissingFileError(f"{folder}: the file {unlisted!r} is not in the manifest")
    return manifest


def read_manifest(folder: Path) -> Manifest:
    file = folder / MANIFEST
    if file.is_symlink() or not file.is_file():
        raise ManifestError(f"{folder}: no {MANIFEST}; not a bundle")
    with file.open("rb") as opened:
        return parse(opened, folder)


def scan(folder: Path, listed: Tree) -> tuple[dict[str, int], str | None]:
    """Bytes of every listed file that is there, by its path, and the first file or link that is not listed.

    Raises UnsafePathError for a link where a listed file or its folder should be.
    """
    found: dict[str, int] = {}
    unlisted, waiting = None, [("", listed)]
    while waiting:
        below, names = waiting.pop()
        with os.scandir(folder / below) as entries:
            for entry in entries:
                name, known = f"{below}{entry.name}", entry.name in names
                inside = names.get(entry.name)
                if known and entry.is_symlink():
                    raise UnsafePathError(f"{folder}: {name!r} is a link; a bundle holds plain files only")
                if inside is not None and entry.is_dir():
                    waiting.append((name + "/", inside))
                elif known and inside is None and entry.is_file():
                    found[name] = entry.stat().st_size
                elif entry.is_dir(follow_symlinks=False):
                    unlisted = unlisted or first_below(folder, name)
                elif below or not (entry.name == MANIFEST or STALE.fullmatch(entry.name)):
                    unlisted = unlisted or name
    return found, unlisted


def first_below(folder: Path, name: str) -> str | None:
    """The path of a file or link somewhere below a folder of no listed file; None where there are only folders."""
    for root, folders, files in os.walk(folder / name):
        for other in (*files, *(f for f in folders if (Path(root) / f).is_symlink())):
            return (Path(root) / other).relative_to(folder).as_posix()
    return None


def list_files(folder: Path) -> dict[str, FileSpec]:
    """A FileSpec for every file below `folder`, as the manifest holds them."""
    specs = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        if (name := file.relative_to(folder).as_posix()) != MANIFEST:
            with file.open("rb") as opened:
                size, sha256 = digest(opened)
            specs[name] = FileSpec(sha256, size)
    return specs


# -- a .zip of one -----------------------------------------------------------------------------------------------------


def verify_zip(path: Path) -> Manifest:
    """The manifest of a .zip that holds what it lists and nothing else. Bytes are counted as they come."""
    try:
        check_directory(path)
        with zipfile.ZipFile(path) as archive:
            members = check_members(path, archive.infolist())
            if MANIFEST not in members:
                raise ManifestError(f"{path}: no {MANIFEST} at its root; not a bundle")
            with archive.open(members.pop(MANIFEST)) as file:
                manifest = parse(file, path)
            tree_of(manifest.files)
            check_needed(manifest, path)
            for name, spec in manifest.files.items():
                if name not in members:
                    raise MissingFileError(f"{path}: the file {name!r} of the manifest is missing")
                if members[name].file_size != spec.size:
                    check(name, members[name].file_size, "", spec, path)
                with archive.open(members[name]) as file:
                    check(name, *digest(file), spec, path)
    except BundleError:
        raise
    except UnicodeDecodeError as error:
        raise UnsafePathError(f"{path}: a name in it is not UTF-8") from error
    except Exception as error:  # zipfile and zlib raise what they like
        raise ArchiveError(f"{path}: not a readable .zip of a bundle ({cause(error)})") from error
    if unlisted := next((name for name in members if name not in manifest.files), None):
        raise MissingFileError(f"{path}: the file {unlisted!r} is not in the manifest")
    return manifest


def check_directory(path: Path) -> None:
    """Raises ArchiveError before a central directory is read that is larger than a bundle's can be."""
    with path.open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(max(0, length - 2**16 - 22))
        tail = file.read()
        at = tail.rfind(END)
        if at < 0 or len(tail) < at + 22:
            raise ArchiveError(f"{path}: not a readable .zip of a bundle (no end record)")
        size = int.from_bytes(tail[at + 12 : at + 16], "little")
        if tail[max(0, at - 20) : at].startswith(ZIP64) or size > MAX_DIRECTORY:
            raise ArchiveError(f"{path}: a zip64, or a directory of {size} bytes; refused")
        file.seek(max(0, length - len(tail) + at - size))
        if (entries := file.read(size).count(ENTRY)) > MAX_FILES:
            raise ArchiveError(f"{path}: {entries} entries; at most {MAX_FILES} are read")


def check_members(path: Path, members: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """The files of a .zip by name; folders are passed over. Raises ArchiveError or UnsafePathError."""
    length = path.stat().st_size
    limit = min(MAX_UNPACKED, MAX_RATIO * length)
    total = sum(m.file_size for m in members)
    if len(members) > MAX_FILES or total > limit:
        raise ArchiveError(f"{path}: {len(members)} files that unpack to {total} bytes; refused")
    found: dict[str, zipfile.ZipInfo] = {}
    for member in members:
        name = member.filename
        if name != member.orig_filename or not (name.isascii() or member.flag_bits & 0x800):
            raise UnsafePathError(f"{path}: the name {member.orig_filename!r} is not plain UTF-8 without NUL")
        if name.endswith("/"):
            check_path(name[:-1])
            continue
        if name != MANIFEST:
            check_path(name)
        if stat.S_ISLNK(member.external_attr >> 16):
            raise UnsafePathError(f"{path}: {name!r} is a link; a bundle holds plain files only")
        if member.compress_type not in METHODS or member.flag_bits & 1:
            raise ArchiveError(f"{path}: {name!r} is encrypted or packed by a method other than stored and deflate")
        if member.header_offset + member.compress_size > length:
            raise ArchiveError(f"{path}: {name!r} is cut short: {member.compress_size} bytes, packed")
        if name in found:
            raise ArchiveError(f"{path}: {name!r} stands in it twice")
        found[name] = member
    tree_of(name for name in found if name != MANIFEST)
    return found


# -- what both share ---------------------------------------------------------------------------------------------------


def line_of(path: Path, error: Exception) -> str:
    """An error of a bundle's as one printable line that names the bundle, whatever its manifest quotes."""
    own = isinstance(error, BundleError)
    text = str(error).removeprefix(f"{path}: ") if own else f"cannot be read as a bundle ({cause(error)})"
    printable = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:MAX_LINE])
    return f"{path}: {printable}{'...' if len(text) > MAX_LINE else ''}"


def parse(file: IO[bytes], where: Path) -> Manifest:
    content = file.read(MAX_MANIFEST + 1)
    if len(content) > MAX_MANIFEST:
        raise ManifestError(f"{where}: {MANIFEST} has over {MAX_MANIFEST} bytes; refused")
    try:
        return parse_manifest(content)
    except BundleError as error:
        raise type(error)(f"{where}: {error}") from error


def tree_of(names: Iterable[str]) -> Tree:
    """Paths as a tree of their parts; a file is None.

    Raises UnsafePathError for a path that is not plain, and for two that some file system takes for one.
    """
    root: Tree = {}
    folded: dict[int, dict[str, str]] = {}  # of each folder, by its id: the parts in it by what file systems may see
    for name in names:
        check_path(name)
        *folders, last = name.split("/")
        node = root
        for part in folders:
            same_name(folded.setdefault(id(node), {}), part, name)
            inside = node.setdefault(part, {})
            if inside is None:
                raise UnsafePathError(f"the path {name!r} lies in a file")
            node = inside
        same_name(folded.setdefault(id(node), {}), last, name)
        if last in node:
            raise UnsafePathError(f"the path {name!r} is a folder too, or stands twice")
        node[last] = None
    return root


def same_name(seen: dict[str, str], part: str, name: str) -> None:
    """Raises UnsafePathError where another part of the same folder differs by case or normal form only."""
    other = seen.setdefault(unicodedata.normalize("NFC", part).casefold(), part)
    if other != part:
        raise UnsafePathError(f"the path {name!r} is the same as one with {other!r} on some file systems")


def check_path(name: str) -> None:
    """Raises UnsafePathError unless `name` is plain: relative, inside, and a file's name on every system."""
    parts = name.split("/")
    plain = (
        len(name) <= MAX_PATH
        and len(name.encode(errors="replace")) <= MAX_PATH
        and len(parts) <= MAX_PARTS
        and name.lower() != MANIFEST
        and not any(c in '\\:<>"|?*\x7f' or c < " " or "\ud800" <= c <= "\udfff" for c in name)
        and not any(p in ("", ".", "..") or p[-1] in " ." or RESERVED.fullmatch(p) for p in parts)
        and unicodedata.is_normalized("NFC", name)
    )
    if not plain:
        shown = name if len(name) <= 60 else name[:57] + "..."
        raise UnsafePathError(f"the path {shown!r} leaves the bundle or is not plain; expected relative/with/slashes")


def check_needed(manifest: Manifest, where: Path) -> None:
    """Raises ManifestError where the manifest names a path that is not among its files; an artifact may be a folder."""
    missing = [name for name in manifest.needed_files if name not in manifest.files]
    missing += [stage.artifact for k, stage in enumerate(manifest.stages) if not manifest.artifact_files(k)]
    if missing:
        raise ManifestError(f"{where}: the manifest needs {missing[0]!r}, which is not among its files")
    if (size := manifest.files[manifest.labels].size) > MAX_LABELS:
        raise ManifestError(f"{where}: {manifest.labels} has {size} bytes; at most {MAX_LABELS} are read")


def check(name: str, size: int, sha256: str, spec: FileSpec, where: Path) -> None:
    if size != spec.size:
        raise ChangedFileError(f"{where}: {name!r} has {size} bytes; the manifest says {spec.size}")
    if sha256 != spec.sha256:
        raise ChangedFileError(
            f"{where}: {name!r} has SHA-256 {sha256[:16]}...; the manifest says {spec.sha256[:16]}..."
        )


def digest(file: IO[bytes]) -> tuple[int, str]:
    """Bytes and SHA-256 of an open file, in constant memory."""
    total, sha256 = 0, hashlib.sha256()
    while chunk := file.read(CHUNK):
        total += len(chunk)
        sha256.update(chunk)
    return total, sha256.hexdigest()
