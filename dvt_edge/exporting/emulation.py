"""int8 as PyTorch sees it: any set of a cascade's layers rounded as a static recipe rounds them, the others in float.

It ranks layers in seconds where converting and running an artifact for each set takes minutes; what an export then
measures is the artifact. Ranges are minima and maxima over calibration images, as the exporters' are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dvt_edge.errors import ExportError
from dvt_edge.exporting.recipes import Recipe
from dvt_edge.network.cascade import Cascade


@dataclass
class Range:
    """Of a tensor over all images; zero is always in it."""

    low: float = 0.0
    high: float = 0.0

    def add(self, x: Tensor) -> None:
        self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))

    def round(self, x: Tensor) -> Tensor:
        """To the nearest of 256 levels."""
        scale = max(self.high - self.low, 1e-12) / 255
        zero = round(-self.low / scale)
        return (torch.clamp(torch.round(x / scale) + zero, 0, 255) - zero) * scale


def round_weights(weight: Tensor, bits: int) -> Tensor:
    """Symmetric, a scale for each output channel."""
    levels = 2 ** (bits - 1) - 1
    scale = weight.flatten(1).abs().amax(1).clamp_min(1e-12) / levels
    scale = scale.view(-1, *[1] * (weight.ndim - 1))
    return torch.clamp(torch.round(weight / scale), -levels, levels) * scale


def weighted_layers(cascade: Cascade) -> dict[str, nn.Linear | nn.Conv2d]:
    """The linears and convolutions of all stages, by their names: "stage1.blocks.0.attn.proj"."""
    return {
        f"stage{k}.{name}": module
        for k, stage in enumerate(cascade.stages)
        for name, module in stage.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }


class Emulation:
    """A cascade with a switch for each layer with weights, by name: "stage1.blocks.0.fc2".

    `images` (B, 3, size, size), normalised, come in batches and set the ranges. Use it alone: it changes the cascade.
    """

    def __init__(self, cascade: Cascade, recipe: Recipe, images: Iterable[Tensor]) -> None:
        if not recipe.static_int8:
            raise ExportError(f"target {recipe.name} has no layers in static int8; expected one that has")
        bits = 7 if recipe.engine == "onnxruntime" else 8  # ONNX weights use 7: `reduce_range`
        self.outputs = recipe.engine == "executorch"  # XNNPACK rounds what a layer gives, too
        self.cascade = cascade.eval()
        self.layers = weighted_layers(cascade)
        self.given = {name: Range() for name in self.layers}
        self.made = {name: Range() for name in self.layers}
        self.on: frozenset[str] | None = None  # None: ranges are being set
        for name, layer in self.layers.items():
            layer.register_forward_pre_hook(lambda _, inputs, name=name: self.before(name, inputs[0]))
            layer.register_forward_hook(lambda _, inputs, output, name=name: self.after(name, output))
        with torch.no_grad():
            for batch in images:
                cascade(batch)
        self.exact = {name: layer.weight.data for name, layer in self.layers.items()}
        self.rounded = {name: round_weights(weight, bits) for name, weight in self.exact.items()}
        self.on = frozenset()

    def before(self, name: str, x: Tensor) -> tuple[Tensor]:
        if self.on is None:
            self.given[name].add(x)
        return (self.given[name].round(x) if self.on and name in self.on else x,)

    def after(self, name: str, y: Tensor) -> Tensor:
        if self.on is None:
            self.made[name].add(y)
        return self.made[name].round(y) if self.outputs and self.on and name in self.on else y

    def switch(self, on: Iterable[str]) -> None:
        """Round these layers and no others."""
        self.on = frozenset(on)
        for name, layer in self.layers.items():
            layer.weight.data = (self.rounded if name in self.on else self.exact)[name]


State = tuple[Tensor | None, Tensor | None]


@dataclass
class Answers:
    """What a cascade gave with some layers rounded: each exit's logits and the state before each stage, by batch."""

    on: frozenset[str]
    logits: list[list[Tensor]]  # of each batch, of each exit
    states: list[list[State]]

    def exit_logits(self) -> list[Tensor]:
        """(images, classes) of each exit."""
        return [torch.cat([batch[k] for batch in self.logits]) for k in range(len(self.logits[0]))]


@torch.inference_mode()
def answers(emulation: Emulation, images: Sequence[Tensor], on: Iterable[str], like: Answers | None = None) -> Answers:
    """All exits with the layers `on` rounded. Stages before the first that differs are taken from `like`."""
    on = frozenset(on)
    emulation.switch(on)
    stages = list(emulation.cascade.stages)
    changed = {int(name.split(".")[0].removeprefix("stage")) for name in (on ^ like.on if like else emulation.layers)}
    first = min(changed, default=len(stages)) if like else 0
    logits, states = [], []
    for index, batch in enumerate(images):
        found = like.logits[index][:first] if like else []
        before: list[State] = like.states[index][: first + 1] if like else [(None, None)]
        for stage in stages[first:]:
            answer, tokens, relations = stage(batch, *before[-1])
            found, before = [*found, answer], [*before, (tokens, relations)]
        logits.append(found)
        states.append(before)
    return Answers(on, logits, states)
