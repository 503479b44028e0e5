"""Writes tests/golden/exif.json: small picture files, and the orientation that their EXIF asks for.

python tests/support/make_exif_golden.py

Expectations are written down here. tests/device/test_decoding.py holds the reference to them, the phones their own
parsers. docs/preprocess.md says what is read.
"""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from pathlib import Path

from PIL import Image

GOLDEN = Path(__file__).parents[1] / "golden/exif.json"
ABOUT = (
    "file: a picture, base64. orientation: what its EXIF asks for, 1 to 8; 1 where it asks for none. XMP's is not "
    "read. docs/preprocess.md."
)
PICTURE = Image.frombytes("RGB", (3, 2), bytes(range(0, 252, 14)))  # no two pixels alike
SHORT, LONG, RATIONAL, SIGNED = 3, 4, 5, 8
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
HEAD = b"Exif\0\0"


def block(value: int, form: int = SHORT, *, big: bool = False, count: int = 1, before: int = 0) -> bytes:
    """EXIF of one tag, the orientation, after `before` others."""
    order = ">" if big else "<"
    tags = [struct.pack(order + "HHIHH", 0x0100 + k, SHORT, 1, 7, 0) for k in range(before)]
    kind = "I" if form == LONG else "h" if form == SIGNED else "H"
    tags.append(struct.pack(order + "HHI", 0x0112, form, count) + struct.pack(order + kind, value).ljust(4, b"\0"))
    start = b"MM\0*" if big else b"II*\0"
    return start + struct.pack(order + "IH", 8, len(tags)) + b"".join(tags) + bytes(4)


def saved(form: str, **options: object) -> bytes:
    file = io.BytesIO()
    PICTURE.save(file, format=form, **options)
    return file.getvalue()


def jpeg(*segments: tuple[int, bytes]) -> bytes:
    """A JPEG with these segments before its own."""
    plain = saved("JPEG")
    made = b"".join(struct.pack(">HH", 0xFF00 + kind, len(data) + 2) + data for kind, data in segments)
    return plain[:2] + made + plain[2:]


def png(*chunks: tuple[bytes, bytes], last: bool = False) -> bytes:
    """A PNG with these chunks behind its header, or before its end."""
    plain = saved("PNG")
    at = len(plain) - 12 if last else 33
    made = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return plain[:at] + made + plain[at:]


def profile(exif: bytes) -> bytes:
    """EXIF in hex, as ImageMagick writes it into a PNG's text."""
    digits = exif.hex()
    lines = "\n".join(digits[k : k + 72] for k in range(0, len(digits), 72))
    return f"\nexif\n{len(exif):8d}\n{lines}\n".encode()


TEXT = b"Raw profile type exif\0"
NO_MORE = struct.pack("<IH", 8, 900)  # a directory that ends before its entries

CASES: dict[str, tuple[bytes, int]] = {
    "jpeg without exif": (jpeg(), 1),
    **{f"jpeg {n}": (jpeg((0xE1, HEAD + block(n))), n) for n in range(1, 9)},
    "jpeg big-endian": (jpeg((0xE1, HEAD + block(6, big=True, before=3))), 6),
    "jpeg long": (jpeg((0xE1, HEAD + block(8, LONG))), 8),
    "jpeg big-endian long": (jpeg((0xE1, HEAD + block(3, LONG, big=True))), 3),
    "jpeg after a comment": (jpeg((0xFE, b"a comment"), (0xE1, HEAD + block(5, before=2))), 5),
    "jpeg 0": (jpeg((0xE1, HEAD + block(0))), 1),
    "jpeg 9": (jpeg((0xE1, HEAD + block(9))), 1),
    "jpeg negative": (jpeg((0xE1, HEAD + block(-3, SIGNED))), 1),
    "jpeg rational": (jpeg((0xE1, HEAD + block(26, RATIONAL))), 1),
    "jpeg xmp alone": (jpeg((0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)), 1),
    "jpeg xmp, then exif": (jpeg((0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP), (0xE1, HEAD + block(2))), 2),
    "jpeg cut directory": (jpeg((0xE1, HEAD + b"II*\0" + NO_MORE)), 1),
    "jpeg directory outside": (jpeg((0xE1, HEAD + b"II*\0" + struct.pack("<I", 1 << 30))), 1),
    "png": (png((b"eXIf", block(7))), 7),
    "png behind its pixels": (png((b"eXIf", block(6, big=True)), last=True), 6),
    "png in text": (png((b"tEXt", TEXT + profile(HEAD + block(8)))), 8),
    "png in packed text": (png((b"zTXt", TEXT + b"\0" + zlib.compress(profile(HEAD + block(3))))), 3),
    "png in international text": (png((b"iTXt", TEXT + b"\0\0\0\0" + profile(HEAD + block(4)))), 4),
    "png in packed international text": (
        png((b"iTXt", TEXT + b"\1\0en\0x\0" + zlib.compress(profile(HEAD + block(5))))),
        5,
    ),
    "png both": (png((b"tEXt", TEXT + profile(HEAD + block(8))), (b"eXIf", block(2))), 2),
    "png xmp alone": (png((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)), 1),
    "webp": (saved("WEBP", lossless=True, exif=HEAD + block(6)), 6),
    "webp xmp alone": (saved("WEBP", lossless=True, xmp=XMP), 1),
    "tiff": (saved("TIFF", tiffinfo={274: 3}), 3),
    "tiff without": (saved("TIFF"), 1),
    "gif": (saved("GIF"), 1),
    "bmp": (saved("BMP"), 1),
}


def main() -> None:
    cases = [
        {"name": name, "file": base64.b64encode(file).decode(), "orientation": orientation}
        for name, (file, orientation) in CASES.items()
    ]
    GOLDEN.write_text(json.dumps({"about": ABOUT, "cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
