"""python bundle_for_tests.py FOLDER: the shipped cascade as onnx-int8 in FOLDER, for the Swift tests.

One that is there is kept while its artifacts are those of tests/golden/runs, or of this environment's own exporters.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from dvt_edge import CascadeBundle, export, load_cascade
from dvt_edge.errors import BundleError

GOLDEN = Path(__file__).resolve().parents[1] / "tests/golden/runs/onnx-int8.json"


def fits(folder: Path) -> bool:
    try:
        found = CascadeBundle.open(folder)
    except BundleError:
        return False
    golden = json.loads(GOLDEN.read_text())
    expected = golden["artifact_sha256"], tuple(golden["temperature"])
    same = (found.artifacts_sha256, found.manifest.confidence.temperature) == expected
    return same or found.manifest.tools != golden["tools"]


def main() -> None:
    folder = Path(sys.argv[1])
    if not fits(folder):
        export(load_cascade("zoo:dvt_cifar10"), "onnx-int8", folder)


if __name__ == "__main__":
    main()
