"""Put a finished training run into the package, with the model card that its own files give.

python export_scripts/add_to_zoo.py runs/dvt_cifar10 dvt_edge/zoo
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import typer

from dvt_edge.checkpoint import checkpoint_sha256, load_cascade
from dvt_edge.config import config_for
from dvt_edge.stages import split
from dvt_edge.training import TrainingOptions

CARD = """# {name}

A three-exit cascade for {pixels} px images, trained from scratch; {size:.2f} MB of float16 weights in
[{name}.safetensors]({name}.safetensors), SHA-256 `{digest}`.

| exit | tokens | MMACs, cumulative | parameters of the stage | top-1 on the {images:,} test images |
|---|---|---|---|---|
{rows}

- **Data:** tested on all of {data}; {holdout:,} training images were held out (seed {seed}). 512 of those are the
  package's calibration sample, and the 256 test images of the package are among the test images above.
- **Recipe:** {epochs} epochs, {hours:.2f} hours on {machine} (other work ran on the machine at the time), processes:
  {processes}, torch {torch}, seed {seed}. The last epoch's figures on the held-out images, exit by exit: {held_out}.
- **Log:** [{name}.log.jsonl]({name}.log.jsonl), a line an epoch; seconds are of training alone.
- **Made by:** `{command}`, then `python export_scripts/add_to_zoo.py runs/{name} dvt_edge/zoo`.
- **Limits:** a small model after a short training: a test bed for export and early exit, not for use. Its
  confidences are not calibrated (temperature 1).
"""


def command_of(asked: dict[str, Any], name: str, processes: int) -> str:
    """The `dvt-edge train` that gives these options: those that are not the default."""
    defaults = dataclasses.asdict(TrainingOptions())
    program = f"torchrun --nproc-per-node {processes} -m dvt_edge" if processes > 1 else "dvt-edge"
    words = [f"{program} train data", f"runs/{name}", "--model", name]
    for option, value in asked["options"].items():
        if value != json.loads(json.dumps(defaults[option])):
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            words += [f"--{option.replace('_', '-')}", text or "''"]
    return " ".join(words)


def main(run: Path, zoo: Path) -> None:
    asked, result = (json.loads((run / f).read_text()) for f in ("options.json", "result.json"))
    name = result["model"]
    if asked["model"] != json.loads(json.dumps(config_for(name).to_dict())):
        raise typer.BadParameter(f"{run} trained another configuration than {name} is now")
    weights = zoo / f"{name}.safetensors"
    shutil.copyfile(run / "cascade.safetensors", weights)
    shutil.copyfile(run / "log.jsonl", zoo / f"{name}.log.jsonl")
    rows, total = [], 0
    for stage, top1 in zip(split(load_cascade(weights)), result["test_top1"], strict=True):
        total += stage.macs()
        cells = f"{stage.grid}x{stage.grid} | {total / 1e6:.2f} | {stage.parameter_count():,}"
        rows.append(f"| {stage.index} | {cells} | {100 * top1:.2f} % |")
    card = CARD.format(
        **result,
        name=name,
        pixels=asked["model"]["image_size"],
        size=weights.stat().st_size / 1e6,
        digest=checkpoint_sha256(weights),
        images=result["test_images"],
        rows="\n".join(rows),
        holdout=asked["options"]["holdout"],
        seed=asked["options"]["seed"],
        held_out=" / ".join(f"{100 * v:.2f} %" for v in result["held_out_top1"]),
        command=command_of(asked, name, result["processes"]),
    )
    (zoo / f"{name}.md").write_text(card)
    print(card)


if __name__ == "__main__":
    typer.run(main)
