"""The bundles that other languages' tests run: the shipped cascade for some targets, as folders and .zips.

    python tests/support/golden_bundles.py FOLDER TARGET...

One that is there is kept where it is what the golden run of its target is of; else it is exported, which copies an
earlier export of the same: on another processor int8 artifacts differ from those of the golden run.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from dvt_edge import CascadeBundle
from dvt_edge.cli.process import run
from dvt_edge.errors import BundleError

GOLDEN = Path(__file__).parents[1] / "golden/runs"


def fits(path: Path, target: str) -> bool:
    try:
        found = CascadeBundle.open(path)
    except BundleError:
        return False
    golden = json.loads((GOLDEN / f"{target}.json").read_text())
    expected = golden["artifact_sha256"], tuple(golden["temperature"])
    return (found.artifacts_sha256, found.manifest.confidence.temperature) == expected


def main(folder: Path, targets: list[str]) -> int:
    lacking = [t for t in targets if not (fits(folder / t, t) and fits(folder / f"{t}.zip", t))]
    chosen = [word for target in lacking for word in ("--target", target)]
    return run(["export", "zoo:dvt_cifar10", str(folder), "--zip", *chosen]) if lacking else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
