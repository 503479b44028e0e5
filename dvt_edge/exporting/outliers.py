"""Outliers of activations, moved into weights before int8: an equal cascade whose layers' inputs are more alike.

A layer's input has one range for all its channels, so that a few wide ones leave the others few levels; its weights
have a range for each output. Where what comes before a layer is a norm, or the values of attention, each channel can be
divided by a scale there and multiplied in the layer's weights (SmoothQuant, arXiv 2211.10438). Queries and keys share
out theirs between them, and values become as wide as these: where `qkv` gives all three in one range, none is left few
levels. Scales here are powers of two, with which every float product stays what it was, bit by bit.
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
    pairs, attentions = list(scalable(made)), [m for m in made.modules() if isinstance(m, Attention)]
    with largest([layer for _, layer in pairs], [a.qkv for a in attentions]) as (given, gave), torch.no_grad():
        for batch in images:
            made(batch)
    with torch.no_grad():
        for norm, layer in pairs:
            scale = scales(given[layer], layer.weight.abs().amax(0), strength)
            norm.weight.div_(scale)
            norm.bias.div_(scale)
            layer.weight.mul_(scale)
        for attention in attentions:
            even_out(attention, gave[attention.qkv], strength)
    return made


def even_out(attention: Attention, widths: Tensor, strength: float) -> None:
    """Scale what `qkv` gives, (3 D,) of which are the largest values: queries against keys, values against `proj`."""
    q, k, v = widths.clamp_min(LEAST).chunk(3)
    if isinstance(attention.qk_norm, nn.Identity):
        queries = torch.round((torch.log2(q) - torch.log2(k)) / 2).exp2()
    else:
        queries = torch.ones_like(q)
    values = torch.ones_like(v)
    if isinstance(attention.norm, nn.Identity):  # attention mixes tokens, never channels
        values = scales(v, attention.proj.weight.abs().amax(0), strength)
        widest = torch.maximum(q / queries, k * queries).max()
        values = values * torch.ceil(torch.log2((v / values).max() / widest)).exp2()
        attention.proj.weight.mul_(values)
    scale = torch.cat((queries, 1 / queries, values))
    attention.qkv.weight.div_(scale[:, None])
    if attention.qkv.bias is not None:
        attention.qkv.bias.div_(scale)


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


def scalable(cascade: Cascade) -> Iterator[tuple[nn.LayerNorm, nn.Linear]]:
    """Each linear whose input comes from a norm that gives it to nobody else."""
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
        if stage.pooling != "attention":  # the pool's linears share one input
            yield from of_norm(stage.norm, stage.head)


def of_norm(norm: nn.Module, layer: nn.Linear) -> Iterator[tuple[nn.LayerNorm, nn.Linear]]:
    if isinstance(norm, nn.LayerNorm):
        yield norm, layer


Widths = dict[nn.Linear, Tensor]  # the largest absolute value of each channel


@contextmanager
def largest(of_inputs: list[nn.Linear], of_outputs: list[nn.Linear]) -> Iterator[tuple[Widths, Widths]]:
    """Of what these layers are given, and of what those give, in all that runs inside the block."""
    given: Widths = {}
    gave: Widths = {}

    def note(widths: Widths, layer: nn.Module, x: Tensor) -> None:
        assert isinstance(layer, nn.Linear)
        found = x.detach().abs().flatten(0, -2).amax(0)
        widths[layer] = torch.maximum(widths[layer], found) if layer in widths else found

    handles = [layer.register_forward_pre_hook(lambda m, inputs: note(given, m, inputs[0])) for layer in of_inputs]
    handles += [layer.register_forward_hook(lambda m, inputs, output: note(gave, m, output)) for layer in of_outputs]
    try:
        yield given, gave
    finally:
        for handle in handles:
            handle.remove()
