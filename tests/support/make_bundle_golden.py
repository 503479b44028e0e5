"""Writes tests/golden/json, tests/golden/manifests and tests/golden/bundles: what three languages must say of them.

    python tests/support/make_bundle_golden.py

Each folder has an index.json. Errors are the class names of docs/bundle.md; null: it is accepted.
"""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import re
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.fake_bundle import write_bundle

from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.device.manifest import MANIFEST, Manifest, to_json
from dvt_edge.device.operating_point import Certificate

GOLDEN = Path(__file__).parents[1] / "golden"
LOCAL_LABELS = re.compile(rb"(PK\x03\x04.{26})labels\.json", re.DOTALL)  # a local header and its name
Change = Callable[[dict[str, Any]], Any]

# -- JSON --------------------------------------------------------------------------------------------------------------

ACCEPTED = {  # name -> text, value where it is worth a check
    "an object": ('{"a": [1, 2.5, "x", true, null]}', {"a": [1, 2.5, "x", True, None]}),
    "a bare value": ("7", 7),
    "white space around": (" \t\r\n[1]\r\n ", [1]),
    "the largest integer": ("9007199254740991", 2**53 - 1),
    "the smallest integer": ("-9007199254740991", -(2**53 - 1)),
    "minus zero": ("-0", 0),
    "a number too small for float64": ("1e-400", 0.0),
    "the largest float64": ("1.7976931348623157e308", 1.7976931348623157e308),
    "a long fraction": ("0." + "1" * 398, 0.1111111111111111),
    "a capital exponent": ("1E+2", 100.0),
    "escapes": (r'"\u0041\n\"\\\/"', 'A\n"\\/'),
    "a pair of surrogates": (r'"\ud83d\ude00"', "\U0001f600"),
    "U+FFFF": (r'"\uffff"', "\uffff"),
    "DEL in a string": ('"\x7f"', "\x7f"),
    "raw characters beyond ASCII": ('"\u00e9 \u732b \U0001f600"', "\u00e9 \u732b \U0001f600"),
    "a key that is empty": ('{"": 1}', {"": 1}),
    "keys that differ by case": ('{"a": 1, "A": 2}', {"a": 1, "A": 2}),
    "keys that differ by normal form": ('{"\u00e9": 1, "e\u0301": 2}', {"\u00e9": 1, "e\u0301": 2}),
    "one key in two objects": ('[{"a": 1}, {"a": 2}]', [{"a": 1}, {"a": 2}]),
}
REFUSED = {
    "nothing": "",
    "white space only": " ",
    "a byte-order mark": "\ufeff[1]",
    "two values": "1 2",
    "something after the value": "[1] x",
    "a form feed as white space": "\f1",
    "a no-break space": "\u00a01",
    "an array left open": "[1",
    "a trailing comma": "[1,]",
    "a trailing comma in an object": '{"a": 1,}',
    "a comment": "[1] // one",
    "single quotes": "['a']",
    "a key without quotes": "{a: 1}",
    "NaN": "NaN",
    "Infinity": "[Infinity]",
    "-Infinity": "[-Infinity]",
    "a capital literal": "True",
    "a leading zero": "01",
    "a leading plus": "+1",
    "no digit before the point": ".5",
    "no digit after the point": "1.",
    "no digit in the exponent": "1e",
    "hexadecimal": "0x10",
    "digits of another script": "\u0661",
    "an integer of 2^53": "9007199254740992",
    "an integer of -2^53": "-9007199254740992",
    "a number of 401 characters": "0." + "1" * 399,
    "a number beyond float64": "1e400",
    "a key twice": '{"a": 1, "a": 1}',
    "a key twice, deep down": '[{"b": {"a": 1, "c": 2, "a": 3}}]',
    "a key twice, once escaped": r'{"a": 1, "\u0061": 1}',
    "a high surrogate alone": r'"\ud800"',
    "a low surrogate alone": r'"\udc00"',
    "surrogates the wrong way round": r'"\ude00\ud83d"',
    "a surrogate alone in a key": r'{"\ud800": 1}',
    "a high surrogate and another escape": r'"\ud83d\u0041"',
    "an unknown escape": r'"\x41"',
    "a short escape": r'"\u12"',
    "a line break in a string": '"a\nb"',
    "a NUL in a string": '"a\0b"',
    "a NUL after the value": "1\0",
    "a string left open": '"abc',
}
REFUSED_BYTES = {
    "a byte that is not UTF-8": b'"\xff"',
    "UTF-8 cut short": b'"\xe7\x8c"',
    "an overlong slash": b'"\xc0\xaf"',
    "a surrogate as UTF-8": b'"\xed\xa0\x80"',
    "beyond Unicode": b'"\xf4\x90\x80\x80"',
    "UTF-16": "[1]".encode("utf-16-le"),
    "UTF-16 with its mark": "[1]".encode("utf-16"),
}
PIECES = {  # name -> [text, times]..., accepted
    "64 levels": ([["[", 64], ["]", 64]], True),
    "65 levels": ([["[", 65], ["]", 65]], False),
    "64 levels of objects, and a number": ([['{"a":', 64], ["1", 1], ["}", 64]], True),
    "65 levels of objects": ([['{"a":', 65], ["1", 1], ["}", 65]], False),
    "brackets in a string are no levels": ([['"', 1], ["[", 100], ['"', 1]], True),
    "100,000 levels, open": ([["[", 100_000]], False),
    "249,999 commas and a bracket": ([["[0", 1], [",0", 249_999], ["]", 1]], True),
    "250,000 commas and a bracket": ([["[0", 1], [",0", 250_000], ["]", 1]], False),
    "commas in a string": ([['"', 1], [",", 300_000], ['"', 1]], True),
    "16 MiB": ([['"', 1], ["a", 2**24 - 2], ['"', 1]], True),
    "16 MiB and a byte": ([['"', 1], ["a", 2**24 - 1], ['"', 1]], False),
}


def json_cases() -> dict[str, Any]:
    about = (
        "The strict dialect of docs/bundle.md. A case is `text` (as UTF-8), `hex` (bytes), or `pieces`: [text, times], "
        "joined. `accepted` says whether it is read; `value`, where given, as what."
    )
    cases: list[dict[str, Any]] = [
        {"name": name, "text": text, "accepted": True, "value": value} for name, (text, value) in ACCEPTED.items()
    ]
    cases += [{"name": name, "text": text, "accepted": False} for name, text in REFUSED.items()]
    cases += [{"name": name, "hex": content.hex(), "accepted": False} for name, content in REFUSED_BYTES.items()]
    cases += [{"name": name, "pieces": pieces, "accepted": ok} for name, (pieces, ok) in PIECES.items()]
    return {"about": about, "cases": cases}


# -- paths -------------------------------------------------------------------------------------------------------------

PLAIN = [
    "labels.json", "golden/image.bin", "stage0.mlpackage/Data/com.apple.CoreML/model.mlmodel", ".hidden", "a b/c",
    "a..b", "...a", "caf\u00e9.bin", "\u732b/\U0001f600", "com", "com10", "console.txt", "nul_", "lpt",
    "x/manifest.json", "a" * 1024, "/".join("a" * 32), "%2e%2e/x", "~/x", "-rf", "$HOME",
]  # fmt: skip
NOT_PLAIN = [
    "", "/", "/etc/passwd", "a/", "a//b", ".", "..", "./a", "a/.", "../a", "a/../b", "a\\b", "C:x", "a:b", "a<b", "a>b",
    'a"b', "a|b", "a?b", "a*b", "a\0b", "a\nb", "a\x1bb", "a\x1f", "a\x7fb", "a.", "a ", "a./b", "a /b", "...", "con",
    "PRN", "aux", "Nul", "com0", "COM9", "lpt1", "com\u00b9", "LPT\u00b3.x", "nul.txt", "x/con.tar.gz", "manifest.json",
    "Manifest.JSON", "cafe\u0301.bin", "\u212b", "a" * 1025, "\u00e9" * 513, "/".join("a" * 33),
]  # fmt: skip
TOGETHER = [
    (["a", "b"], True), (["a/x", "a/y"], True), (["a/x", "b/x"], True), (["a", "A"], False), (["a/x", "A/y"], False),
    (["a", "a/b"], False), (["a/b", "a/b/c"], False), (["a/b", "A/B/c"], False), (["\u00e9", "\u00c9"], False),
    (["stra\u00dfe", "STRASSE"], False), (["x\u00ff", "X\u0178"], False), (["a.b", "a_b"], True),
]  # fmt: skip


def path_cases() -> dict[str, Any]:
    return {
        "about": "Plain paths of docs/bundle.md; whether paths may stand in one bundle together, else UnsafePathError.",
        "plain": PLAIN,
        "not_plain": NOT_PLAIN,
        "together": [{"paths": paths, "accepted": ok} for paths, ok in TOGETHER],
    }


# -- manifests ---------------------------------------------------------------------------------------------------------


def certificate(manifest: Manifest, point: int, **other: Any) -> Certificate:
    bound = {
        "artifact_sha256": manifest.artifacts_sha256,
        "data_sha256": "d" * 64,
        "thresholds": manifest.operating_points[point].thresholds,
        "measure": manifest.confidence.measure,
        "temperature": manifest.confidence.temperature,
        "attempts": 2,
    }
    return Certificate("accuracy_loss", "wsr", 0.01, 0.1, 200, **(bound | other))


def with_certificates(manifest: Manifest, *certificates: Certificate | None) -> Manifest:
    pairs = zip(manifest.operating_points, certificates, strict=True)
    points = tuple(dataclasses.replace(p, certificate=c) for p, c in pairs)
    return dataclasses.replace(manifest, operating_points=points, attempts={"d" * 64: 2})


def good(folder: Path) -> CascadeBundle:
    """The fake bundle, two of its points certified."""
    bundle = write_bundle(folder)
    return bundle.rewrite(lambda m: with_certificates(m, certificate(m, 0), None, certificate(m, 2)))


def sizes(manifest: dict[str, Any]) -> None:
    """A cascade over two resolutions, with float16 states and a file for one chip."""
    stage = manifest["stages"][2]
    stage["image"] = {"size": 8, "resize": 9}
    stage["inputs"][0]["shape"] = [1, 8, 8, 3]
    stage["compiled"] = [{"soc": "SM8650", "backend": "QNN", "file": "labels.json"}]
    for tensor in manifest["stages"][0]["outputs"][1], manifest["stages"][1]["inputs"][1]:
        tensor["dtype"] = "float16"
    manifest["golden"]["image"][2] = "golden/stage0.bin"


def at(manifest: dict[str, Any], path: str) -> tuple[Any, Any]:
    *way, last = path.split("/")
    for step in way:
        manifest = manifest[int(step) if isinstance(manifest, list) else step]
    return manifest, int(last) if isinstance(manifest, list) else last


def put(path: str, value: Any) -> Change:
    def change(manifest: dict[str, Any]) -> None:
        place, key = at(manifest, path)
        place[key] = value

    return change


def drop(path: str) -> Change:
    def change(manifest: dict[str, Any]) -> None:
        place, key = at(manifest, path)
        del place[key]

    return change


def many_stages(manifest: dict[str, Any]) -> None:
    """65 stages, each right in itself."""
    first = manifest["stages"][0]
    first["outputs"] = first["outputs"][:1]
    manifest["stages"] = [first | {"name": f"stage{k}"} for k in range(65)]
    manifest["confidence"]["temperature"] = [1.0] * 65
    for point in manifest["operating_points"]:
        point.update(thresholds=[0.0] * 65, exit_shares=[0.0] * 65, certificate=None)
    manifest["golden"].update(image=["golden/image.bin"] * 65, logits=["golden/stage0.bin"] * 65)


STATE = {"name": "tokens_0", "dtype": "float32", "shape": [1, 5, 2], "role": "state"}
LISTED = {"sha256": "0" * 64, "size": 1}
GOOD_MANIFESTS: dict[str, Change] = {
    "good": lambda m: None,
    "resolutions-float16-compiled": sizes,
    "no-attempts-no-golden": lambda m: (m.pop("attempts"), m["golden"].update(images=0, image=[], logits=[])),
    "integers-where-floats-are": put("operating_points/0/mean_macs", 1000),
    "thresholds-above-one": put("operating_points/1/thresholds", [5.0, 1.5, 0.0]),
    "free-config": put("model/config", {"anything": [1, {"at": "all"}], "": None}),
    "labels-of-strange-names": put("name", "\u001b[31m\u202e"),
}
BAD_MANIFESTS: dict[str, tuple[str, Change]] = {
    "newer-format": ("NewerFormatError", put("format", 3)),
    "newer-format-all-else-wrong": ("NewerFormatError", lambda m: (m.clear(), m.update(format=99, news=[]))),
    "format-0": ("ManifestError", put("format", 0)),
    "format-1.0": ("ManifestError", put("format", 1.0)),
    "format-true": ("ManifestError", put("format", True)),
    "format-string": ("ManifestError", put("format", "2")),
    "format-missing": ("ManifestError", drop("format")),
    "unknown-field": ("ManifestError", put("surprise", 1)),
    "unknown-field-deep": ("ManifestError", put("stages/1/inputs/0/unit", "px")),
    "format-1-field": ("ManifestError", put("operating_points/0/certified", True)),
    "field-missing": ("ManifestError", drop("stages/0/macs")),
    "attempts-missing-in-certificate": ("ManifestError", drop("operating_points/0/certificate/attempts")),
    "attempts-0-in-certificate": ("ManifestError", put("operating_points/0/certificate/attempts", 0)),
    "attempts-0": ("ManifestError", put("attempts", {"d": 0})),
    "attempts-1.0": ("ManifestError", put("attempts", {"d": 1.0})),
    "epsilon-1": ("ManifestError", put("operating_points/0/certificate/epsilon", 1.0)),
    "delta-null-of-wsr": ("ManifestError", put("operating_points/0/certificate/delta", None)),
    "measure-unknown": ("ManifestError", put("operating_points/0/certificate/measure", "luck")),
    "macs-0": ("ManifestError", put("stages/0/macs", 0)),
    "macs-1.0": ("ManifestError", put("stages/0/macs", 1.0)),
    "macs-true": ("ManifestError", put("stages/0/macs", True)),
    "macs-string": ("ManifestError", put("stages/0/macs", "1000")),
    "no-stages": ("ManifestError", put("stages", [])),
    "65-stages": ("ManifestError", many_stages),
    "logits-float16": ("ManifestError", put("stages/0/outputs/0/dtype", "float16")),
    "image-float32": ("ManifestError", put("stages/0/inputs/0/dtype", "float32")),
    "state-uint8": ("ManifestError", put("stages/0/outputs/1/dtype", "uint8")),
    "float64": ("ManifestError", put("stages/0/outputs/1/dtype", "float64")),
    "state-of-another-dtype": ("ManifestError", put("stages/1/inputs/1/dtype", "float16")),
    "state-of-another-shape": ("ManifestError", put("stages/1/inputs/1/shape", [1, 5, 3])),
    "state-of-another-name": ("ManifestError", put("stages/1/inputs/1/name", "tokens_9")),
    "state-of-the-stage-before-last": ("ManifestError", lambda m: m["stages"][2]["inputs"].append(STATE)),
    "state-of-the-first": ("ManifestError", lambda m: m["stages"][0]["inputs"].append(STATE)),
    "two-images": ("ManifestError", lambda m: m["stages"][0]["inputs"].append(m["stages"][0]["inputs"][0])),
    "no-logits": ("ManifestError", drop("stages/0/outputs/0")),
    "another-is-named-image": ("ManifestError", put("stages/1/inputs/1/name", "image")),
    "dimension-0": ("ManifestError", put("stages/0/outputs/1/shape", [1, 0, 2])),
    "image-of-another-shape": ("ManifestError", put("stages/0/inputs/0/shape", [1, 4, 5, 3])),
    "image-size-without-its-shape": ("ManifestError", put("stages/2/image", {"size": 8, "resize": 8})),
    "image-size-above-resize": ("ManifestError", put("stages/2/image", {"size": 4, "resize": 3})),
    "image-resize-8193": ("ManifestError", put("stages/2/image", {"size": 4, "resize": 8193})),
    "size-0": ("ManifestError", put("preprocessing/size", 0)),
    "resize-8193": ("ManifestError", put("preprocessing/resize", 8193)),
    "compiled-twice": (
        "ManifestError",
        put("stages/0/compiled", [{"soc": "a", "backend": "b", "file": f} for f in ("stage0.bin", "stage1.bin")]),
    ),
    "compiled-not-listed": (
        "ManifestError",
        put("stages/0/compiled", [{"soc": "a", "backend": "b", "file": "qnn.bin"}]),
    ),
    "classes-of-other-logits": ("ManifestError", put("model/classes", 4)),
    "temperature-0": ("ManifestError", put("confidence/temperature", [1.0, 0.0, 1.0])),
    "temperatures-too-few": ("ManifestError", put("confidence/temperature", [1.0, 1.0])),
    "thresholds-too-few": ("ManifestError", put("operating_points/1/thresholds", [0.5, 0.0])),
    "exit-shares-too-few": ("ManifestError", put("operating_points/1/exit_shares", [1.0])),
    "no-points": ("ManifestError", put("operating_points", [])),
    "two-points-of-one-name": ("ManifestError", put("operating_points/1/name", "eager")),
    "default-unknown": ("ManifestError", put("default_operating_point", "best")),
    "interval-of-three": ("ManifestError", put("operating_points/0/top1_interval", [0.1, 0.2, 0.3])),
    "golden-image-of-format-1": ("ManifestError", put("golden/image", "golden/image.bin")),
    "golden-images-too-few": ("ManifestError", put("golden/image", ["golden/image.bin"])),
    "golden-logits-too-few": ("ManifestError", drop("golden/logits/0")),
    "golden-images-negative": ("ManifestError", put("golden/images", -1)),
    "golden-not-listed": ("ManifestError", put("golden/image/2", "golden/other.bin")),
    "sha256-in-capitals": ("ManifestError", put("files/labels.json/sha256", "A" * 64)),
    "sha256-too-short": ("ManifestError", put("files/labels.json/sha256", "0" * 63)),
    "size-negative": ("ManifestError", put("files/labels.json/size", -1)),
    "labels-not-listed": ("ManifestError", put("labels", "names.json")),
    "labels-of-over-1-mib": ("ManifestError", put("files/labels.json/size", 2**20 + 1)),
    "artifact-not-listed": ("ManifestError", put("stages/1/artifact", "stage9.bin")),
    "labels-are-a-folder": ("ManifestError", put("labels", "golden")),
    "labels-are-the-artifacts-folder": (
        "ManifestError",
        lambda m: (put("labels", "golden")(m), put("stages/0/artifact", "golden")(m)),
    ),
    "compiled-is-the-artifacts-folder": (
        "ManifestError",
        lambda m: (
            put("stages/0/artifact", "golden")(m),
            put("stages/0/compiled", [{"soc": "sm8550", "backend": "QNNExecutionProvider", "file": "golden"}])(m),
        ),
    ),
    "trained-on-holdout-0": (
        "ManifestError",
        put("model/trained_on", {"source": "s", "fingerprint": "f", "classes": ["a"], "holdout": 0, "seed": 0}),
    ),
    "path-up": ("UnsafePathError", lambda m: m["files"].update({"../outside": LISTED})),
    "path-absolute": ("UnsafePathError", lambda m: m["files"].update({"/etc/passwd": LISTED})),
    "path-reserved": ("UnsafePathError", lambda m: m["files"].update({"golden/aux.bin": LISTED})),
    "path-same-but-for-case": ("UnsafePathError", lambda m: m["files"].update({"LABELS.json": LISTED})),
    "path-folder-of-another": ("UnsafePathError", lambda m: m["files"].update({"stage0.bin/x": LISTED})),
    "path-unsafe-and-needed-missing": (
        "UnsafePathError",
        lambda m: (m["files"].update({"a\\b": LISTED}), m.update(labels="names.json")),
    ),
}  # fmt: skip


def manifest_cases(folder: Path, base: CascadeBundle) -> dict[str, Any]:
    about = (
        "`error` is what opening a folder says that holds this file alone, as manifest.json: MissingFileError (of the "
        "first file that it lists) where the manifest is right. `uncertified`: why each point is, null where its "
        "certificate holds. `artifacts_sha256`: the hash of the artifacts."
    )
    cases: list[dict[str, Any]] = []
    text = (base.path / MANIFEST).read_text()

    def write(name: str, content: str | bytes, error: str, **more: Any) -> None:
        (folder / f"{name}.json").write_bytes(content.encode() if isinstance(content, str) else content)
        cases.append({"file": f"{name}.json", "error": error, **more})

    def changed(change: Change) -> str:
        manifest = copy.deepcopy(json.loads(text))
        change(manifest)
        return json.dumps(manifest, separators=(",", ":"))

    m = base.manifest
    for name, change in GOOD_MANIFESTS.items():
        more: dict[str, Any] = {"artifacts_sha256": m.artifacts_sha256} if name == "good" else {}
        write(name, changed(change), "MissingFileError", **more)
    other = (0.25, 0.5, 0.0)
    voided = {
        "certificates": (certificate(m, 0), None, certificate(m, 2)),
        "certificates-of-other-artifacts": (certificate(m, 0, artifact_sha256="0" * 64), None, certificate(m, 2)),
        "certificates-of-other-thresholds": (
            certificate(m, 0, thresholds=other), None, certificate(m, 2, thresholds=()),
        ),
        "certificates-of-other-measures": (certificate(m, 0, measure="margin"), None, certificate(m, 2)),
        "certificates-of-other-temperatures": (certificate(m, 0, temperature=other), None, certificate(m, 2)),
        "certificates-the-first-reason": (
            certificate(m, 0, artifact_sha256="0" * 64, thresholds=other, measure="margin", temperature=other),
            None,
            certificate(m, 2, measure="entropy", temperature=other),
        ),
    }  # fmt: skip
    for name, certificates in voided.items():
        made = with_certificates(m, *certificates)
        reasons = {p.name: made.uncertified(p.name) for p in made.operating_points}
        write(name, to_json(made), "MissingFileError", uncertified=reasons)
    for name, (error, change) in BAD_MANIFESTS.items():
        write(name, changed(change), error)
    compact = changed(lambda m: None)
    write("byte-order-mark", "\ufeff" + compact, "ManifestError")
    write("key-twice", compact.replace('"name":"fake"', '"name":"fake","name":"fake"', 1), "ManifestError")
    write("not-utf-8", compact.encode().replace(b"fake", b"f\xffke", 1), "ManifestError")
    write("surrogate", compact.replace("fake", "\\ud800", 1), "ManifestError")
    write("infinite", compact.replace('"mean_macs":1000.0', '"mean_macs":1e400', 1), "ManifestError")
    write("newer-and-not-strict", '{"format": 99, "format": 99}', "ManifestError")
    write("list", "[]", "ManifestError")
    write("empty", "", "ManifestError")
    return {"about": about, "cases": cases}


# -- .zips -------------------------------------------------------------------------------------------------------------


class Zip:
    """A .zip being built, entry by entry; then bytes that may be damaged."""

    def __init__(self, entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
        self.buffer = io.BytesIO()
        self.archive = zipfile.ZipFile(self.buffer, "w", method)
        for name, content in entries.items():
            self.add(name, content, method)

    def add(self, name: str, content: bytes, method: int = zipfile.ZIP_STORED, mode: int = 0o100644) -> Zip:
        info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        info.compress_type, info.external_attr, info.create_system = method, mode << 16, 3
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a name twice
            self.archive.writestr(info, content)
        return self

    @property
    def content(self) -> bytes:
        self.archive.close()
        return self.buffer.getvalue()


def format_1(entries: dict[str, bytes]) -> dict[str, bytes]:
    """As dvt-edge 0.1.0 wrote it."""
    m = json.loads(entries[MANIFEST])
    m["format"] = 1
    del m["attempts"]
    m["golden"]["image"] = m["golden"]["image"][0]
    for stage in m["stages"]:
        del stage["image"], stage["compiled"]
    for point in m["operating_points"]:
        point["certified"] = point["certificate"] is not None
        for name in ("thresholds", "measure", "temperature", "attempts"):
            (point["certificate"] or {}).pop(name, None)
    return entries | {MANIFEST: json.dumps(m, indent=1).encode()}


def zips(entries: dict[str, bytes]) -> dict[str, tuple[str | None, bytes]]:
    """name -> error, bytes."""
    stored = Zip(entries, zipfile.ZIP_STORED).content
    directory = stored.index(b"PK\x01\x02")
    renamed, in_both = b"labels.json", b"labels\0json"
    encrypted = bytearray(stored)
    for at_ in (stored.index(b"PK\x03\x04") + 6, directory + 8):
        encrypted[at_] |= 1
    utf8 = Zip(entries).add("zz\u00e9.bin", b"").content
    crc = bytearray(stored)
    crc[stored.index(bytes([1]) * 100)] ^= 1  # in stage1.bin
    other = {n: c for n, c in entries.items() if n != "labels.json"}
    return {
        "good-deflated": (None, Zip(entries).content),
        "good-stored": (None, stored),
        "good-with-folders": (None, Zip(entries).add("golden/", b"", mode=0o40755).add("empty/", b"").content),
        "good-with-comment": (None, stored[:-2] + b"\5\0hello"),
        "format-1": ("OldFormatError", Zip(format_1(entries)).content),
        "changed-byte": ("ChangedFileError", Zip(entries | {"stage1.bin": b"\2" + bytes([1]) * 99}).content),
        "changed-size": ("ChangedFileError", Zip(entries | {"stage1.bin": bytes([1]) * 101}).content),
        "missing-file": ("MissingFileError", Zip(other).content),
        "unlisted-file": ("MissingFileError", Zip(entries).add("extra.bin", b"x").content),
        "stale-temporary": ("MissingFileError", Zip(entries).add(".manifest.json.abcd1234", b"x").content),
        "no-manifest": ("ManifestError", Zip({n: c for n, c in entries.items() if n != MANIFEST}).content),
        "a-folder-around": ("ManifestError", Zip({f"bundle/{n}": c for n, c in entries.items()}).content),
        "bzip2": ("ArchiveError", Zip(entries, zipfile.ZIP_BZIP2).content),
        "lzma": ("ArchiveError", Zip(entries, zipfile.ZIP_LZMA).content),
        "encrypted": ("ArchiveError", bytes(encrypted)),
        "wrong-crc": ("ArchiveError", bytes(crc)),
        "cut-short": ("ArchiveError", stored[: len(stored) // 2]),
        "no-zip": ("ArchiveError", b"not a zip at all"),
        "no-bytes": ("ArchiveError", b""),
        "twice": ("ArchiveError", Zip(entries).add("labels.json", entries["labels.json"]).content),
        "manifest-twice": ("ArchiveError", Zip(entries).add(MANIFEST, entries[MANIFEST]).content),
        "other-name-in-the-local-header": ("ArchiveError", LOCAL_LABELS.sub(rb"\1labelz.json", stored)),
        "link": ("UnsafePathError", Zip(entries).add("link", b"/etc/passwd", mode=0o120777).content),
        "name-with-nul": ("UnsafePathError", stored.replace(renamed, in_both)),
        "name-not-utf-8": ("UnsafePathError", utf8.replace("zz\u00e9".encode(), b"zz\xff\xfe")),
        "name-without-the-utf-8-flag": ("UnsafePathError", no_flag(utf8)),
        "name-empty": ("UnsafePathError", nameless(Zip(entries).add("x", b"").content)),
        "name-of-a-slash": ("UnsafePathError", Zip(entries).add("x", b"").content.replace(b"x\x50\x4b", b"/\x50\x4b")),
        "name-up": ("UnsafePathError", Zip(entries).add("../x", b"").content),
        "name-absolute": ("UnsafePathError", Zip(entries).add("/x", b"").content),
        "name-control-character": ("UnsafePathError", Zip(entries).add("a\x1b[31m", b"").content),
        "folder-up": ("UnsafePathError", Zip(entries).add("../", b"").content),
        "names-that-differ-by-case": ("UnsafePathError", Zip(entries).add("Labels.json", b"").content),
        "manifest-in-another-case": ("UnsafePathError", Zip(entries).add("MANIFEST.json", b"").content),
        "file-that-is-a-folder": ("UnsafePathError", Zip(entries).add("labels.json/x", b"").content),
    }


def nameless(content: bytes) -> bytes:
    """The last entry, whose name is one byte, without it; the sizes and places that follow put right."""
    local, central, end = (content.rindex(mark) for mark in (b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"))
    start = int.from_bytes(content[end + 16 : end + 20], "little")
    made = bytearray(content)
    made[end + 16 : end + 20] = (start - 1).to_bytes(4, "little")
    made[end + 12 : end + 16] = (end - start - 1).to_bytes(4, "little")
    made[central + 28], made[local + 26] = 0, 0
    del made[central + 46], made[local + 30]
    return bytes(made)


def no_flag(content: bytes) -> bytes:
    """The last entry without bit 11 in both of its headers."""
    made = bytearray(content)
    made[content.rindex(b"PK\x03\x04") + 7] &= ~8
    made[content.rindex(b"PK\x01\x02") + 9] &= ~8
    return bytes(made)


RECIPES = [  # too large to keep; `content` is a byte and how often it stands
    {"name": "bomb", "entries": [{"name": MANIFEST, "method": "deflate", "byte": 48, "times": 50_000_000}]},
    {"name": "many", "empty_entries": 10_001},
]


def bundle_cases(folder: Path, base: CascadeBundle) -> dict[str, Any]:
    about = (
        "`error` is what opening this .zip says; null: it opens. Python reads format 1 as well and opens format-1.zip, "
        "its points uncertified. `recipes` are .zips to build: entries of one byte, `times` over, packed by `method`; "
        "or so many empty entries, named 0, 1, 2 ...; each an ArchiveError."
    )
    entries = {n: (base.path / n).read_bytes() for n in (MANIFEST, *sorted(base.manifest.files))}
    cases = []
    for name, (error, content) in zips(entries).items():
        (folder / f"{name}.zip").write_bytes(content)
        cases.append({"file": f"{name}.zip", "error": error})
    reasons = {p.name: base.uncertified(p.name) for p in base.manifest.operating_points}
    return {"about": about, "uncertified": reasons, "cases": cases, "recipes": RECIPES}


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        base = good(Path(temporary) / "bundle")
        for name in ("json", "manifests", "bundles"):
            shutil.rmtree(GOLDEN / name, ignore_errors=True)
            (GOLDEN / name).mkdir()
        indices = {
            "json/index.json": json_cases(),
            "manifests/paths.json": path_cases(),
            "manifests/index.json": manifest_cases(GOLDEN / "manifests", base),
            "bundles/index.json": bundle_cases(GOLDEN / "bundles", base),
        }
    for name, index in indices.items():
        (GOLDEN / name).write_text(json.dumps(index, indent=1) + "\n")


if __name__ == "__main__":
    main()
