"""Training a cascade: the sum of the exits' losses, AdamW, cosine, timm's augmentation, EMA, resume after a kill.

One process, or torchrun unchanged:  torchrun --nproc-per-node 4 -m dvt_edge train ...

A run folder holds options.json (what was asked), log.jsonl (a line an epoch), last.pt (the whole state, rewritten
atomically after each epoch and every `SAVE_S` of a long one) and, at the end, cascade.safetensors (the EMA weights)
with result.json.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import random
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from timm.data import Mixup
from timm.optim import create_optimizer_v2, list_optimizers
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler, RandomSampler

from dvt_edge.atomic import write_bytes, write_text
from dvt_edge.data.dealing import open_training_data
from dvt_edge.data.images import LabelledImages
from dvt_edge.device.schema import parse_json
from dvt_edge.device.trained_on import TrainedOn
from dvt_edge.errors import CheckpointError, ConfigError, DataError, DataWarning, DvtEdgeError, one_line
from dvt_edge.network.accuracy import exit_accuracies
from dvt_edge.network.batches import AugmentedBatches
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.checkpoint import checkpoint_sha256, load_cascade, save_cascade
from dvt_edge.network.config import CascadeConfig
from dvt_edge.network.pixels import TrainingImages, batch_of, batches, standardise
from dvt_edge.network.teaching import exit_losses, kept_logits, teacher_losses
from dvt_edge.network.timm_backbone import load_backbone
from dvt_edge.network.training_options import TrainingOptions

SAVE_S = 600.0  # seconds that a kill may cost, at most


def parameter_groups(model: Cascade, options: TrainingOptions) -> list[dict[str, Any]]:
    """Groups of one weight decay and one `lr_scale` each, which timm's schedulers multiply the learning rate by.

    Heads and reuse have `lr`; block i of a stage `backbone_lr` times `layer_decay` for each block or norm after it.
    Norms, biases, class tokens and positions do not decay.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        _, _, part, *rest = name.split(".")  # of stages.<index>.<part>...
        scale = 1.0
        if part not in ("head", "relation_reuse") and "feature_reuse" not in rest:
            last = model.config.depth + 1
            layer = int(rest[0]) + 1 if part == "blocks" else last if part in ("norm", "attention_pool") else 0
            rate = options.backbone_lr / options.lr if options.backbone_lr else 1.0
            scale = rate * options.layer_decay ** (last - layer)
        decays = parameter.ndim > 1 and part not in ("cls_token", "pos_embed")
        groups.setdefault((scale, options.weight_decay if decays else 0.0), []).append(parameter)
    return [{"params": params, "lr_scale": scale, "weight_decay": decay} for (scale, decay), params in groups.items()]


def initial_cascade(config: CascadeConfig, checkpoint: str, known: TrainedOn) -> Cascade:
    """Random weights, or those of `checkpoint`, for a training that `known` tells of.

    A checkpoint of other classes starts with heads of its own for these; it may also have resized images otherwise.
    Where it was trained on other images with a class of that name, the same pictures may be among both, and now held
    out: what the result has seen is not known then. Of trainings before its last one a checkpoint knows nothing.
    Raises ConfigError where it is of another network, or was trained on images that this training holds out.
    """
    cascade = Cascade(config)
    if not checkpoint:
        cascade.trained_on = known
        return cascade
    start = load_cascade(checkpoint)
    if start.config.replace(name=config.name, num_classes=config.num_classes, resize=config.resize) != config:
        raise ConfigError(f"{checkpoint}: a checkpoint of another configuration than {config.name} has here")
    before = start.trained_on
    if before and not before.deals_as(known):
        held = f"{before.holdout} of these images by seed {before.seed}, this training {known.holdout} by {known.seed}"
        raise ConfigError(f"{checkpoint}: held out {held}; expected the same")
    weights = start.state_dict()
    if start.config.num_classes != config.num_classes or (before and before.classes != known.classes):
        weights = {name: t for name, t in weights.items() if name.split(".")[2] != "head"}  # of stages.<index>.<part>
    cascade.load_state_dict(weights, strict=False)  # all but heads, the configuration being the same
    cascade.trained_on = known if before else None  # images that are not known stay so
    if before and before.fingerprint != known.fingerprint and (shared := set(before.classes) & set(known.classes)):
        cascade.trained_on = None
        warnings.warn(
            f"{checkpoint}: was trained on other images with the class {min(shared)!r}, perhaps on some that are held"
            " out here: the result will not say which images it has not seen",
            DataWarning,
            stacklevel=2,
        )
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
        for name in ("init", "pretrained", "teacher"):  # by what it is: its place is this machine's
            if file := asked["options"][name]:
                asked["options"][name] = "/".join(Path(file).parts[-2:])
                asked[f"{name}_sha256"] = checkpoint_sha256(file) if name == "init" else file_sha256(file)
        self.asked = asked
        if any(weight < 0 for weight in options.exit_weights) or (
            options.exit_weights and not any(options.exit_weights)
        ):
            raise ConfigError(f"exit weights {options.exit_weights}; expected none below 0, and one above")
        if len(options.exit_weights) not in (0, config.num_exits):
            raise ConfigError(f"{len(options.exit_weights)} exit weights; {config.name} has {config.num_exits} exits")
        if options.teacher and (options.mixup or options.cutmix):
            raise ConfigError("a teacher's logits are of whole images; expected mixup and cutmix 0 with a teacher")
        if options.augment not in ("timm", "batch"):
            raise ConfigError(f"augment {options.augment!r}; expected timm or batch")
        if options.init and options.backbone:
            raise ConfigError("both a checkpoint and a backbone to start from; expected one of them")
        split_rates = options.backbone_lr > 0 or options.layer_decay != 1
        if split_rates and not options.lr > 0:
            raise ConfigError(f"lr {options.lr:g} with a backbone_lr or layer_decay; expected above 0")
        self.check_folder()
        if len(train.classes) != config.num_classes:
            raise DataError(f"{data}: {len(train.classes)} classes; the model has {config.num_classes}")
        self.teacher: Tensor | None = None
        if options.teacher:
            self.teacher = kept_logits(options.teacher, known, len(train) + options.holdout).to(process.device)
        torch.manual_seed(options.seed)
        self.model = initial_cascade(config, options.init, known).to(process.device)
        if options.backbone:
            load_backbone(self.model, options.backbone, options.pretrained or None)
        self.runner: nn.Module = self.model
        if process.world > 1:
            ids = [process.device.index] if process.device.type == "cuda" else None
            self.runner = nn.parallel.DistributedDataParallel(self.model, device_ids=ids)
        self.ema = ModelEmaV3(self.model, decay=options.ema_decay, use_warmup=True)
        if options.optimizer not in list_optimizers():
            raise ConfigError(f"optimizer {options.optimizer!r}; timm has: {', '.join(list_optimizers())}")
        self.optimizer = create_optimizer_v2(
            parameter_groups(self.model, options),
            options.optimizer,
            lr=options.lr,
            weight_decay=options.weight_decay,
            betas=(0.9, 0.999),
        )
        torch.manual_seed(options.seed + process.rank)
        self.sampler: DistributedSampler[Any] | RandomSampler = (
            DistributedSampler(train, seed=options.seed, drop_last=True)  # type: ignore[arg-type]
            if process.world > 1
            else RandomSampler(train)
        )
        self.loader = self.batches(train)
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
        self.step, self.total = 0, 0.0  # done of the epoch to come, and the sum of their losses
        if process.leads:  # nothing is refused from here on
            write_text(out / "options.json", json.dumps(asked, indent=1))

    def batches(self, train: LabelledImages) -> DataLoader[Any] | AugmentedBatches:
        """(images, labels, indices) of each step, of this process."""
        options, config = self.options, self.config
        size = max(2, options.batch_size // self.process.world)
        if options.augment == "batch":
            return AugmentedBatches(train, config, size, self.sampler, options.crop_area)
        return DataLoader(
            TrainingImages(train, config, options),
            batch_size=size,
            sampler=self.sampler,
            num_workers=options.workers,
            persistent_workers=options.workers > 0,
            drop_last=True,
            collate_fn=batch_of,
        )

    def check_folder(self) -> None:
        file = self.out / "options.json"
        if not file.exists():
            if self.out.is_dir() and any(not path.name.endswith(".partial") for path in self.out.iterdir()):
                raise DvtEdgeError(f"{self.out}: is not empty and holds no run; give another folder")
            return
        asked, found = json.loads(json.dumps(self.asked)), parse_json(file.read_bytes(), str(file))
        if isinstance(found, dict) and isinstance(found.get("options"), dict):  # a run from before an option was there
            found["options"] = json.loads(json.dumps(asdict(TrainingOptions()))) | found["options"]
            for run in (asked, found):  # neither changes a step: `trained_on` has the images themselves
                run.pop("data", None)
                run["options"].pop("workers", None)
        if found != asked:
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
        """The mean loss of the epoch's steps. Those done before a kill are drawn again, and not taken again."""
        options, device = self.options, self.process.device
        start, done = time.perf_counter(), self.step
        weights = torch.tensor(options.exit_weights or (1.0,) * self.config.num_exits, device=device)
        seed = options.seed * 100_003 + epoch * 101 + self.process.rank
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # mixup draws from numpy, RandAugment and erasing from random
        random.seed(seed)
        if isinstance(self.sampler, DistributedSampler):
            self.sampler.set_epoch(epoch)
        self.runner.train()
        for step, (images, labels, indices) in enumerate(batches(self.loader)):
            if options.augment == "batch":
                images = standardise(images, self.config)
            count = len(images) - len(images) % 2  # mixup pairs images up
            images, targets = self.mix(images[:count].to(device), labels[:count].to(device))
            if step < done:
                tick(self.total / done)
                continue
            with self.precision():
                exits = self.runner(images)
            exits = [z.float() for z in exits]
            losses = exit_losses(exits, targets, options.distill)
            if self.teacher is not None:
                taught = teacher_losses(exits, self.teacher[indices[:count].to(device)], options.temperature)
                losses = losses + options.teacher_weight * taught
            loss = (weights * losses).sum()
            if not torch.isfinite(loss):
                raise DvtEdgeError(f"epoch {epoch + 1}, step {step}: the loss is {loss.item()}; try a lower --lr")
            self.optimizer.zero_grad()
            loss.backward()
            if options.clip_grad:
                nn.utils.clip_grad_norm_(self.model.parameters(), options.clip_grad)
            self.optimizer.step()
            update = epoch * len(self.loader) + step + 1
            self.scheduler.step_update(update)
            self.ema.update(self.model, step=update)
            self.step, self.total = step + 1, self.total + loss.item()
            tick(self.total / self.step)
            if (elapsed := time.perf_counter() - start) >= SAVE_S:
                self.seconds, start = self.seconds + elapsed, time.perf_counter()
                if self.process.leads:
                    self.save_state()
        self.seconds += time.perf_counter() - start
        return self.total / len(self.loader)

    def end_epoch(self, epoch: int, loss: float, console: Console) -> None:
        self.epoch, self.step, self.total = epoch + 1, 0, 0.0
        if self.process.leads:
            line = {
                "epoch": self.epoch,
                "loss": round(loss, 4),
                "lr": round(max(group["lr"] for group in self.optimizer.param_groups), 7),
                **self.figures(self.ema.module, "held_out"),
                "seconds": round(self.seconds, 1),
            }
            with (self.out / "log.jsonl").open("a") as log:  # before the state: a line too many is cut off on resume
                log.write(json.dumps(line) + "\n")
            self.save_state()
            console.print(json.dumps(line), highlight=False, soft_wrap=True)
        self.process.barrier()

    @property
    def amp(self) -> bool:
        return self.options.amp == "bf16" or (self.options.amp == "auto" and self.process.device.type == "cuda")

    def precision(self) -> AbstractContextManager[Any]:
        """That of the run: what is computed within is in bf16 where that was asked for, else in float32."""
        return torch.autocast(self.process.device.type, torch.bfloat16) if self.amp else nullcontext()

    def figures(self, model: nn.Module, split: Literal["test", "held_out"]) -> dict[str, list[float]]:
        images = self.test if split == "test" else self.held_out
        with self.precision():
            found = exit_accuracies(model, self.config, images)
        return {f"{split}_{name}": top1 for name, top1 in found.items()}

    def save_state(self) -> None:
        buffer = io.BytesIO()
        state = {
            "model": self.model.state_dict(),
            "ema": self.ema.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "total": self.total,
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
            self.model.load_state_dict(state["model"])
            self.ema.module.load_state_dict(state["ema"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.epoch, self.seconds = state["epoch"], state["seconds"]
        except Exception as error:  # a damaged pickle fails in many ways
            words = f"damaged, or of another version ({one_line(error)})"
            raise CheckpointError(f"{file}: {words}; delete it to start anew") from error
        self.step, self.total = state.get("step", 0), state.get("total", 0.0)  # not in an older run
        self.scheduler.step_update(self.epoch * len(self.loader) + self.step)
        if self.process.leads and (self.out / "log.jsonl").exists():  # a kill may fall between state and log
            lines = (self.out / "log.jsonl").read_text().splitlines()[: self.epoch]
            write_text(self.out / "log.jsonl", "".join(line + "\n" for line in lines))

    def finish(self) -> dict[str, Any]:
        """Save the EMA weights in float16, and what those weights reach in the run's precision."""
        result: dict[str, Any] = {}
        if self.process.leads:
            cascade = self.ema.module
            cascade.load_state_dict(
                {k: v.half().float() if v.is_floating_point() else v for k, v in cascade.state_dict().items()}
            )
            save_cascade(cascade, self.out / "cascade.safetensors", torch.float16)
            result = {
                "model": self.config.name,
                "data": "/".join(Path(self.test.source).parts[-2:]),
                "test_images": len(self.test),
                "precision": "bf16" if self.amp else "float32",
                **self.figures(cascade, "test"),
                **self.figures(cascade, "held_out"),
                "epochs": self.epoch,
                "hours": round(self.seconds / 3600, 3),
                "processes": self.process.world,
                "machine": machine(self.process.device),
                "torch": torch.__version__,
            }
            write_text(self.out / "result.json", json.dumps(result, indent=1))
        self.process.barrier()
        return result


def file_sha256(path: str) -> str:
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file")
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def machine(device: torch.device) -> str:
    """The processor or GPU in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    from dvt_edge.machine import describe

    return describe()
