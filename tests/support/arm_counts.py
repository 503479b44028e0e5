"""`make arm-counts`: executed ARM instructions of each stage of the shipped cascade's CPU bundles, under emulation.

    python tests/support/arm_counts.py FOLDER          as `make arm-check` has it

Writes dvt_edge/simulation/arm_instructions.json and prints it as Markdown, with those of MobileNet v1, whose times on
two devices are public (docs/arm.md).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from support.arm_check import TARGETS, bundle_in, images_in, root_in
from support.arm_root import PROCESSORS, command, executorch_library

from dvt_edge.simulation.arm_instructions import FILE, FORMAT
from dvt_edge.simulation.device_profile import own_macs

COUNTED = Path(__file__).with_name("count_stages.py")
IMAGES = 2
LAYOUTS = (0, 48, 160, 512, 3000)  # where memory lands changes what XNNPACK does in float, by up to 6 %
MOBILENET = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))


def counted(root: Path, processor: str, arguments: Sequence[object], layout: int = 0) -> list[int]:
    """Instructions between each pair of marks that the program makes, with `layout` bytes more of environment."""
    out = root.resolve() / "counts.txt"
    words, environment = command(root, processor, out)
    environment["LAYOUT"] = "x" * layout
    subprocess.run([*words, *map(str, [COUNTED, *arguments])], env=environment, check=True, capture_output=True)
    marks = dict(map(int, line.split()) for line in out.read_text().splitlines())
    return [marks[k + 1] - marks[k] for k in range(0, len(marks), 2)]


def stages_of(root: Path, processor: str, folder: Path, target: str) -> list[int]:
    """The mean over the images, whose counts differ by some thousandths; of those of all LAYOUTS the median."""
    library = [executorch_library(root)] if target.startswith("executorch") else []
    arguments = [folder / target, images_in(folder, IMAGES), *library]
    runs = [counted(root, processor, arguments, layout) for layout in LAYOUTS]
    means = np.reshape(runs, (len(LAYOUTS), IMAGES, -1)).mean(axis=1)  # (layouts, stages)
    spread = (means.max(axis=0) / means.min(axis=0) - 1).max()
    print(f"{target}, {processor}: layouts differ by {spread:.2%}", file=sys.stderr)
    return [round(count) for count in np.median(means, axis=0)]


def mobilenet(path: Path) -> Path:
    """MobileNet v1 (arXiv 1704.04861), 569 MMACs, of random weights, for XNNPACK in float32."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from torch import nn

    layers: list[nn.Module] = [nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU6()]
    width = 32
    for wider, stride in MOBILENET:
        layers += [nn.Conv2d(width, width, 3, stride, 1, groups=width), nn.ReLU6(), nn.Conv2d(width, wider, 1)]
        layers.append(nn.ReLU6())
        width = wider
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 1000)).eval()
    program = torch.export.export(net, (torch.zeros(1, 3, 224, 224),))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    path.write_bytes(lowered.to_executorch().buffer)
    return path


def main(folder: Path) -> None:
    root, counts, rows = root_in(folder), [], []
    for target in sorted(TARGETS):
        bundle, cells = bundle_in(folder, target), []
        for processor in PROCESSORS:
            stages = stages_of(root, processor, folder, target)
            counts.append({"target": target, "processor": processor, "stages": stages})
            cells.append(" / ".join(f"{n / 1e6:.2f}" for n in stages))
        rows.append(f"| {target} | {' | '.join(cells)} |")
        macs = list(own_macs(bundle.manifest.macs))
    made_with = (
        "tests/support/arm_counts.py: qemu-user and a plugin that counts; aarch64 wheels of "
        f"onnxruntime {version('onnxruntime')} and executorch {version('executorch')}; one thread; the mean over "
        f"{IMAGES} images, the median of {len(LAYOUTS)} layouts of memory; the call from Python included, some 0.1 "
        "million at most"
    )
    table = {"format": FORMAT, "model": "dvt_cifar10", "macs": macs, "made_with": made_with, "counts": counts}
    FILE.write_text(json.dumps(table, indent=1) + "\n")
    print(f"| millions a stage | {' | '.join(PROCESSORS)} |\n|---|{'---|' * len(PROCESSORS)}", *rows, sep="\n")
    net = mobilenet(folder / "mobilenet.pte")
    for processor in ("cortex-a53", "cortex-a76"):
        (run,) = counted(root, processor, ["--file", net, executorch_library(root)])
        print(f"MobileNet v1, {processor}: {run / 1e6:.1f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
