"""Calls of functions replaced while a stage is traced, by others with the same result in an engine's own operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Rewriting(TorchFunctionMode):
    """While it is active, calls of the functions in `table` go to their replacements, which run outside of it."""

    def __init__(self, table: Mapping[Any, Callable[..., Any]]) -> None:
        super().__init__()
        self.table = table

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.table.get(func, func)(*args, **(kwargs or {}))


def patch_linear(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """`patch_tokens` of one image as a linear: engines are slow at a convolution of that kernel."""
    patch = weight.shape[-1]
    grid = (x.shape[-1] + 2 * padding - patch) // patch + 1
    after = grid * patch - x.shape[-1] - padding
    x = x.permute(0, 2, 3, 1)
    if padding or after:
        x = F.pad(x, (0, 0, padding, after, padding, after))
    x = x.reshape(grid, patch, grid, -1).permute(0, 2, 1, 3).reshape(1, grid * grid, -1)
    return F.linear(x, weight.permute(0, 2, 3, 1).flatten(1), bias)


def conv1x1(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int
) -> Tensor:
    """A convolution of 1x1 as a linear."""
    if weight.shape[2:] != (1, 1) or tuple(stride) != (1, 1) or tuple(padding) != (0, 0) or groups > 1:
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)
    return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)
