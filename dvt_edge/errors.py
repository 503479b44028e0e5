"""Every error that dvt-edge raises on purpose.

Each carries one line written for its reader: what was found, what was expected, what to do.
The command line prints that line and exits with 2; anything else that escapes is a bug.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

# Import name -> (name on PyPI, the smallest extra that brings it; "" where dvt-edge itself does).
PACKAGES = {
    "numpy": ("numpy", ""),
    "PIL": ("pillow", ""),
    "rich": ("rich", ""),
    "typer": ("typer", ""),
    "torch": ("torch", "torch"),
    "safetensors": ("safetensors", "torch"),
    "pydantic": ("pydantic", "torch"),
    "torchvision": ("torchvision", "train"),
    "timm": ("timm", "train"),
    "onnx": ("onnx", "onnx"),
    "onnxruntime": ("onnxruntime", "onnx"),
    "onnxscript": ("onnxscript", "onnx"),
    "executorch": ("executorch", "executorch"),
    "torchao": ("torchao", "executorch"),
    "coremltools": ("coremltools", "coreml"),
    "ai_edge_litert": ("ai-edge-litert", "litert"),
    "sklearn": ("scikit-learn", "palette"),
    "scipy": ("scipy", "calibrate"),
    "matplotlib": ("matplotlib", "report"),
    "jinja2": ("jinja2", "report"),
    "pyarrow": ("pyarrow", "fleet"),
    "ray": ("ray", "ray"),
}


class DvtEdgeError(Exception):
    """Base of all errors a user can cause or mend."""


class ConfigError(DvtEdgeError):
    """A cascade configuration that cannot be built."""


class CheckpointError(DvtEdgeError):
    """A checkpoint that is damaged, foreign, or does not fit the model."""


class DataError(DvtEdgeError):
    """Images or labels that are missing, unreadable or of the wrong form."""


class ExportError(DvtEdgeError):
    """A stage that could not be converted, or whose artifact disagrees with PyTorch."""


class DegradedError(ExportError):
    """Artifacts that run, and break a bound of their recipe."""


class UnknownTargetError(ExportError):
    """A target name that is not in the recipe table."""


class MissingPackageError(DvtEdgeError):
    """A package that is not installed, or in a version that lacks what is needed of it."""

    def __init__(self, package: str, extra: str, why: str, found: str = "") -> None:
        what = f"another version of the package {package!r} ({found})" if found else f"the package {package!r}"
        wanted = f"'dvt-edge[{extra}]'" if extra else package
        super().__init__(f"{why} needs {what}: pip install {'--upgrade ' if found else ''}{wanted}")
        self.package, self.extra = package, extra


@contextmanager
def packages(why: str, extra: str = "") -> Iterator[None]:
    """Around imports, or code that imports: what lacks there is a MissingPackageError that names the extra.

    `why` begins the sentence, such as "target onnx-int8"; `extra` brings more than the missing package alone.
    An import that fails inside dvt-edge stays what it is: a bug.
    """
    try:
        yield
    except ImportError as error:
        module = (error.name or "").split(".")[0]
        if module in ("", "dvt_edge"):
            raise
        package, smallest = PACKAGES.get(module, (module, "all"))
        found = "" if isinstance(error, ModuleNotFoundError) and error.name == module else one_line(error)
        raise MissingPackageError(package, extra or smallest, why, found) from error


class SchemaError(DvtEdgeError):
    """A JSON file with a field that is missing, unknown or of the wrong kind; the message names file and place."""


class BundleError(DvtEdgeError):
    """A bundle that must not be run."""


class ManifestError(BundleError):
    """A manifest that is missing, is not JSON, or breaks the schema."""


class NewerFormatError(BundleError):
    """A manifest whose format version this release does not know."""


class MissingFileError(BundleError):
    """A file that the manifest lists and the bundle lacks, or one that it does not list."""


class ChangedFileError(BundleError):
    """A file whose size or SHA-256 is not the manifest's."""


class UnsafePathError(BundleError):
    """A path that leaves the bundle's folder, is absolute, or is a link."""


class ArchiveError(BundleError):
    """A .zip that is damaged, encrypted or would unpack to more than it may."""


class EngineError(DvtEdgeError):
    """An inference engine that is absent here, or did not run where the bundle says it runs."""


class NotFiniteError(DvtEdgeError):
    """No exit of a cascade gave finite logits."""


class WorkloadError(DvtEdgeError):
    """A workload or trace that cannot be simulated; the message names the line of a file."""


class SimulationError(DvtEdgeError):
    """A simulation whose parts do not fit together: logits, operating points, profile and policy."""


class DataWarning(UserWarning):
    """Something of a set of images that a user should know of, such as what was passed over."""


def one_line(error: BaseException) -> str:
    """An error's text without its line breaks, short enough to stand inside ours."""
    return " ".join(str(error).split())[:160] or type(error).__name__


def cause(error: BaseException) -> str:
    """The kind of an error that is not ours, and its first line."""
    line = one_line(error)
    return line if line == type(error).__name__ else f"{type(error).__name__}: {line}"
