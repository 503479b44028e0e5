"""Export a cascade for the iOS demo: its Core ML bundle, as one .zip, into the app's resources.

python export_scripts/export_ios.py zoo:dvt_cifar10

For coreml-fp16, or the --target of Core ML that is given; all options of `dvt-edge export` go on to it.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from _engine_script import ENGINES, options_of, refuse, split_targets

from dvt_edge.cli.process import run

RESOURCE = Path(__file__).resolve().parents[1] / "ios_demo/App/DvtEdgeDemo/bundle.zip"
TARGET = "coreml-fp16"


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        print("usage: python export_scripts/export_ios.py CHECKPOINT [options of dvt-edge export]", file=sys.stderr)
        return 2
    given, others = split_targets(sys.argv[2:])
    target = (given or [TARGET])[0]
    if given[1:]:
        refuse(f"targets {', '.join(given)}: the app holds one bundle; give one of them")
    if ENGINES.get(target, "coreml") != "coreml":
        refuse(f"target {target}: the app runs Core ML, the bundle would be for {ENGINES[target]}")
    with tempfile.TemporaryDirectory() as folder:
        code = run(["export", sys.argv[1], folder, "--zip", *options_of([target]), *others])
        if code == 0:
            shutil.copyfile(Path(folder, f"{target}.zip"), RESOURCE)
            print(f"{RESOURCE}: build the app in Xcode")
    return code


if __name__ == "__main__":
    sys.exit(main())
