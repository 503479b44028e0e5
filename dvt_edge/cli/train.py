"""The commands `dvt-edge train` and `dvt-edge backbones`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dvt_edge.cli.options import MOST, Seed, console, no_loss, numbers, one_of, unread
from dvt_edge.errors import ConfigError

Amp = Literal["auto", "bf16", "off"]
Share = Annotated[float, typer.Option(min=0, max=1)]
UpTo100 = Annotated[float, typer.Option(min=0, max=100)]


def train(
    context: typer.Context,
    data: Annotated[
        Path,
        typer.Argument(
            help="CIFAR in torchvision's layout, an ImageFolder with train/ and val/, or lists (train.txt)."
        ),
    ],
    out: Annotated[Path, typer.Argument(file_okay=False, help="Run folder; a killed run goes on from there.")],
    model: Annotated[str, typer.Option(help="A preset, or timm:<name>.")] = "dvt_cifar10",
    name: Annotated[str, typer.Option(help="What to call the cascade; default: as the model.")] = "",
    epochs: Annotated[int, typer.Option(min=1, max=MOST)] = 100,
    batch_size: Annotated[int, typer.Option(min=2, max=MOST, help="Over all processes.")] = 128,
    optimizer: Annotated[str, typer.Option(help="timm's name, such as adamw or muon.")] = "adamw",
    lr: UpTo100 = 1e-3,
    min_lr: UpTo100 = 1e-5,
    weight_decay: UpTo100 = 0.05,
    warmup_epochs: Annotated[
        float | None, typer.Option(min=0, max=MOST, help="In which the rate rises; default: 5, or a fifth of up to 5.")
    ] = None,
    mixup: UpTo100 = 0.8,
    cutmix: UpTo100 = 1.0,
    mix_probability: Share = 1.0,
    smoothing: Share = 0.1,
    auto_augment: Annotated[str, typer.Option(help="timm's RandAugment string, or none.")] = "rand-m9-mstd0.5-inc1",
    erasing: Share = 0.25,
    ema_decay: Share = 0.999,
    feature_reuse: bool = True,
    relation_reuse: bool = True,
    depth: Annotated[int, typer.Option(min=0, help="First blocks that are kept; default: the model's.")] = 0,
    image_size: Annotated[int, typer.Option(min=0, help="Pixels of a side; default: the model's.")] = 0,
    resize: Annotated[int, typer.Option(min=0, help="Shorter side before the crop; default: the model's.")] = 0,
    grids: Annotated[str, typer.Option(help="Token grids, such as 4,6,8; default: the model's.")] = "",
    exit_weights: Annotated[str, typer.Option(help="Weights of the exits' losses, such as 1,1,1.")] = "",
    distill: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the last exit's answer in the targets of earlier exits.")
    ] = 0.0,
    pretrained: Annotated[
        str, typer.Option(help="Weights of the timm:<name> model: a file in timm's names, or 'timm' for timm's own.")
    ] = "",
    backbone_lr: Annotated[float, typer.Option(min=0, max=100, help="Of pretrained parts; --lr is of new ones.")] = 0.0,
    layer_decay: Annotated[float, typer.Option(min=0, max=1, help="Rate of a block by that of the next.")] = 1.0,
    augment: Annotated[str, typer.Option(help="timm, or batch: decoded once, light, on tensors.")] = "timm",
    crop_area: Annotated[float, typer.Option(min=0.01, max=1, help="Least share of an image in a crop (batch).")] = 0.3,
    teacher: Annotated[str, typer.Option(help="A teacher's kept logits, an .npz.")] = "",
    teacher_weight: UpTo100 = 1.0,
    temperature: Annotated[float, typer.Option(min=0.01, max=100)] = 2.0,
    clip_grad: Annotated[float, typer.Option(min=0, max=MOST, help="Largest norm of a gradient; 0: any.")] = 1.0,
    init: Annotated[
        str, typer.Option(help="Checkpoint to start from, perhaps of other classes: a file or zoo:<name>.")
    ] = "",
    holdout: Annotated[
        int, typer.Option(min=1, max=MOST, help="Training images kept out for epoch figures and calibration.")
    ] = 2000,
    seed: Seed = 0,
    workers: Annotated[int, typer.Option(min=0, max=256, help="Processes that read images; of batch none.")] = 1,
    amp: Annotated[str, typer.Option(help="auto, bf16 or off.")] = "auto",
) -> None:
    """Train a cascade; under torchrun, on several processes."""
    from dvt_edge.data.images import no_labels
    from dvt_edge.data.reading import open_images
    from dvt_edge.network.presets import config_for
    from dvt_edge.network.training import train as run_training
    from dvt_edge.network.training_options import TrainingOptions, warm_up

    if not teacher:
        unread(context, "without --teacher", "--teacher-weight", "--temperature")
    if not mixup and not cutmix:
        unread(context, "with --mixup and --cutmix of 0", "--mix-probability")
    if augment == "batch":
        unread(context, "with --augment batch, which does its own", "--auto-augment", "--erasing")
    else:
        unread(context, "without --augment batch", "--crop-area")
    no_loss({"OUT": out / "result.json"}, init, teacher, pretrained, images=data)
    images = open_images(data, "train")
    if images.labels is None:
        raise no_labels(data)
    backbone = model.removeprefix("timm:") if pretrained else ""
    if pretrained and backbone == model:
        raise ConfigError(f"--pretrained {pretrained} needs --model timm:<name>, not {model}")
    given = {field: value for field, value in (("depth", depth), ("image_size", image_size)) if value}
    config = config_for(model, num_classes=len(images.classes), **given)
    asked = {"name": name, "resize": resize, "grids": numbers(grids, int, "--grids") if grids else ()}
    config = config.replace(
        feature_reuse=feature_reuse,
        relation_reuse=relation_reuse,
        **{field: value for field, value in asked.items() if value},
    )
    options = TrainingOptions(
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        lr=lr,
        min_lr=min_lr,
        weight_decay=weight_decay,
        warmup_epochs=warm_up(epochs) if warmup_epochs is None else warmup_epochs,
        mixup=mixup,
        cutmix=cutmix,
        mix_probability=mix_probability,
        smoothing=smoothing,
        auto_augment="" if auto_augment == "none" else auto_augment,
        erasing=erasing,
        ema_decay=ema_decay,
        exit_weights=numbers(exit_weights, float, "--exit-weights"),
        distill=distill,
        backbone=backbone,
        pretrained="" if pretrained == "timm" else pretrained,
        backbone_lr=backbone_lr,
        layer_decay=layer_decay,
        augment=augment,
        crop_area=crop_area,
        teacher=teacher,
        teacher_weight=teacher_weight,
        temperature=temperature,
        clip_grad=clip_grad,
        init=init,
        holdout=holdout,
        seed=seed,
        workers=workers,
        amp=one_of(amp, Amp, "--amp"),
    )
    if result := run_training(config, data, out, options):
        console.print_json(data=result)


def backbones(
    names: Annotated[bool, typer.Option("--names", help="List the accepted ones too.")] = False,
) -> None:
    """Count timm's pretrained VisionTransformers that `--model timm:<name>` takes, with what refuses the others."""
    import timm

    from dvt_edge.network.timm_backbone import accepted_tags

    accepted, refused = accepted_tags()
    for name in accepted if names else ():
        print(name)
    for reason in refused.values():
        print(f"refused: {reason}")
    total = len(accepted) + len(refused)
    print(
        f"{len(accepted)} of timm {timm.__version__}'s {total} pretrained tags of class VisionTransformer are accepted"
    )
