"""What a bundle says about itself: manifest.json, as frozen dataclasses.

These classes are the one definition. `manifest.schema.json` is generated from them with pydantic (`json_schema`);
reading (`dvt_edge.device.schema`) needs only the standard library: onnxruntime and numpy suffice to run a bundle.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from dvt_edge.device.operating_point import Measure, OperatingPoint
from dvt_edge.device.power_policy import PowerPolicy
from dvt_edge.device.schema import dump_json, from_json, parse_json, require, schema_of
from dvt_edge.device.trained_on import TrainedOn
from dvt_edge.errors import ManifestError, NewerFormatError, SchemaError

FORMAT = 2
OLDEST = 1  # that is read
MAX_STAGES = 64
MAX_FILES = 10_000  # with the manifest
MANIFEST = "manifest.json"
MAX_SIDE = 8192  # pixels

Dtype = Literal["uint8", "float16", "float32"]
Role = Literal["image", "state", "logits"]
DTYPES: dict[Role, tuple[Dtype, ...]] = {"image": ("uint8",), "logits": ("float32",), "state": ("float16", "float32")}


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a stage. A state input takes the output of the same name of an earlier stage."""

    name: str
    dtype: Dtype
    shape: tuple[int, ...]
    role: Role

    def __post_init__(self) -> None:
        require(all(size > 0 for size in self.shape), f"tensor {self.name!r} has shape {self.shape}")


@dataclass(frozen=True)
class Operators:
    """Operators of a converted stage: how many the backend takes, and what is left to the engine's own kernels."""

    delegated: int
    undelegated: int
    undelegated_kinds: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageSize:
    """`size` pixels a side, cut from the centre after the shorter side became `resize`: docs/preprocess.md."""

    size: int
    resize: int

    def __post_init__(self) -> None:
        ok = 0 < self.size <= self.resize <= MAX_SIDE
        require(ok, f"size {self.size}, resize {self.resize}; expected 0 < size <= resize <= {MAX_SIDE}")


@dataclass(frozen=True)
class Compiled:
    """A stage compiled for one chip, beside its artifact: an NPU's context binary, say."""

    soc: str
    backend: str
    file: str  # path in the bundle


@dataclass(frozen=True)
class StageSpec:
    name: str
    artifact: str  # path in the bundle: a file, or the folder of an .mlpackage
    grid: int  # tokens a side
    macs: int  # multiply-accumulates for one image
    parameters: int
    inputs: tuple[TensorSpec, ...]  # in the order in which the artifact takes them
    outputs: tuple[TensorSpec, ...]
    operators: Operators
    image: ImageSize | None = None  # of this stage's pixels; null: the preprocessing's
    compiled: tuple[Compiled, ...] = ()

    def __post_init__(self) -> None:
        roles = [t.role for t in self.inputs]
        require(roles.count("image") == 1 and "logits" not in roles, f"{self.name}: inputs of roles {roles}")
        named = all((t.name == "image") == (t.role == "image") for t in self.inputs)
        require(
            named, f"{self.name}: inputs {[t.name for t in self.inputs]}; expected the image, and it alone, as 'image'"
        )
        roles = [t.role for t in self.outputs]
        require(roles.count("logits") == 1 and "image" not in roles, f"{self.name}: outputs of roles {roles}")
        for tensor in (*self.inputs, *self.outputs):
            found = f"{self.name}: tensor {tensor.name!r} of role {tensor.role} is {tensor.dtype}"
            require(tensor.dtype in DTYPES[tensor.role], f"{found}; expected {' or '.join(DTYPES[tensor.role])}")
        require(self.macs > 0, f"{self.name}: macs {self.macs}; expected above 0")
        chips = [(c.soc, c.backend) for c in self.compiled]
        require(len(set(chips)) == len(chips), f"{self.name}: two compiled files for one chip and backend")

    @property
    def files(self) -> tuple[str, ...]:
        """What it runs: its artifact, a file or a folder, and what is compiled of it."""
        return (self.artifact, *(c.file for c in self.compiled))


@dataclass(frozen=True)
class ModelSpec:
    name: str
    config: dict[str, Any]
    checkpoint_sha256: str | None
    classes: int
    trained_on: TrainedOn | None = None  # null: not known


@dataclass(frozen=True)
class Preprocessing:
    """See docs/preprocess.md. The image tensor is `layout`, uint8 RGB, normalised inside the stages."""

    size: int
    resize: int  # shorter side before the centre crop
    layout: Literal["NHWC", "image"]  # "image": a Core ML image input of the same pixels
    color: Literal["RGB"] = "RGB"
    resample: Literal["bicubic-antialiased"] = "bicubic-antialiased"
    mean: tuple[float, ...] = ()  # inside the graph already; for the record
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        ImageSize(self.size, self.resize)


@dataclass(frozen=True)
class ConfidenceSpec:
    """How each exit's confidence is computed: docs/exit-rule.md."""

    measure: Measure
    temperature: tuple[float, ...]  # one per exit

    def __post_init__(self) -> None:
        require(all(math.isfinite(t) and t > 0 for t in self.temperature), f"temperature {self.temperature}")


@dataclass(frozen=True)
class CalibrationRecord:
    """Where the operating points come from. The three parts of the images are disjoint, drawn by `seed`."""

    data: str
    data_sha256: str
    artifact_sha256: str
    seed: int
    searched: int  # images that thresholds and temperatures were found on
    certified: int  # images that certificates were tested on
    measured: int  # images that the points' figures are of
    objectives: tuple[str, ...]
    cost_unit: Literal["macs", "ms", "mJ"]
    cost_per_exit: tuple[float, ...]  # cumulative
    cost_source: str


@dataclass(frozen=True)
class ExitQuality:
    """One exit of the chained artifacts against PyTorch in float32, on the same images."""

    max_abs_error: float
    sqnr_db: float | None  # null: identical outputs
    cosine: float
    top1_agreement: float
    top1: float | None
    reference_top1: float | None


@dataclass(frozen=True)
class Verification:
    """`verified` is true only where the artifacts ran, on `backend`, and kept their recipe's bounds."""

    verified: bool
    reason: str
    images: int
    data: str
    machine: str
    exits: tuple[ExitQuality, ...] = ()
    exit_agreement: float | None = None  # share of images that leave at the same exit as in PyTorch


@dataclass(frozen=True)
class Golden:
    """Raw little-endian arrays, first axis the images: per stage its uint8 pixels, per exit its float32 logits."""

    images: int
    image: tuple[str, ...]  # a path for each stage, the same one again where its pixels are the same
    logits: tuple[str, ...]
    source: Literal["artifact", "pytorch"]  # who computed the logits
    tolerance: float

    def __post_init__(self) -> None:
        ok = self.images >= 0 and self.tolerance >= 0
        require(ok, f"images {self.images}, tolerance {self.tolerance}; expected 0 or more")


@dataclass(frozen=True)
class FileSpec:
    sha256: str
    size: int

    def __post_init__(self) -> None:
        require(len(self.sha256) == 64 and set(self.sha256) <= set("0123456789abcdef"), f"sha256 {self.sha256!r}")
        require(self.size >= 0, f"size {self.size}")


@dataclass(frozen=True)
class Manifest:
    format: int
    name: str
    target: str  # the recipe's name
    engine: Literal["onnxruntime", "executorch", "coreml", "litert"]
    backend: str  # what must run the stages: a provider or delegate
    model: ModelSpec
    preprocessing: Preprocessing
    stages: tuple[StageSpec, ...]
    confidence: ConfidenceSpec
    operating_points: tuple[OperatingPoint, ...]  # by rising cost
    default_operating_point: str
    verification: Verification
    labels: str  # path of a JSON list of class names
    golden: Golden
    tools: dict[str, str]
    files: dict[str, FileSpec]
    calibration: CalibrationRecord | None = None
    policy: PowerPolicy | None = None  # docs/power-policy.md; null: the default operating point, always
    attempts: dict[str, int] = field(default_factory=dict)  # calibrations of these artifacts, by data_sha256

    def __post_init__(self) -> None:
        exits = len(self.stages)
        require(0 < exits <= MAX_STAGES, f"{exits} stages; expected 1 to {MAX_STAGES}")
        require(len(self.files) < MAX_FILES, f"{len(self.files)} files; expected at most {MAX_FILES - 1}")
        require(all(n >= 1 for n in self.attempts.values()), f"attempts {self.attempts}; expected at least 1")
        require(len(self.confidence.temperature) == exits, f"a temperature for each of {exits} exits is expected")
        require(len(self.operating_points) > 0, "no operating points")
        for point in self.operating_points:
            same = len(point.thresholds) == len(point.exit_shares) == exits
            require(same, f"{point.name!r}: a threshold and a share for each of {exits} exits is expected")
        points = [point.name for point in self.operating_points]
        require(len(set(points)) == len(points), f"operating points {points}: two of one name")
        require(self.default_operating_point in points, f"no operating point {self.default_operating_point!r}")
        for name in self.policy.points if self.policy else ():
            require(name in points, f"policy: no operating point {name!r}; the bundle has: {', '.join(points)}")
        golden = exits if self.golden.images else 0
        for what, paths in (("logits", self.golden.logits), ("images", self.golden.image)):
            require(len(paths) == golden, f"{len(paths)} files of golden {what}; expected {golden}")
        before: tuple[TensorSpec, ...] = ()
        for index, stage in enumerate(self.stages):
            size = self.image_size(index).size
            for tensor in (*stage.inputs, *stage.outputs):
                shape = {"image": (1, size, size, 3), "logits": (1, self.model.classes)}.get(tensor.role, tensor.shape)
                require(
                    tensor.shape == shape, f"{stage.name}: {tensor.name!r} of shape {tensor.shape}; expected {shape}"
                )
            for tensor in (t for t in stage.inputs if t.role == "state"):
                words = f"{tensor.name!r} of {tensor.dtype} {tensor.shape}"
                require(tensor in before, f"{stage.name}: the stage before does not give the state {words}")
            before = stage.outputs

    @property
    def needed_files(self) -> tuple[str, ...]:
        """Every path of a file that the manifest names outside `files`, but artifacts, which may be folders."""
        golden = (*self.golden.image, *self.golden.logits)
        return (self.labels, *golden, *(compiled.file for stage in self.stages for compiled in stage.compiled))

    def image_size(self, stage: int) -> ImageSize:
        """Of the pixels that a stage takes."""
        return self.stages[stage].image or ImageSize(self.preprocessing.size, self.preprocessing.resize)

    @property
    def same_pixels(self) -> bool:
        """Whether all stages take pixels of one size."""
        return len({self.image_size(k) for k in range(len(self.stages))}) == 1

    def artifact_files(self, stage: int) -> tuple[str, ...]:
        """The paths in `files` of a stage's artifact: itself, or all below its folder."""
        name = self.stages[stage].artifact
        return tuple(path for path in self.files if path == name or path.startswith(name + "/"))

    def files_of(self, stage: int) -> tuple[str, ...]:
        """The paths in `files` of what a stage runs, sorted by the bytes of their UTF-8."""
        compiled = [c.file for c in self.stages[stage].compiled]
        return tuple(sorted({*self.artifact_files(stage), *compiled}, key=str.encode))

    @cached_property
    def artifacts_sha256(self) -> str:
        """One hash of all that the stages run: what thresholds, logits and certificates are bound to. docs/bundle.md"""
        digest = hashlib.sha256()
        for stage in range(len(self.stages)):
            for path in self.files_of(stage):
                digest.update(f"{path}\0{self.files[path].sha256}\n".encode())
        return digest.hexdigest()

    def uncertified(self, name: str) -> str | None:
        """Why no certificate covers an operating point, in words; None where one holds."""
        point = self.operating_point(name)
        proved = point.certificate
        if self.format == 1:
            return "format 1 does not bind a certificate to its thresholds"
        if proved is None:
            return "no certificate"
        differs = {
            "other artifacts": proved.artifact_sha256 != self.artifacts_sha256,
            "other thresholds": proved.thresholds != point.thresholds,
            "another measure": proved.measure != self.confidence.measure,
            "other temperatures": proved.temperature != self.confidence.temperature,
        }
        return next((what for what, other in differs.items() if other), None)

    @property
    def proved_points(self) -> tuple[OperatingPoint, ...]:
        """The operating points, each with its certificate only where it holds: what a policy sees."""
        points = self.operating_points
        return tuple(p if self.uncertified(p.name) is None else replace(p, certificate=None) for p in points)

    @property
    def macs(self) -> tuple[int, ...]:
        """Multiply-accumulates spent when leaving at each exit (cumulative)."""
        total, sums = 0, []
        for stage in self.stages:
            total += stage.macs
            sums.append(total)
        return tuple(sums)

    def operating_point(self, name: str) -> OperatingPoint:
        for point in self.operating_points:
            if point.name == name:
                return point
        known = ", ".join(p.name for p in self.operating_points)
        raise ManifestError(f"no operating point {name!r}; the bundle has: {known}")


def parse_manifest(text: str | bytes) -> Manifest:
    """Raises NewerFormatError for a later format, ManifestError for anything else that is not a manifest.

    A manifest of format 1 keeps that number, and none of its certificates.
    """
    try:
        value = parse_json(text, MANIFEST)
        if isinstance(value, dict) and type(value.get("format")) is int:
            if value["format"] > FORMAT:
                raise NewerFormatError(f"{MANIFEST}: format {value['format']}; this reads {FORMAT}: update dvt-edge")
            if value["format"] < OLDEST:
                raise ManifestError(f"{MANIFEST}: format {value['format']}; expected {OLDEST} to {FORMAT}")
            if value["format"] == 1:
                value = from_format_1(value)
        manifest = from_json(Manifest, value, MANIFEST)
    except SchemaError as error:
        raise ManifestError(str(error)) from error
    assert isinstance(manifest, Manifest)
    return manifest


def from_format_1(value: dict[str, Any]) -> dict[str, Any]:
    """The fields of format 1 as format 2 has them, as far as they are what they should be: the reader checks them."""
    stages, golden, points = (value.get(name) for name in ("stages", "golden", "operating_points"))
    if new := (value.keys() & {"attempts"}):
        raise SchemaError(f"{MANIFEST}: unknown field {min(new)!r}")
    if isinstance(golden, dict) and isinstance(golden.get("image"), str) and isinstance(stages, list):
        golden = golden | {"image": [golden["image"]] * len(stages) if golden.get("images") else []}
    if isinstance(points, list):
        old = ("certified", "certificate")
        points = [{k: v for k, v in p.items() if k not in old} if isinstance(p, dict) else p for p in points]
    return value | {"golden": golden, "operating_points": points}


def to_json(manifest: Manifest) -> str:
    """As the newest format, whichever was read."""
    return dump_json(replace(manifest, format=FORMAT))


def json_schema() -> dict[str, Any]:
    """The JSON Schema of manifest.json, from the dataclasses above. Needs pydantic."""
    return schema_of(Manifest)
