"""Hostile bundles by the thousand, seeded: opening one gives a bundle or a BundleError, in little time and memory.

    python tests/support/bundle_fuzzer.py [COUNT [SEED]]       10000 and 0 unless given

Each is opened, and its labels, golden data and artifacts are read, by a process of its own that opens nothing else, so
that its peak memory is that of opening. Prints the outcomes; exit code 1 where one was not a BundleError or too much.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import stat
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from support.fake_bundle import write_bundle

from dvt_edge.device.manifest import MANIFEST

MAX_MEMORY, MAX_SECONDS = 300 * 2**20, 2.0  # of the opening process, Python and numpy included; of CPU time, each
ROOT = Path(__file__).parents[2]
Random = random.Random
Files = dict[str, bytes]

OPENER = r"""
import json, sys, time
from pathlib import Path
from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.errors import BundleError
from dvt_edge.machine import peak_memory

def read(path):
    bundle = CascadeBundle.open(path)
    bundle.labels
    if bundle.manifest.golden.images:
        for stage in range(len(bundle.manifest.stages)):
            bundle.golden(stage)
    for stage in range(len(bundle.manifest.stages)):
        bundle.artifact(stage)

for line in sys.stdin:
    path, start = json.loads(line), time.process_time()
    try:
        read(path)
        said, message = "opens", ""
    except BundleError as error:
        said, message = type(error).__name__, str(error)
    except BaseException as error:
        said, message = "ESCAPED " + type(error).__name__, str(error)[:300]
    if said != "opens" and not (message.isprintable() and 0 < len(message) < 1000 and path in message):
        said = "UNREADABLE " + said
    print(json.dumps([said, message, time.process_time() - start, peak_memory()]), flush=True)
"""


class Opener:
    """The process that opens."""

    def __enter__(self) -> Opener:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", OPENER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        return self

    def __call__(self, path: Path) -> tuple[str, str, float, int]:
        """The outcome, the message, CPU seconds, and the peak memory so far in bytes."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(str(path)) + "\n")
        self.process.stdin.flush()
        said, message, seconds, peak = json.loads(self.process.stdout.readline())
        return said, message, seconds, peak

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


# -- damage ------------------------------------------------------------------------------------------------------------


def damaged(r: Random, content: bytes) -> bytes:
    """A few bytes flipped, cut, doubled, put in, or numbers of 2 and 4 bytes set to extremes."""
    made = bytearray(content)
    for _ in range(r.choice((1, 1, 2, 5, 20))):
        at, length = r.randrange(len(made) + 1), r.choice((1, 2, 4, 30, 300))
        kind = r.randrange(6)
        if kind == 0 and at < len(made):
            made[at] = r.randrange(256)
        elif kind == 1:
            del made[at : at + length]
        elif kind == 2:
            made[at:at] = made[at : at + length]
        elif kind == 3:
            made[at:at] = r.randbytes(length)
        elif kind == 4:
            value = r.choice((b"\0\0", b"\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\1\0\0\0"))
            made[at : at + len(value)] = value
        else:
            del made[r.randrange(len(made) + 1) :]
    return bytes(made)


NAMES = [
    "../x", "/x", "a//b", "", ".", "..", "a\\b", "C:x", "a\0b", "a\nb", "\x1b[2J", "con", "nul.txt", "a.", "a ",
    "LABELS.json",
    "labels.json/x", "golden", "golden/image.bin/x", "GOLDEN/x", "\u00e9", "e\u0301", "\u202e", "\ud800", MANIFEST,
    "Manifest.json", "x" * 255, "x" * 256, "x" * 1025, "y/" * 31 + "z", "y/" * 500 + "z", "\U0001f600", "stage0.bin/",
]  # fmt: skip


def odd_value(r: Random) -> Any:
    deep: Any = 0
    for _ in range(r.choice((3, 62, 70))):
        deep = [deep] if r.random() < 0.5 else {"a": deep}
    return r.choice([
        None, True, False, 0, -1, 1, 2**31, 2**53 - 1, 2**53, -(2**63), 10**30, 10**400, 0.0, -0.0, 1e308, 5e-324, "",
        "x", "x" * 10_000, "\0", "\ud800", "\x1b[31m\n", r.choice(NAMES), [], {}, [[]], [0] * 70, ["x"] * 100, deep,
        {"": ""}, float("nan"), float("inf"), [1.0, 1.0, 1.0], [None] * 3, "0" * 64, "f" * 63,
    ])  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container and key in a JSON value."""
    found = []
    waiting = [value]
    while waiting:
        node = waiting.pop()
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            found.append((node, key))
            if isinstance(node[key], (dict, list)):
                waiting.append(node[key])
    return found


def restructured(r: Random, content: bytes) -> bytes:
    """A manifest with some of its values replaced, removed, moved or repeated."""
    manifest = json.loads(content)
    for _ in range(r.choice((1, 1, 1, 2, 6))):
        node, key = r.choice(places(manifest) or [(manifest, "x")])
        kind = r.randrange(6)
        if kind < 3:
            node[key] = odd_value(r)
        elif kind == 3:
            del node[key]
        elif kind == 4 and isinstance(node, dict):
            node[r.choice((*NAMES, str(key) + "x", "surprise"))] = node.pop(key)
        elif isinstance(node, list):
            node.extend([node[key]] * r.choice((1, 70)))
        else:
            node["format"] = r.choice((0, 1, 2, 3, -1, 2.0, "2"))
        if not manifest:
            break
    text = json.dumps(manifest, ensure_ascii=r.random() < 0.7)
    if r.random() < 0.1:
        text = text.replace('"format"', '"format": 2, "format"', 1)
    return text.encode(errors="surrogatepass")


LISTED = {"sha256": "0" * 64, "size": 1}


def in_bulk(r: Random, content: bytes) -> bytes:
    """A manifest that is deep, long, or much."""
    manifest, n = json.loads(content), r.choice((70, 1000, 10_000, 100_000))
    kind = r.randrange(9)
    unit = r.choice(
        ("[", '{"a":', "[[],", "[0,", '"', "\\", "{", "1", "-", " ", "[]", "{},", '"a",', "\u00e9", "\U0001f600")
    )
    if kind == 0:
        return (unit * n).encode()
    if kind == 1:
        return ("[" + unit * n * r.choice((1, 10, 40)) + "0]").encode()[: 17 * 2**20]
    if kind == 2:
        manifest["files"].update({f"f/{k}": LISTED for k in range(min(n, 30_000))})
    elif kind == 3:
        manifest["files"].update(
            {"d/" * r.choice((31, 32, 400)) + str(k): {"sha256": "0" * 64, "size": 1} for k in range(400)}
        )
    elif kind == 4:
        manifest["model"]["config"] = {f"k{k}": [k] for k in range(n)}
    elif kind == 5:
        manifest["operating_points"] *= min(n, 3000)
    elif kind == 6:
        manifest["stages"] *= r.choice((22, 1000))
    elif kind == 7:
        manifest["name"] = "x" * r.choice((n, 17 * 2**20))
    else:
        manifest["files"].update(
            {f"{'A' if k % 2 else 'a'}{k // 2}": {"sha256": "0" * 64, "size": 1} for k in range(min(n, 9000))}
        )
    return json.dumps(manifest).encode()


# -- bundles -----------------------------------------------------------------------------------------------------------


def listed_anew(files: Files, *names: str) -> Files:
    """With sizes and hashes of some files put right."""
    import hashlib

    manifest = json.loads(files[MANIFEST])
    for name in names:
        manifest["files"][name] = {"sha256": hashlib.sha256(files[name]).hexdigest(), "size": len(files[name])}
    return files | {MANIFEST: json.dumps(manifest).encode()}


def other_files(r: Random, files: Files) -> Files:
    """Files that changed, their hashes put right or not; labels of another form."""
    name = r.choice([n for n in files if n != MANIFEST])
    content = r.choice(
        (b"", b"{}", b"null", b'["a","b"]', b'["a","b",3]', b'"abc"', b"[" * 2000, b'["\\ud800","b","c"]', b"\xff")
    )
    changed = files | {name: content if r.random() < 0.5 else damaged(r, files[name])}
    return listed_anew(changed, name) if r.random() < 0.8 else changed


def packed(r: Random, files: Files) -> bytes:
    """As a .zip of odd structure."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        entries = list(files.items())
        for _ in range(r.choice((0, 1, 1, 3))):
            kind = r.randrange(5)
            if kind == 0:
                entries.append((r.choice([n for n in NAMES if n and n != "\ud800"]), b"x"))
            elif kind == 1:
                entries.append(r.choice(entries))
            elif kind == 2 and len(entries) > 1:
                entries.remove(r.choice(entries))
            elif kind == 3:
                entries.append(
                    (r.choice(("zeros", MANIFEST, "labels.json")), bytes(r.choice((10**5, 10**7, 4 * 10**7))))
                )
            else:
                entries += [(f"{k}", b"") for k in range(r.choice((10, 10_001)))]
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = r.choice((0o100644,) * 9 + (0o120777, 0o40755, 0o10644, 0)) << 16
            info.compress_type = r.choice(
                (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) * 9 + (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
            )
            archive.writestr(info, content)
        archive.comment = r.choice((b"",) * 5 + (b"hello", b"PK\5\6" + bytes(18), b"x" * 65535))
    return buffer.getvalue()


def renamed_inside(r: Random, content: bytes) -> bytes:
    """A .zip whose names hold what zipfile would not write."""
    old = r.choice((b"labels.json", b"stage1.bin", b"golden/image.bin", b"manifest.json"))
    new = bytearray(old)
    new[r.randrange(len(new))] = r.choice(b"\0/\\:.\xff\xc3\x1b AzZ")
    return content.replace(old, bytes(new), r.choice((1, 2, -1)))


def write_folder(folder: Path, files: Files) -> None:
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def disturb(r: Random, folder: Path) -> None:
    """Links, pipes, folders in the place of files, files that may not be read, files too many."""
    for _ in range(r.choice((1, 1, 3))):
        file = r.choice(sorted(p for p in folder.rglob("*") if not p.is_symlink()) or [folder / "x"])
        if file.is_dir():
            shutil.rmtree(file)
        else:
            file.unlink(missing_ok=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        kind = r.randrange(8)
        if kind == 0:
            file.symlink_to(r.choice((str(folder), "/etc/passwd", "nowhere", file.name, "..")))
        elif kind == 1:
            os.mkfifo(file)
        elif kind == 2:
            file.mkdir()
        elif kind == 3:
            deep = folder / "/".join(["d"] * r.choice((2, 100)))
            deep.mkdir(parents=True, exist_ok=True)
            (deep / "f").write_bytes(b"")
        elif kind == 4:
            (folder / ".manifest.json.abcd1234").write_bytes(b"{")
        elif kind == 5:
            (folder / os.fsdecode(r.choice((b"\xff\xfe", b"a\nb", b"\x1b[31m", "caf\u00e9".encode())))).write_bytes(b"")


MUTATIONS: dict[str, Callable[[Random, Files, Path], None]] = {
    "manifest bytes": lambda r, files, path: write_folder(path, files | {MANIFEST: damaged(r, files[MANIFEST])}),
    "manifest structure": lambda r, files, path: write_folder(
        path, files | {MANIFEST: restructured(r, files[MANIFEST])}
    ),
    "manifest in bulk": lambda r, files, path: write_folder(path, files | {MANIFEST: in_bulk(r, files[MANIFEST])}),
    "files": lambda r, files, path: write_folder(path, other_files(r, files)),
    "folder": lambda r, files, path: (write_folder(path, files), disturb(r, path)),  # type: ignore[func-returns-value]
    ".zip bytes": lambda r, files, path: none(path.write_bytes(damaged(r, whole(r, files)))),
    ".zip structure": lambda r, files, path: none(path.write_bytes(packed(r, files))),
    ".zip names": lambda r, files, path: none(path.write_bytes(renamed_inside(r, whole(r, files)))),
    ".zip of a hostile manifest": lambda r, files, path: none(
        path.write_bytes(whole(r, files | {MANIFEST: r.choice((restructured, in_bulk))(r, files[MANIFEST])}))
    ),
}  # fmt: skip
WEIGHTS = [20, 25, 3, 10, 10, 20, 6, 10, 4]


def none(_: object) -> None: ...


def whole(r: Random, files: Files) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", r.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def bundles(count: int, seed: int, folder: Path) -> Iterator[tuple[str, Path]]:
    """The kind and path of each of `count` hostile bundles below `folder`; each is gone when the next one comes."""
    base = write_bundle(folder / "base")
    files = {name: (base.path / name).read_bytes() for name in (MANIFEST, *base.manifest.files)}
    for number in range(count):
        r = Random(f"{seed}/{number}")
        (kind,) = r.choices(list(MUTATIONS), WEIGHTS)
        path = folder / (f"{number}.zip" if kind.startswith(".zip") else f"{number}")
        MUTATIONS[kind](r, files, path)
        yield kind, path
        if path.is_dir():
            shutil.rmtree(path)
        elif stat.S_ISREG(path.lstat().st_mode):
            path.unlink()


def fuzz(count: int, seed: int, folder: Path) -> tuple[Counter[tuple[str, str]], list[str], float, int]:
    """Outcomes by kind, what must not be, the most CPU seconds, the peak memory in bytes."""
    outcomes: Counter[tuple[str, str]] = Counter()
    wrong, slowest, peak = [], 0.0, 0
    with Opener() as opened:
        for number, (kind, path) in enumerate(bundles(count, seed, folder)):
            said, message, seconds, memory = opened(path)
            outcomes[kind, said] += 1
            if " " in said or seconds > MAX_SECONDS or peak < MAX_MEMORY < memory:
                wrong.append(
                    f"bundle {number} of seed {seed}, {kind}: {said}, {seconds:.2f} s, {memory >> 20} MiB: {message}"
                )
            slowest, peak = max(slowest, seconds), max(peak, memory)
    return outcomes, wrong, slowest, peak


def main() -> None:
    count, seed = (int(sys.argv[k]) if len(sys.argv) > k else default for k, default in ((1, 10_000), (2, 0)))
    with tempfile.TemporaryDirectory() as folder:
        outcomes, wrong, slowest, peak = fuzz(count, seed, Path(folder))
    for kind in MUTATIONS:
        parts = [f"{said} {n}" for (of, said), n in sorted(outcomes.items()) if of == kind]
        print(f"{kind}: {', '.join(parts)}")
    print(f"{count} bundles of seed {seed}: {len(wrong)} wrong; at most {slowest:.2f} s of CPU and {peak >> 20} MiB")
    print("\n".join(wrong[:20]))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
