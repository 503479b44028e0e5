"""The bundles that the Kotlin tests run: the shipped cascade in build/android/bundles, as folders and .zips.

python android_demo/bundles.py        what is there already is kept, where it is what the golden runs are of
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from dvt_edge import CascadeBundle
from dvt_edge.cli.process import run
from dvt_edge.errors import BundleError

ROOT = Path(__file__).parents[1]
OUT = ROOT / "build/android/bundles"
ASSETS = ROOT / "build/android/assets/bundles"  # of the app under test
TARGETS = ("onnx-int8", "onnx-fp32")


def is_there(target: str) -> bool:
    golden = json.loads((ROOT / f"tests/golden/runs/{target}.json").read_text())
    try:
        bundles = [CascadeBundle.open(path) for path in (OUT / target, OUT / f"{target}.zip")]
    except BundleError:
        return False
    expected = golden["artifact_sha256"], tuple(golden["temperature"])
    return all((b.artifacts_sha256, b.manifest.confidence.temperature) == expected for b in bundles)


def main() -> None:
    lacking = [part for target in TARGETS if not is_there(target) for part in ("--target", target)]
    if lacking and (code := run(["export", "zoo:dvt_cifar10", str(OUT), "--zip", *lacking])):
        sys.exit(code)
    ASSETS.mkdir(parents=True, exist_ok=True)
    for target in TARGETS:
        shutil.copy(OUT / f"{target}.zip", ASSETS)


if __name__ == "__main__":
    main()
