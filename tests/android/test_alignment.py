"""android_demo/check_alignment.py on APKs of hand-made libraries."""

from __future__ import annotations

import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "android_demo/check_alignment.py"
NAME = "lib/arm64-v8a/libonnxruntime.so"


def elf(*aligned: int) -> bytes:
    """A 64-bit ELF file of loaded segments with these alignments, and one that is not loaded."""
    headers = [struct.pack("<II6Q", kind, 0, 0, 0, 0, 0, 0, a) for kind, a in [*((1, a) for a in aligned), (4, 4)]]
    start = b"\x7fELF\x02\x01".ljust(32, b"\0") + struct.pack("<Q", 64)
    return start.ljust(54, b"\0") + struct.pack("<HH", 56, len(headers)) + bytes(6) + b"".join(headers)


def apk(path: Path, library: bytes, *, at_page: bool, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        info = zipfile.ZipInfo(NAME)
        info.compress_type = method
        if at_page:
            info.extra = struct.pack("<HH", 0xD935, 2**14 - 30 - len(NAME) - 4) + bytes(2**14 - 30 - len(NAME) - 4)
        archive.writestr(info, library)
    return path


@pytest.mark.parametrize(
    ("aligned", "at_page", "method", "code", "words"),
    [
        ((2**14, 2**16), True, zipfile.ZIP_STORED, 0, "every 64-bit library"),
        ((2**14, 2**12), True, zipfile.ZIP_STORED, 1, "aligned to 4096"),
        ((2**14,), False, zipfile.ZIP_STORED, 1, "no multiple of 16384"),
        ((2**14,), False, zipfile.ZIP_DEFLATED, 0, "every 64-bit library"),
    ],
)
def test_faults_are_found(
    aligned: tuple[int, ...], at_page: bool, method: int, code: int, words: str, tmp_path: Path
) -> None:
    path = apk(tmp_path / "x.apk", elf(*aligned), at_page=at_page, method=method)
    found = subprocess.run([sys.executable, str(SCRIPT), str(path)], capture_output=True, text=True)
    assert found.returncode == code and words in found.stdout


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\5\6" + bytes(18)])
def test_what_is_no_apk_is_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.apk"
    path.write_bytes(content)
    found = subprocess.run([sys.executable, str(SCRIPT), str(path)], capture_output=True, text=True)
    assert found.returncode == 2 and found.stderr.startswith("error: ") and len(found.stderr.splitlines()) == 1
