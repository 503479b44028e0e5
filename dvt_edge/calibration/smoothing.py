"""A regression on ranks that takes the luck out of a histogram of gains.

The mean gain of the images in each bin is replaced by a local linear fit on the ranks of their confidences (Gaussian
kernel; Fan and Gijbels, Local Polynomial Modelling, 1996). Fits of several bandwidths are averaged, each weighted by
its likelihood when every image is predicted from all the others, which a linear smoother gives without refitting:
residual / (1 - leverage).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BANDWIDTHS = (0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 10.0)  # in ranks of 0..1; the last one is a plane
CELLS = {1: 128, 2: 40, 3: 16}  # dimensions -> cells an axis that the fit is made on
SLOPE_PRIOR = 0.05  # a ridge on slopes, in images: keeps the fit defined where there are none

Floats = NDArray[np.float64]


def smoothed(count: Floats, gained: Floats, squared: Floats, bandwidths: Sequence[float] = BANDWIDTHS) -> Floats:
    """`gained` as the fit has it: each bin's regression value times its own `count`.

    Histograms, over the same bins, of the images, of their gains, and of the gains' squares; up to three axes, each in
    the order of a confidence.
    """
    dims, size = count.ndim, CELLS[count.ndim]
    ranks = [middle_ranks(count, axis) for axis in range(dims)]
    cells = [np.minimum((rank * size).astype(np.int64), size - 1) for rank in ranks]
    gather = [(np.arange(size)[:, None] == cell).astype(np.float64) for cell in cells]
    coarse = [along_axes(gather, histogram) for histogram in (count, gained, squared)]
    centres = (np.arange(size) + 0.5) / size
    fits = [local_linear(coarse[0], coarse[1], coarse[2], centres, bandwidth) for bandwidth in bandwidths]
    errors = np.array([error for error, _ in fits])
    variance = max(float(errors.min()), 1e-9) / max(count.sum(), 1)  # gains that are all equal have none
    weights = np.exp((errors.min() - errors) / (2 * variance))
    surface = np.tensordot(weights / weights.sum(), np.stack([fit for _, fit in fits]), 1)
    return along_axes([interpolation(rank, size) for rank in ranks], surface) * count


def local_linear(
    count: Floats, gained: Floats, squared: Floats, centres: Floats, bandwidth: float
) -> tuple[float, Floats]:
    """The squared error of leaving one image out, and the fitted mean gain of each cell."""
    dims = count.ndim
    kernels = [np.exp(-0.5 * ((centres[:, None] - centres) / bandwidth) ** 2)] * dims
    features = [np.ones_like(count), *np.meshgrid(*[centres] * dims, indexing="ij")]
    normal, target = np.empty((*count.shape, dims + 1, dims + 1)), np.empty((*count.shape, dims + 1))
    for i in range(dims + 1):
        target[..., i] = along_axes(kernels, gained * features[i])
        for j in range(i + 1):
            normal[..., i, j] = normal[..., j, i] = along_axes(kernels, count * features[i] * features[j])
    # Moments about the origin become moments about each cell: x - x0, on both sides of the normal equations.
    shift = np.broadcast_to(np.eye(dims + 1), normal.shape).copy()
    for i in range(1, dims + 1):
        shift[..., i, 0] = -features[i]
    normal = shift @ normal @ shift.swapaxes(-1, -2)
    target = (shift @ target[..., None])[..., 0]
    # One image of the mean gain, and a little ridge on the slopes, keep empty places defined.
    normal[..., 0, 0] += 1
    target[..., 0] += gained.sum() / max(count.sum(), 1)
    for i in range(1, dims + 1):
        normal[..., i, i] += SLOPE_PRIOR
    unit = np.zeros_like(target)
    unit[..., 0] = 1
    solved: Floats = np.linalg.solve(normal, np.stack([target, unit], axis=-1)).astype(np.float64)
    fit, leverage = solved[..., 0, 0], np.minimum(solved[..., 0, 1], 0.99)
    error = (squared - 2 * fit * gained + fit**2 * count) / (1 - leverage) ** 2
    return float(error.sum()), fit


def along_axes(matrices: Sequence[Floats], array: Floats) -> Floats:
    """Each matrix, (new, old), applied along its axis of `array`."""
    for axis, matrix in enumerate(matrices):
        array = np.moveaxis(np.tensordot(matrix, array, (1, axis)), 0, axis)
    return array


def interpolation(ranks: Floats, size: int) -> Floats:
    """(ranks, size): linear interpolation between the centres of `size` cells; constant beyond the outer ones."""
    place = np.clip(ranks * size - 0.5, 0, size - 1)
    left = np.minimum(place.astype(np.int64), size - 2)
    matrix, rows = np.zeros((len(ranks), size)), np.arange(len(ranks))
    matrix[rows, left] = 1 - (place - left)
    matrix[rows, left + 1] = place - left
    return matrix


def middle_ranks(count: Floats, axis: int) -> Floats:
    """The rank, 0..1, of the middle of each bin along one axis."""
    total = count.sum(axis=tuple(a for a in range(count.ndim) if a != axis))
    return (np.cumsum(total) - total / 2) / max(total.sum(), 1)
