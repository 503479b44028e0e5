"""Outliers of activations, moved into weights before int8: an equal cascade whose layers' inputs are more alike.

A layer's input has one range for all its channels, so that a few wide ones leave the others few levels; its weights
have a range for each output. Where what comes before a layer is a norm, or the values of attention, each channel can be
divided by a scale there and multiplied in the layer's weights (SmoothQuant, arXiv 2211.10438). Scales here are powers
of two, with which every float product stays what it was, bit by bit.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from dvt_edge.data.images import LabelledImages
from dvt_edge.device.preprocess import preprocess
from dvt_edge.network.cascade import Attention, Block, Cascade, FeatureReuse, Stage
from dvt_edge.network.config import CascadeConfig
from dvt_edge.network.pixels import normalise

BATCH = 16
LEAST = 1e-5  # a channel that stays below, in activations or weights, is left alone


def smoothed(cascade: Cascade, images: Iterable[Tensor], strength: float = 0.5) -> Cascade:
    """A copy with each channel's scale max|x|^strength / max|w|^(1-strength), rounded to a power of two.

    `images` are batches (B, 3, size, size), normalised, that show the ranges of activations. The copy's stages take and
    give what they did, bit by bit: what travels between them is not scaled.
    """
    made = copy.deepcopy(cascade).eval()
    pairs = list(scalable(made))
    with largest_inputs([layer for _, layer in pairs]) as seen, torch.no_grad():
        for batch in images:
            made(batch)
    with torch.no_grad():
        for before, layer in pairs:
            scale = scales(seen[layer], layer.weight.abs().amax(0), strength)
            before.div_(scale)
            layer.weight.mul_(scale)
    return made


def normalised(images: LabelledImages, config: CascadeConfig) -> Iterator[Tensor]:
    """Batches (B, 3, size, size) as the network takes them."""
    for start in range(0, len(images), BATCH):
        part = images.take(range(start, min(start + BATCH, len(images))))
        pixels = np.stack([preprocess(image, config.image_size, config.resize) for image in part])
        yield normalise(torch.from_numpy(pixels), config)


def scales(inputs: Tensor, weights: Tensor, strength: float) -> Tensor:
    """Of each channel, from its largest input and weight."""
    exponent = torch.round(strength * torch.log2(inputs) - (1 - strength) * torch.log2(weights))
    left_alone = (inputs < LEAST) | (weights < LEAST)
    return torch.where(left_alone, torch.zeros(()), exponent).exp2()


class Producer:
    """What gives a layer its input: parameters whose last or only axis, or rows, are the channels."""

    def __init__(self, *parameters: Tensor) -> None:
        self.parameters = parameters

    def div_(self, scale: Tensor) -> None:
        for parameter in self.parameters:
            parameter.div_(scale if parameter.ndim == 1 else scale[:, None])


def scalable(cascade: Cascade) -> Iterator[tuple[Producer, nn.Linear]]:
    """Each linear whose input's channels can be scaled where they are made, and for nobody else."""
    for stage in cascade.stages:
        assert isinstance(stage, Stage)
        for module in stage.modules():
            if isinstance(module, Block):
                yield from of_norm(module.norm1, module.attn.qkv)
                yield from of_norm(module.norm2, module.fc1)
                yield from of_norm(module.norm3, module.fc2)
            elif isinstance(module, FeatureReuse):
                yield from of_norm(module.norm, module.fc1)
            elif isinstance(module, Attention):
                yield from of_norm(module.norm, module.proj)
                if isinstance(module.norm, nn.Identity):
                    yield of_values(module), module.proj
        if stage.pooling != "attention":  # the pool's linears share one input
            yield from of_norm(stage.norm, stage.head)


def of_norm(norm: nn.Module, layer: nn.Linear) -> Iterator[tuple[Producer, nn.Linear]]:
    if isinstance(norm, nn.LayerNorm):
        yield Producer(norm.weight.data, norm.bias.data), layer


def of_values(attention: Attention) -> Producer:
    """The rows of `qkv` that make the values: attention mixes tokens, never channels."""
    qkv, width = attention.qkv, attention.proj.in_features
    rows = [qkv.weight.data[2 * width :]]
    return Producer(*rows, *([] if qkv.bias is None else [qkv.bias.data[2 * width :]]))


@contextmanager
def largest_inputs(layers: list[nn.Linear]) -> Iterator[dict[nn.Linear, Tensor]]:
    """The largest absolute input of each channel of each layer, of what runs inside the block."""
    seen: dict[nn.Linear, Tensor] = {}

    def watch(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.Linear)
        found = inputs[0].detach().abs().flatten(0, -2).amax(0)
        seen[layer] = torch.maximum(seen[layer], found) if layer in seen else found

    handles = [layer.register_forward_pre_hook(watch) for layer in layers]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
