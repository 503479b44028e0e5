"""Golden vectors: inputs that are committed, and what the reference makes of them, for every language to reproduce.

A family is a function from a folder to its expectations: the files that it computes anew from the committed inputs.
`make_golden` writes them, `check_golden` holds those that are there against them. docs/golden.md lists the files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvt_edge.atomic import write_bytes
from dvt_edge.data.reading import sample
from dvt_edge.device.bundle import CascadeBundle
from dvt_edge.device.decoding import open_rgb
from dvt_edge.device.device_log import ErrorRecord, ImageRecord, LogHeader, StateRecord, encode
from dvt_edge.device.exit_rule import confidence, decide, last_stage, leaves
from dvt_edge.device.preprocess import Plane, frame_to_rgb, preprocess
from dvt_edge.device.runtime import Runtime
from dvt_edge.device.schema import parse_json, require, shorten
from dvt_edge.errors import DataError, NotFiniteError, one_line
from dvt_edge.machine import describe

Files = dict[str, bytes]  # path below the golden folder -> content
Exporter = Callable[[str], CascadeBundle]  # of a target's name
RUN_TARGETS = ("onnx-int8", "onnx-fp32")
RUN_IMAGES = 32
INT8_TOLERANCE, FLOAT_TOLERANCE = 0.25, 1e-4  # of a logit; kernels of another processor are within 0.15 and 1e-5
CONFIDENCE_TOLERANCE = 1e-5  # from the same logits


@dataclass(frozen=True)
class Family:
    """`differs` says in words where a JSON file that is there is not what was computed; None: bytes are equal."""

    name: str
    expect: Callable[[Path], Files]
    differs: Callable[[Any, Any], str | None] | None = None


def families(export: Exporter | None) -> tuple[Family, ...]:
    """All of them; those of whole runs only with an `export`, which takes a minute."""
    known = [
        Family("preprocess", preprocess_files),
        Family("camera", camera_files),
        Family("exit rule", exit_rule_files, partial(differs, tolerance=CONFIDENCE_TOLERANCE)),
        Family("device log", device_log_files),
    ]
    for target in RUN_TARGETS if export else ():
        tolerance = INT8_TOLERANCE if "int8" in target else FLOAT_TOLERANCE
        known.append(Family(f"run of {target}", run_of(target, export, tolerance), run_differs))
    return tuple(known)


def make_golden(folder: Path, export: Exporter | None) -> list[str]:
    """Write every expectation; the paths of the files that changed."""
    changed = []
    for family in families(export):
        for name, content in expectations(family, folder).items():
            path = folder / name
            if not path.is_file() or path.read_bytes() != content:
                write_bytes(path, content)
                changed.append(name)
    return changed


def check_golden(folder: Path, export: Exporter | None) -> list[str]:
    """What Python does not reproduce, each in a line. Raises DataError for inputs that are missing or damaged."""
    problems = []
    for family in families(export):
        for name, content in expectations(family, folder).items():
            path = folder / name
            if not path.is_file():
                problems.append(f"{name}: missing")
            elif family.differs is None or path.suffix != ".json":
                if path.read_bytes() != content:
                    problems.append(f"{name}: other bytes than the reference gives")
            elif where := said(family.differs, path, parse_json(content, name)):
                problems.append(f"{name}: {where}")
    return problems


DAMAGE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)  # what code meets in values of odd types


def expectations(family: Family, folder: Path) -> Files:
    """What the reference gives. Raises DataError for inputs that are not as they were committed."""
    try:
        with np.errstate(over="ignore"):  # of hostile numbers, which become infinite in float32
            return family.expect(folder)
    except DAMAGE as error:
        raise DataError(f"{folder}: the inputs of {family.name} are damaged ({one_line(error)!r})") from error


def said(differs: Callable[[Any, Any], str | None], path: Path, expected: Any) -> str | None:
    found = read(path)
    try:
        return differs(found, expected)
    except DAMAGE as error:
        return f"damaged ({one_line(error)!r})"


def differs(found: Any, expected: Any, tolerance: float, where: str = "") -> str | None:
    """Where two JSON values differ first, in words; numbers that are not integers may by `tolerance`."""
    if isinstance(found, dict) and isinstance(expected, dict):
        if found.keys() != expected.keys():
            return f"{where or 'it'} has the fields {sorted(found)}; expected {sorted(expected)}"
        pairs = [(f"{where}.{key}", found[key], expected[key]) for key in expected]
    elif isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        pairs = [(f"{where}[{k}]", *pair) for k, pair in enumerate(zip(found, expected, strict=True))]
    else:
        numbers = {type(found), type(expected)} <= {int, float}
        close = numbers and float in (type(found), type(expected)) and abs(found - expected) <= tolerance
        same = close or (type(found) is type(expected) and found == expected)
        return None if same else f"{where or 'it'} is {found!r}; the reference gives {expected!r}"
    return next((words for place, a, b in pairs if (words := differs(a, b, tolerance, place))), None)


def read(path: Path) -> Any:
    return parse_json(content_of(path), str(path))


def content_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); the inputs of golden vectors are committed"
        ) from error


def as_json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


# -- pixels ------------------------------------------------------------------------------------------------------------


MOST_SIDE = 1024


def pixel_cases(folder: Path, name: str) -> list[dict[str, Any]]:
    """The cases of a folder; ValueError where a name or size cannot be meant."""
    cases: list[dict[str, Any]] = read(folder / name / "cases.json")["cases"]
    for case in cases:
        for file in (case["name"], case.get("file", "")):
            require(file.isprintable() and not set(file) & set("/\\"), f"the name {shorten(file)}")
        sides = [case[side] for side in ("width", "height", "size", "resize")]
        require(all(type(side) is int and 0 < side <= MOST_SIDE for side in sides), f"{case['name']}: sides {sides}")
    return cases


def preprocess_files(folder: Path) -> Files:
    """Of each image, the upright RGB that it decodes to and the pixels that a bundle takes."""
    found: Files = {}
    for case in pixel_cases(folder, "preprocess"):
        name = case["name"]
        file = folder / "preprocess" / case.get("file", f"{name}.png")
        found[f"preprocess/{name}.rgb"] = open_rgb(file).tobytes()
        found[f"preprocess/{name}.expected"] = preprocess(file, case["size"], case["resize"]).tobytes()
    return found


def camera_files(folder: Path) -> Files:
    """Of each frame, the upright RGB that it is and the pixels that a bundle takes."""
    found: Files = {}
    for case in pixel_cases(folder, "camera"):
        content = content_of(folder / "camera" / f"{case['name']}.yuv")
        planes = [
            Plane(content[p["offset"] : p["offset"] + p["bytes"]], p["row_stride"], p["pixel_stride"])
            for p in (case["y"], case["u"], case["v"])
        ]
        y, u, v = planes
        require(case["rotation"] in (0, 90, 180, 270), f"rotation {shorten(case['rotation'])}")
        rgb = frame_to_rgb(y, u, v, case["width"], case["height"], case["rotation"], case["range"])
        found[f"camera/{case['name']}.rgb"] = rgb.tobytes()
        found[f"camera/{case['name']}.expected"] = preprocess(rgb, case["size"], case["resize"]).tobytes()
    return found


# -- the exit rule -----------------------------------------------------------------------------------------------------


def numbers(row: Sequence[float | str]) -> NDArray[np.float32]:
    """JSON has no NaN or infinity: they stand as strings."""
    return np.array([float(value) for value in row], dtype=np.float32)


def exit_rule_files(folder: Path) -> Files:
    golden = read(folder / "exit_rule.json")
    cases = [case | {"expected": answer_to(case)} for case in golden["cases"]]
    return {"exit_rule.json": as_json(golden | {"cases": cases})}


def answer_to(case: dict[str, Any]) -> dict[str, Any] | str:
    values, labels = [], []
    last = last_stage(case["max_stage"], len(case["logits"]))
    for stage, row in enumerate(case["logits"]):
        logits = numbers(row)
        values.append(confidence(logits, case["temperature"][stage], case["measure"]))
        labels.append(int(logits.argmax()))
        if leaves(values[-1], stage, case["thresholds"], last):
            break
    try:
        found = decide(values, labels)
    except NotFiniteError:
        return "error"
    return {
        "exit": found.exit,
        "label": found.label,
        "confidence": round(found.confidence, 7),
        "degraded": found.degraded,
    }


# -- the device log ----------------------------------------------------------------------------------------------------


def device_log_files(folder: Path) -> Files:
    """The bytes of a header and records. In them logits and confidences may be strings: NaN and infinities."""
    golden = read(folder / "device_log.json")
    lines = [LogHeader(**golden["header"] | {"backends": tuple(golden["header"]["backends"])})]
    records = [record_of(k, value) for k, value in enumerate(golden["records"])]
    return {"device_log.jsonl": b"".join(map(encode, [*lines, *records]))}


def record_of(seq: int, value: dict[str, Any]) -> ImageRecord | StateRecord | ErrorRecord:
    values = value | {"seq": seq}
    if value["event"] in ("idle", "state"):
        return StateRecord(**values)
    del values["event"]
    if value["event"] == "error":
        return ErrorRecord(**values)
    for name in ("logits", "top5"):
        values[name] = tuple(numbers(row) for row in value.get(name, ()))
    return ImageRecord(**values | {"confidence": tuple(float(c) for c in value["confidence"])})


# -- whole runs --------------------------------------------------------------------------------------------------------


def run_of(target: str, export: Exporter | None, tolerance: float) -> Callable[[Path], Files]:
    """The answers of the shipped cascade, exported for `target`, to the first images of the package's sample."""

    def expect(folder: Path) -> Files:
        assert export is not None
        bundle = export(target)
        manifest, runtime = bundle.manifest, Runtime(bundle)
        images = np.stack([runtime.preprocess(image) for image in sample("cifar10-test").first(RUN_IMAGES)])
        logits = np.stack([np.stack(runtime.logits(pixels)) for pixels in images])
        spec = manifest.confidence
        points = {}
        for point in manifest.operating_points:
            rows = [answer(z, point.thresholds, spec.temperature, spec.measure) for z in logits]
            points[point.name] = {"thresholds": list(point.thresholds), "answers": rows}
        about = (
            f"The shipped cascade, exported for {target}, on {RUN_IMAGES} images: runs/images.bin, uint8 (images, "
            "size, size, 3). `logits` (images, exits, classes) hold to `tolerance`, and so confidences to half of it, "
            "and exits and labels wherever no confidence comes that close to its threshold. `answers` are what the "
            "exit rule makes of these very logits. The bundle is exported anew where it is needed; `artifact_sha256` "
            "is its artifacts' hash with these tools on this machine, elsewhere it may be another."
        )
        golden = {
            "about": about,
            "target": target,
            "tolerance": tolerance,
            "artifact_sha256": bundle.artifacts_sha256,
            "tools": manifest.tools,
            "machine": describe(),
            "measure": spec.measure,
            "temperature": list(spec.temperature),
            "logits": [[[float(f"{v:.7g}") for v in exit_] for exit_ in image] for image in logits.tolist()],
            "points": points,
        }
        return {"runs/images.bin": images.tobytes(), f"runs/{target}.json": as_json(golden)}

    return expect


def run_differs(found: dict[str, Any], expected: dict[str, Any]) -> str | None:
    """Where a run's file is not what this machine gives, in words.

    Processors differ in kernels, and so in the thresholds that an export finds: logits are held to the tolerance, and
    the answers to the logits and thresholds that stand in the file. The hash is compared where it was made alike.
    """
    if found.keys() != expected.keys():
        return differs(found, expected, 0)
    alike = ["about", "target", "tolerance", "measure", "temperature"]
    if (found["tools"], found["machine"]) == (expected["tools"], expected["machine"]):
        alike.append("artifact_sha256")
    for name in alike:
        if words := differs(found[name], expected[name], 0, name):
            return words
    if words := differs(found["logits"], expected["logits"], expected["tolerance"], "logits"):
        return words
    if (mine := list(found["points"])) != (now := list(expected["points"])):
        return f"points are {mine}; the reference gives {now}"
    logits = [[numbers(row) for row in image] for image in found["logits"]]
    for name, point in found["points"].items():
        again = [answer(z, point["thresholds"], found["temperature"], found["measure"]) for z in logits]
        if words := differs(point["answers"], again, CONFIDENCE_TOLERANCE, f"points.{name}.answers"):
            return words
    return None


def answer(
    logits: Sequence[NDArray[np.float32]], thresholds: Sequence[float], temperature: Sequence[float], measure: Any
) -> dict[str, Any]:
    """One image's answer from the logits of every exit, (classes,) each."""
    values = [confidence(z, t, measure) for z, t in zip(logits, temperature, strict=True)]
    last = len(values) - 1
    ran = next(k for k in range(len(values)) if leaves(values[k], k, thresholds, last))
    found = decide(values[: ran + 1], [int(z.argmax()) for z in logits[: ran + 1]])
    return {"exit": found.exit, "label": found.label, "confidence": round(found.confidence, 7)}
