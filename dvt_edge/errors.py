"""Every error that dvt-edge raises on purpose.

Each carries one line written for its reader: what was found, what was expected, what to do.
The command line prints that line and exits with 2; anything else that escapes is a bug.
"""

from __future__ import annotations


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


class UnknownTargetError(ExportError):
    """A target name that is not in the recipe table."""


class MissingPackageError(DvtEdgeError):
    """A package of an extra that is not installed."""

    def __init__(self, package: str, extra: str, why: str) -> None:
        super().__init__(f"{why} needs the package {package!r}: pip install 'dvt-edge[{extra}]'")
        self.package, self.extra = package, extra


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


def one_line(error: BaseException) -> str:
    """An error's text without its line breaks, short enough to stand inside ours."""
    return " ".join(str(error).split())[:160] or type(error).__name__


def cause(error: BaseException) -> str:
    """The kind of an error that is not ours, and its first line."""
    line = one_line(error)
    return line if line == type(error).__name__ else f"{type(error).__name__}: {line}"
