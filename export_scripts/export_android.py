"""Export a cascade into the Android app: one command from a checkpoint to bundles in the app's assets.

python export_scripts/export_android.py zoo:dvt_cifar10

For onnx-int8 and onnx-fp32, or the --target that are given; all options of `dvt-edge export` go on to it. The app lists
the bundles that it finds; build and install it then (android_demo/README.md). The device profile phone-cpu goes with
them, an estimate: the app's energy queue counts with it until the device has one of its own.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from _engine_script import options_of, split_targets

from dvt_edge.atomic import write_text
from dvt_edge.cli.process import run
from dvt_edge.simulation.device_profile import open_profile

ROOT = Path(__file__).parents[1]
ASSETS = ROOT / "android_demo/app/src/main/assets"
PROFILE = "phone-cpu"
TARGETS = ("onnx-int8", "onnx-fp32")


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        print(__doc__)
        return 2
    checkpoint = sys.argv[1]
    given, others = split_targets(sys.argv[2:])
    with tempfile.TemporaryDirectory() as folder:
        if code := run(["export", checkpoint, folder, "--zip", *options_of(given or TARGETS), *others]):
            return code
        (ASSETS / "bundles").mkdir(parents=True, exist_ok=True)
        for path in sorted(Path(folder).glob("*.zip")):
            print(shutil.copy(path, ASSETS / "bundles"))
        write_text(ASSETS / "profile.json", open_profile(PROFILE).for_phone().to_json())
        print(ASSETS / "profile.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
