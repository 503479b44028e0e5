"""Training a cascade: the sum of the exits' losses, AdamW, cosine, timm's augmentation, EMA, resume after a kill.

One process, or torchrun unchanged:  torchrun --nproc-per-node 4 -m dvt_edge train ...

A run folder holds options.json (what was asked), log.jsonl (a line an epoch), last.pt (the whole state,
rewritten atomically each epoch) and, at the end, cascade.safetensors (the EMA weights) with result.json.
"""

from __future__ import annotations

import io
import json
import math
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from PIL import Image, ImageOps
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from timm.data import Mixup, create_transform
from timm.loss import SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2, list_optimizers
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler, RandomSampler, default_collate
from torchvision import transforms

from dvt_edge.atomic import write_bytes, write_text
from dvt_edge.data.dealing import open_training_data
from dvt_edge.data.images import LabelledImages
from dvt_edge.device.preprocess import open_rgb, preprocess
from dvt_edge.device.schema import parse_json
from dvt_edge.device.trained_on import TrainedOn
from dvt_edge.errors import CheckpointError, ConfigError, DataError, DvtEdgeError, cause, one_line
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.checkpoint import checkpoint_sha256, load_cascade, save_cascade
from dvt_edge.network.config import CascadeConfig


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
    clip_grad: float = 1.0
    exit_weights: tuple[float, ...] = ()  # of the exits' losses; empty: all one
    distill: float = 0.0  # share of the last exit's own probabilities in the targets of the exits before it
    init: str = ""  # checkpoint to start from, of the same configuration; "" for random weights
    holdout: int = 2000  # training images kept out, for epoch figures and for calibration
    seed: int = 0
    workers: int = 1
    amp: str = "auto"  # "bf16", "off", or "auto": bf16 on a GPU only


class TrainingImages(Dataset[tuple[Tensor, int] | DataError]):
    def __init__(self, images: LabelledImages, config: CascadeConfig, options: TrainingOptions) -> None:
        self.images, self.transform = images, training_transform(config, options)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int] | DataError:
        """An image that cannot be read gives its error: raised in a worker, that would arrive as a traceback's text."""
        assert self.images.labels is not None
        image = self.images[index]
        try:
            picture = Image.fromarray(image) if isinstance(image, np.ndarray) else open_rgb(image)
        except DataError as error:
            return error
        return self.transform(picture), self.images.labels[index]


def batch_of(items: list[tuple[Tensor, int] | DataError]) -> list[Tensor] | DataError:
    """Images and labels, stacked; or the first error among them."""
    return next((item for item in items if isinstance(item, DataError)), None) or default_collate(items)


def batches(loader: DataLoader[Any]) -> Iterator[list[Tensor]]:
    """The loader's batches. Raises DataError for an image that cannot be read, DvtEdgeError where a worker died."""
    try:
        for batch in loader:
            if isinstance(batch, DataError):
                raise batch
            yield batch
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise DvtEdgeError(f"a process that reads images died: {one_line(error)}; try fewer --workers") from error


class EvaluationImages(Dataset[tuple[Tensor, int]]):
    """The pixels a bundle would see, as uint8."""

    def __init__(self, images: LabelledImages, config: CascadeConfig) -> None:
        self.images, self.config = images, config

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = preprocess(self.images[index], self.config.image_size, self.config.resize)
        assert self.images.labels is not None
        return torch.from_numpy(pixels), self.images.labels[index]


def training_transform(config: CascadeConfig, options: TrainingOptions) -> Any:
    """timm's, but images of 64 px and less keep their scale: padded random crops, as DeiT does on CIFAR."""
    try:
        transform = create_transform(
            config.image_size,
            is_training=True,
            auto_augment=options.auto_augment or None,
            color_jitter=None,
            interpolation="bicubic",
            mean=config.mean,
            std=config.std,
            re_prob=options.erasing,
            re_mode="pixel",
        )
    except Exception as error:  # timm asserts, and fails as its parsing does
        raise ConfigError(f"augmentation {options.auto_augment!r}: timm refuses it ({cause(error)})") from error
    if config.image_size <= 64:
        crop = transforms.RandomCrop(config.image_size, padding=options.crop_padding)
        transform.transforms[0] = transforms.Compose([transforms.Resize(config.resize), crop])
    for step in transform.transforms:
        for op in getattr(step, "ops", ()):
            if op.name.startswith("Posterize"):
                op.aug_fn = posterize
    return transform


def posterize(image: Image.Image, bits: int, **_: Any) -> Image.Image:
    """timm asks for 0 bits at its strongest, which Pillow 13 refuses: keep one."""
    return image if bits >= 8 else ImageOps.posterize(image, max(1, bits))


def normalise(pixels: Tensor, config: CascadeConfig) -> Tensor:
    """uint8 (B, size, size, 3) -> normalised float32 (B, 3, size, size)."""
    x = pixels.permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v, device=x.device).view(1, 3, 1, 1) for v in (config.mean, config.std))
    return (x - mean) / std


def exit_accuracy(model: nn.Module, config: CascadeConfig, images: LabelledImages, batch: int = 256) -> list[float]:
    """Top-1 per exit, a fraction; in float32."""
    device = next(model.parameters()).device
    correct = torch.zeros(config.num_exits)
    model.eval()
    with torch.inference_mode():
        for pixels, labels in DataLoader(EvaluationImages(images, config), batch_size=batch):
            logits = model(normalise(pixels.to(device), config))
            correct += torch.tensor([(z.argmax(dim=-1).cpu() == labels).sum() for z in logits])
    return [round(c / len(images), 4) for c in correct.tolist()]


def exit_losses(exits: list[Tensor], targets: Tensor, distill: float) -> Tensor:
    """(exits,) cross-entropies of (B, classes) logits against (B, classes) target probabilities.

    All exits but the last see the targets mixed with a share `distill` of the last one's own answer.
    """
    criterion = SoftTargetCrossEntropy()
    taught = torch.lerp(targets, exits[-1].detach().softmax(dim=-1), distill)
    return torch.stack([*(criterion(z, taught) for z in exits[:-1]), criterion(exits[-1], targets)])


def initial_cascade(config: CascadeConfig, checkpoint: str, known: TrainedOn) -> Cascade:
    """Random weights, or those of `checkpoint`, for a training that `known` tells of.

    Raises ConfigError where it is of another configuration, or was trained on images that this training holds out.
    """
    cascade = load_cascade(checkpoint) if checkpoint else Cascade(config)
    if cascade.config.replace(name=config.name) != config:
        raise ConfigError(f"{checkpoint}: a checkpoint of another configuration than {config.name} has here")
    before = cascade.trained_on
    if before and not before.deals_as(known):
        held = f"{before.holdout} of these images by seed {before.seed}, this training {known.holdout} by {known.seed}"
        raise ConfigError(f"{checkpoint}: held out {held}; expected the same")
    cascade.config = config
    cascade.trained_on = None if checkpoint and before is None else known  # unknown images stay unknown
    return cascade


@dataclass
class Process:
    """This process among those of torchrun; one alone is rank 0 of 1."""

    rank: int
    world: int
    device: torch.device

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def barrier(self) -> None:
        """Wait for all the others."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def process_group() -> Iterator[Process]:
    world = int(os.environ.get("WORLD_SIZE", "1"))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if world > 1:
        dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Process(int(os.environ.get("RANK", "0")), world, device)
    finally:
        if world > 1:
            dist.destroy_process_group()


def train(config: CascadeConfig, data: str | Path, out: str | Path, options: TrainingOptions) -> dict[str, Any]:
    """Train `config` on `data` into the run folder `out`, going on where a killed run stopped.

    Returns the result that it writes: per-exit top-1 on the held-out and the test images, the hours, the machine.
    Raises DataError for data that does not fit, DvtEdgeError for a run folder of other options.
    """
    with process_group() as process:
        return Trainer(config, Path(data), Path(out), options, process).run()


class Trainer:
    def __init__(
        self, config: CascadeConfig, data: Path, out: Path, options: TrainingOptions, process: Process
    ) -> None:
        self.config, self.out, self.options, self.process = config, out, options, process
        train, self.held_out, self.test, known = open_training_data(data, options.holdout, options.seed)
        asked: dict[str, Any] = {"model": config.to_dict(), "options": asdict(options), "data": data.name}
        asked["trained_on"] = asdict(known)  # images that change during a run would be dealt anew
        if options.init:  # by what it is: its place is this machine's
            asked["options"]["init"] = "/".join(Path(options.init).parts[-2:])
            asked["init_sha256"] = checkpoint_sha256(options.init)
        self.asked = asked
        if any(weight < 0 for weight in options.exit_weights) or (
            options.exit_weights and not any(options.exit_weights)
        ):
            raise ConfigError(f"exit weights {options.exit_weights}; expected none below 0, and one above")
        if len(options.exit_weights) not in (0, config.num_exits):
            raise ConfigError(f"{len(options.exit_weights)} exit weights; {config.name} has {config.num_exits} exits")
        self.check_folder()
        if len(train.classes) != config.num_classes:
            raise DataError(f"{data}: {len(train.classes)} classes; the model has {config.num_classes}")
        torch.manual_seed(options.seed)
        self.model = initial_cascade(config, options.init, known).to(process.device)
        self.runner: nn.Module = self.model
        if process.world > 1:
            ids = [process.device.index] if process.device.type == "cuda" else None
            self.runner = nn.parallel.DistributedDataParallel(self.model, device_ids=ids)
        self.ema = ModelEmaV3(self.model, decay=options.ema_decay, use_warmup=True)
        if options.optimizer not in list_optimizers():
            raise ConfigError(f"optimizer {options.optimizer!r}; timm has: {', '.join(list_optimizers())}")
        self.optimizer = create_optimizer_v2(
            self.model, options.optimizer, lr=options.lr, weight_decay=options.weight_decay, betas=(0.9, 0.999)
        )
        torch.manual_seed(options.seed + process.rank)
        dataset = TrainingImages(train, config, options)
        self.sampler: DistributedSampler[Any] | RandomSampler = (
            DistributedSampler(dataset, seed=options.seed, drop_last=True)
            if process.world > 1
            else RandomSampler(dataset)
        )
        self.loader = DataLoader(
            dataset,
            batch_size=max(2, options.batch_size // process.world),
            sampler=self.sampler,
            num_workers=options.workers,
            persistent_workers=options.workers > 0,
            drop_last=True,
            collate_fn=batch_of,
        )
        if not len(self.loader):
            raise DataError(f"{data}: {len(train)} training images; expected at least a batch of {options.batch_size}")
        self.mix = Mixup(
            mixup_alpha=options.mixup,
            cutmix_alpha=options.cutmix,
            prob=options.mix_probability if options.mixup or options.cutmix else 0.0,
            label_smoothing=options.smoothing,
            num_classes=config.num_classes,
        )
        steps = len(self.loader)
        self.scheduler = CosineLRScheduler(
            self.optimizer,
            t_initial=options.epochs * steps,
            lr_min=options.min_lr,
            warmup_t=int(options.warmup_epochs * steps),
            warmup_lr_init=1e-6,
            t_in_epochs=False,
        )
        self.epoch, self.seconds = 0, 0.0
        if process.leads:  # nothing is refused from here on
            write_text(out / "options.json", json.dumps(asked, indent=1))

    def check_folder(self) -> None:
        file = self.out / "options.json"
        asked = json.loads(json.dumps(self.asked))
        if file.exists() and parse_json(file.read_bytes(), str(file)) != asked:
            raise DvtEdgeError(f"{self.out}: holds a run of other options (options.json); give another folder")

    def run(self) -> dict[str, Any]:
        self.resume()
        console = Console(stderr=True)
        with Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f}"),
            TimeRemainingColumn(),
            console=console,
            disable=not (self.process.leads and console.is_terminal),
        ) as bar:
            task = bar.add_task("", total=len(self.loader), epoch=self.epoch, epochs=self.options.epochs, loss=math.nan)
            for epoch in range(self.epoch, self.options.epochs):
                bar.reset(task, epoch=epoch + 1)
                loss = self.train_epoch(epoch, lambda value: bar.update(task, advance=1, loss=value))
                self.end_epoch(epoch, loss, console)
        return self.finish()

    def train_epoch(self, epoch: int, tick: Any) -> float:
        options, device = self.options, self.process.device
        start, total = time.perf_counter(), 0.0
        weights = torch.tensor(options.exit_weights or (1.0,) * self.config.num_exits, device=device)
        amp = options.amp == "bf16" or (options.amp == "auto" and device.type == "cuda")
        seed = options.seed * 100_003 + epoch * 101 + self.process.rank
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # mixup draws from numpy, RandAugment and erasing from random
        random.seed(seed)
        if isinstance(self.sampler, DistributedSampler):
            self.sampler.set_epoch(epoch)
        self.runner.train()
        for step, (images, labels) in enumerate(batches(self.loader)):
            count = len(images) - len(images) % 2  # mixup pairs images up
            images, targets = self.mix(images[:count].to(device), labels[:count].to(device))
            with torch.autocast(device.type, torch.bfloat16) if amp else nullcontext():
                exits = self.runner(images)
            loss = (weights * exit_losses([z.float() for z in exits], targets, options.distill)).sum()
            if not torch.isfinite(loss):
                raise DvtEdgeError(f"epoch {epoch + 1}, step {step}: the loss is {loss.item()}; try a lower --lr")
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), options.clip_grad)
            self.optimizer.step()
            update = epoch * len(self.loader) + step + 1
            self.scheduler.step_update(update)
            self.ema.update(self.model, step=update)
            total += loss.item()
            tick(total / (step + 1))
        self.seconds += time.perf_counter() - start
        return total / len(self.loader)

    def end_epoch(self, epoch: int, loss: float, console: Console) -> None:
        self.epoch = epoch + 1
        if self.process.leads:
            line = {
                "epoch": self.epoch,
                "loss": round(loss, 4),
                "lr": round(self.optimizer.param_groups[0]["lr"], 7),
                "held_out_top1": exit_accuracy(self.ema.module, self.config, self.held_out),
                "seconds": round(self.seconds, 1),
            }
            with (self.out / "log.jsonl").open("a") as log:  # before the state: a line too many is cut off on resume
                log.write(json.dumps(line) + "\n")
            self.save_state()
            console.print(json.dumps(line), highlight=False, soft_wrap=True)
        self.process.barrier()

    def save_state(self) -> None:
        buffer = io.BytesIO()
        state = {
            "model": self.model.state_dict(),
            "ema": self.ema.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "seconds": self.seconds,
        }
        torch.save(state, buffer)
        write_bytes(self.out / "last.pt", buffer.getvalue())

    def resume(self) -> None:
        file = self.out / "last.pt"
        if not file.exists():
            (self.out / "log.jsonl").unlink(missing_ok=True)
            return
        try:
            state = torch.load(file, map_location=self.process.device, weights_only=True)
        except Exception as error:  # a damaged pickle fails in many ways
            raise CheckpointError(f"{file}: damaged ({error}); delete it to start anew") from error
        self.model.load_state_dict(state["model"])
        self.ema.module.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.seconds = state["epoch"], state["seconds"]
        self.scheduler.step_update(self.epoch * len(self.loader))
        if self.process.leads and (self.out / "log.jsonl").exists():  # a kill may fall between state and log
            lines = (self.out / "log.jsonl").read_text().splitlines()[: self.epoch]
            write_text(self.out / "log.jsonl", "".join(line + "\n" for line in lines))

    def finish(self) -> dict[str, Any]:
        """Save the EMA weights in float16, and what exactly those weights reach."""
        result: dict[str, Any] = {}
        if self.process.leads:
            cascade = self.ema.module
            cascade.load_state_dict(
                {k: v.half().float() if v.is_floating_point() else v for k, v in cascade.state_dict().items()}
            )
            save_cascade(cascade, self.out / "cascade.safetensors", torch.float16)
            result = {
                "model": self.config.name,
                "data": self.test.source,
                "test_images": len(self.test),
                "test_top1": exit_accuracy(cascade, self.config, self.test),
                "held_out_top1": exit_accuracy(cascade, self.config, self.held_out),
                "epochs": self.epoch,
                "hours": round(self.seconds / 3600, 3),
                "processes": self.process.world,
                "machine": machine(self.process.device),
                "torch": torch.__version__,
            }
            write_text(self.out / "result.json", json.dumps(result, indent=1))
        self.process.barrier()
        return result


def machine(device: torch.device) -> str:
    """The processor or GPU in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    from dvt_edge.machine import describe

    return describe()
