"""Export a cascade for the iOS demo: its Core ML bundle, as one .zip, into the app's resources.

python export_scripts/export_ios.py zoo:dvt_cifar10
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from dvt_edge.cli.process import run

RESOURCE = Path(__file__).resolve().parents[1] / "ios_demo/App/DvtEdgeDemo/bundle.zip"
TARGET = "coreml-fp16"


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        print("usage: python export_scripts/export_ios.py CHECKPOINT [options of dvt-edge export]", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        code = run(["export", sys.argv[1], folder, *sys.argv[2:], "--target", TARGET, "--zip"])
        if code == 0:
            shutil.copyfile(Path(folder, f"{TARGET}.zip"), RESOURCE)
            print(f"{RESOURCE}: build the app in Xcode")
    return code


if __name__ == "__main__":
    sys.exit(main())
