"""Raw tensors that a device made of the bundle's golden images, against the host's run of the artifacts.

DIR/stageK.TENSOR.bin      (images, ...) of every output of stage K, or of some, little-endian in its dtype
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dvt_edge.device.engines import Arrays
from dvt_edge.device.runtime import Runtime
from dvt_edge.errors import DataError
from dvt_edge.validation.bounds import Bounds, DeviceBounds
from dvt_edge.validation.compare import ErrorMeter
from dvt_edge.validation.verdicts import Check


def compare_outputs(
    runtime: Runtime, folder: Path, bounds: DeviceBounds, recipe: Bounds
) -> tuple[list[Check], dict[str, ErrorMeter]]:
    """A check a tensor that is there, in the order of the stages: the first that fails is where the error begins.

    Logits keep `bounds.max_kernel_error`, state the recipe's band. Raises DataError for other files, or none.
    """
    manifest = runtime.manifest
    images, _ = runtime.bundle.golden(0)
    tensors = {f"stage{k}.{t.name}.bin": (k, t) for k, stage in enumerate(manifest.stages) for t in stage.outputs}
    found = sorted(p.name for p in folder.glob("*.bin")) if folder.is_dir() else []
    if not found:
        raise DataError(f"{folder}: no outputs in it; expected {', '.join(list(tensors)[:3])} and so on")
    if strangers := [name for name in found if name not in tensors]:
        raise DataError(f"{folder}: {strangers[0]} is no output of {manifest.name}; those are {', '.join(tensors)}")
    arrays = {}
    for name in found:
        _, tensor = tensors[name]
        content, shape = (folder / name).read_bytes(), (len(images), *tensor.shape[1:])
        dtype = np.dtype(tensor.dtype).newbyteorder("<")
        if len(content) != dtype.itemsize * int(np.prod(shape)):
            raise DataError(f"{folder / name}: {len(content)} bytes; expected {shape} {tensor.dtype}")
        arrays[name] = np.frombuffer(content, dtype).reshape(shape)
    meters = {name: ErrorMeter() for name in tensors if name in arrays}
    for k, pixels in enumerate(images):
        state: Arrays = {}
        for stage, spec in enumerate(manifest.stages):
            given = {t.name: pixels[None] if t.role == "image" else state[t.name] for t in spec.inputs}
            outputs = runtime.program(stage)(given)
            state = {t.name: outputs[t.name] for t in spec.outputs}
            for name, (of, tensor) in tensors.items():
                if of == stage and name in meters:
                    meters[name].add(arrays[name][k], outputs[tensor.name][0])
    return [check(name, tensors[name][1].role, meter, bounds, recipe) for name, meter in meters.items()], meters


def check(name: str, role: str, meter: ErrorMeter, bounds: DeviceBounds, recipe: Bounds) -> Check:
    sqnr = meter.sqnr_db
    found = f"off by {meter.max_abs_error:.3g}" + ("" if sqnr is None else f", {sqnr:.1f} dB SQNR")
    if role == "logits":
        limit: float | None = bounds.max_kernel_error
    else:
        limit = recipe.max_abs_error
    if limit is not None:
        return Check(name, "pass" if meter.max_abs_error <= limit else "fail", found, f"at most {limit:g}")
    least = recipe.min_sqnr_db
    ok = least is None or sqnr is None or sqnr >= least
    return Check(name, "pass" if ok else "fail", found, "" if least is None else f"at least {least:g} dB")
