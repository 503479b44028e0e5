"""Splitting: a cascade into stages that a phone runs one by one, with explicit, named, statically shaped state.

    stage 0      (image)                                -> (logits, tokens_0, relations_0)
    stage k      (image, tokens_{k-1}, relations_{k-1}) -> (logits, tokens_k, relations_k)
    last stage   (image, tokens_{k-1}, relations_{k-1}) -> (logits)

Everything is batch 1; inside, the batch axis is dropped once the image is tokens, which spares a reshape before and
after each linear. The image goes in as the phone has it, uint8 RGB; normalisation is inside each stage.
A state that the configuration does not reuse is left out. Between programs that compute in float16 it can stay so,
which rounds what they have rounded already; all else in a StageGraph is float32.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dvt_edge.device.manifest import Dtype, TensorSpec
from dvt_edge.network.cascade import Cascade, Stage


class StageGraph(nn.Module):
    """One stage as it is exported: positional inputs and outputs in the order of `inputs` and `outputs`.

    `layout` "NHWC" takes uint8 (1, size, size, 3); "image" takes float32 (1, 3, size, size) with values 0..255,
    which is what a Core ML image input hands to its graph. `state` is the dtype of what stages hand on.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, cascade: Cascade, index: int, layout: str = "NHWC", state: Dtype = "float32") -> None:
        super().__init__()
        config = cascade.config
        stage = cascade.stages[index]
        assert isinstance(stage, Stage)
        self.stage, self.index, self.layout, self.grid = stage, index, layout, config.grids[index]
        size, mean, scale = config.image_size, torch.tensor(config.mean) * 255, 1 / (torch.tensor(config.std) * 255)
        if layout == "NHWC":  # a row of pixels each: engines loop over three values slowly
            shape, mean, scale = (1, size, size, 3), mean.repeat(size, 1), scale.repeat(size, 1)
        else:
            shape, mean, scale = (1, 3, size, size), mean.view(3, 1, 1), scale.view(3, 1, 1)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("scale", scale, persistent=False)
        image = TensorSpec("image", "uint8" if layout == "NHWC" else "float32", shape, "image")
        logits = TensorSpec("logits", "float32", (1, config.num_classes), "logits")
        self.inputs = (image, *state_of(cascade, index - 1, state))
        self.outputs = (logits, *state_of(cascade, index, state))

    @property
    def name(self) -> str:
        return f"stage{self.index}"

    def forward(self, image: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        if image.shape != self.inputs[0].shape:
            raise ValueError(f"{self.name}: an image of shape {tuple(image.shape)}; expected {self.inputs[0].shape}")
        pixels = (image.to(torch.float32) - self.mean) * self.scale
        if self.layout == "NHWC":
            pixels = pixels.permute(0, 3, 1, 2)
        left, stage = [as_dtype(t, "float32") for t in state], self.stage
        tokens = left.pop(0) if stage.reuses_features else None
        relations = left.pop(0) if stage.reuses_relations else None
        x, mixed = stage.embed(pixels), stage.mix(relations)
        outputs = stage.transform(x.flatten(0, 1), one_image(tokens), one_image(mixed))
        made = (t.unflatten(0, (1, -1)) for t in outputs if t is not None)
        return tuple(as_dtype(t, spec.dtype) for t, spec in zip(made, self.outputs, strict=True))

    def example_inputs(self, seed: int = 0) -> tuple[Tensor, ...]:
        """Random inputs of the right names, dtypes and shapes."""
        generator = torch.Generator().manual_seed(seed)
        return tuple(
            torch.randint(0, 256, t.shape, generator=generator).to(getattr(torch, t.dtype))
            if t.role == "image"
            else torch.randn(t.shape, generator=generator).to(getattr(torch, t.dtype))
            for t in self.inputs
        )

    def macs(self) -> int:
        """Multiply-accumulates for one image: matmuls and convolutions, counted by torch on tensors without data."""
        graph, inputs = copy.deepcopy(self).to("meta"), (x.to("meta") for x in self.example_inputs())
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            graph(*inputs)
        return int(counter.get_total_flops()) // 2

    def parameter_count(self) -> int:
        return sum(p.numel() for p in self.stage.parameters())


def state_of(cascade: Cascade, index: int, dtype: Dtype) -> tuple[TensorSpec, ...]:
    """What stage `index` hands on; nothing for the one before the first and for the last."""
    if not 0 <= index < cascade.config.num_exits - 1:
        return ()
    config, stage = cascade.config, cascade.stages[index]
    tokens = config.tokens(index)
    specs = []
    if stage.gives_tokens:
        specs.append(TensorSpec(f"tokens_{index}", dtype, (1, tokens, config.dim), "state"))
    if stage.gives_relations:
        channels = config.depth * config.heads
        specs.append(TensorSpec(f"relations_{index}", dtype, (1, channels, tokens, tokens), "state"))
    return tuple(specs)


def as_dtype(t: Tensor, dtype: Dtype) -> Tensor:
    """No cast where there is none to do: an export would keep it."""
    wanted = getattr(torch, dtype)
    return t if t.dtype == wanted else t.to(wanted)


def one_image(t: Tensor | None) -> Tensor | None:
    """Without its batch axis of 1, by a reshape, which every engine has."""
    return None if t is None else t.flatten(0, 1)


def split(cascade: Cascade, layout: str = "NHWC", state: Dtype = "float32") -> list[StageGraph]:
    """The stages of a cascade in order, in eval mode, sharing its weights."""
    cascade.eval()
    return [StageGraph(cascade, index, layout, state).eval() for index in range(cascade.config.num_exits)]


class StageChain:
    """Runs PyTorch stages one after another on one image, handing state on by name."""

    def __init__(self, stages: list[StageGraph]) -> None:
        self.stages = stages

    @torch.inference_mode()
    def run(self, image: Tensor, last: int | None = None) -> list[tuple[dict[str, Tensor], dict[str, Tensor]]]:
        """(inputs, outputs) by name of each stage up to `last`; `image` is of the first input's dtype and shape."""
        state: dict[str, Tensor] = {"image": image}
        steps = []
        for stage in self.stages[: None if last is None else last + 1]:
            inputs = {t.name: state[t.name] for t in stage.inputs}
            outputs = dict(zip((t.name for t in stage.outputs), stage(*inputs.values()), strict=True))
            state |= {t.name: outputs[t.name] for t in stage.outputs if t.role == "state"}
            steps.append((inputs, outputs))
        return steps
