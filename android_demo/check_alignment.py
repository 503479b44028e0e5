"""Whether an APK's native libraries can be loaded where pages have 16 KB, as Android 15 wants it.

python android_demo/check_alignment.py app-debug.apk        exit code 1, and a line for each library that cannot

A library that is not packed begins at a multiple of 16 KB in the APK, and each of its ELF segments is aligned so.
"""

from __future__ import annotations

import struct
import sys
import zipfile
from pathlib import Path

PAGE = 2**14  # bytes
LOAD = 1  # ELF: a segment that goes into memory


def problems(apk: Path) -> list[str]:
    """A line for each fault. Raises ValueError of a file that is no APK with 64-bit libraries."""
    found = []
    with zipfile.ZipFile(apk) as archive:
        libraries = [i for i in archive.infolist() if i.filename.startswith("lib/") and i.filename.endswith(".so")]
        wide = [i for i in libraries if i.filename.split("/")[1] in ("arm64-v8a", "x86_64")]
        if not wide:
            raise ValueError(f"{apk}: no 64-bit native libraries in it")
        for info in wide:
            at = data_offset(apk, info.header_offset)
            if info.compress_type == zipfile.ZIP_STORED and at % PAGE:
                found.append(f"{info.filename} begins at byte {at}, no multiple of {PAGE}")
            smallest = min(alignments(archive.read(info)), default=0)
            if smallest < PAGE:
                found.append(f"{info.filename} has a segment that is aligned to {smallest} bytes; expected {PAGE}")
    return found


def data_offset(apk: Path, header: int) -> int:
    """Where an entry's bytes begin, behind its local header."""
    with apk.open("rb") as file:
        file.seek(header + 26)
        name, extra = struct.unpack("<HH", file.read(4))
    return header + 30 + int(name) + int(extra)


def alignments(library: bytes) -> list[int]:
    """p_align of each loaded segment of a 64-bit little-endian ELF file."""
    if library[:6] != b"\x7fELF\x02\x01":
        raise ValueError("a library that is no 64-bit little-endian ELF file")
    (table,) = struct.unpack_from("<Q", library, 32)
    size, count = struct.unpack_from("<HH", library, 54)
    headers = [table + k * size for k in range(count)]
    return [
        struct.unpack_from("<Q", library, h + 48)[0] for h in headers if struct.unpack_from("<I", library, h)[0] == LOAD
    ]


def main() -> int:
    try:
        found = problems(Path(sys.argv[1]))
    except (IndexError, OSError, ValueError, struct.error, zipfile.BadZipFile) as error:
        print(f"error: {error}; expected an APK", file=sys.stderr)
        return 2
    print("\n".join(found) or "every 64-bit library can be loaded with pages of 16 KB")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
