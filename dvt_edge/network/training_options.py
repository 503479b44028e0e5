"""What one training run was asked for."""

from __future__ import annotations

from dataclasses import dataclass


def warm_up(epochs: int) -> float:
    """Epochs of warm-up where none are asked for: a longer one than the training would never reach its rate."""
    return 5.0 if epochs > 5 else epochs / 5


@dataclass(frozen=True)
class TrainingOptions:
    """One training run. The defaults are the published recipe's, scaled to small images and short runs."""

    epochs: int = 100
    batch_size: int = 128  # over all processes
    optimizer: str = "adamw"  # timm's name
    lr: float = 1e-3
    min_lr: float = 1e-5
    weight_decay: float = 0.05
    warmup_epochs: float = 5
    mixup: float = 0.8
    cutmix: float = 1.0
    mix_probability: float = 1.0
    smoothing: float = 0.1
    auto_augment: str = "rand-m9-mstd0.5-inc1"  # timm's name; "" for none
    erasing: float = 0.25
    crop_padding: int = 4  # small images: random crop after this padding; larger ones: random resized crop
    ema_decay: float = 0.999
    clip_grad: float = 1.0  # largest norm of a step's gradient; 0: any
    exit_weights: tuple[float, ...] = ()  # of the exits' losses; empty: all one
    distill: float = 0.0  # share of the last exit's own probabilities in the targets of the exits before it
    backbone: str = ""  # timm's name of the model whose weights every stage starts from; "" for none
    pretrained: str = ""  # file with those weights in timm's names; "" for timm's own published ones
    backbone_lr: float = 0.0  # of what those weights are copied into, lr being that of heads and reuse; 0: lr for all
    layer_decay: float = 1.0  # the learning rate of a block by that of the block after it
    augment: str = "timm"  # or "batch": decoded once into memory, light, on tensors (`batches.py`)
    crop_area: float = 0.3  # of "batch": least share of the image that a crop has
    teacher: str = ""  # a teacher's kept logits (`teaching.kept_logits`)
    teacher_weight: float = 1.0  # of its loss beside the labels', for every exit
    temperature: float = 2.0  # at which teacher and exits are compared
    init: str = ""  # checkpoint to start from, of the same network; "" for random weights
    holdout: int = 2000  # training images kept out, for epoch figures and for calibration
    seed: int = 0
    workers: int = 1
    amp: str = "auto"  # "bf16", "off", or "auto": bf16 on a GPU only
