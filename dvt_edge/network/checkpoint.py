"""A file of weights in, a cascade out: our own .safetensors, or a published .pth.tar.

Nothing is unpickled beyond tensors (`weights_only=True`), and every tensor must be there, alone and of its shape.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from dvt_edge.atomic import write_bytes
from dvt_edge.data.shipped import ZOO, shipped
from dvt_edge.device.schema import from_json
from dvt_edge.device.trained_on import TrainedOn
from dvt_edge.errors import CheckpointError, ConfigError, SchemaError, one_line
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.config import CascadeConfig
from dvt_edge.network.presets import PRESETS, config_for
from dvt_edge.network.published import from_published_name


def zoo_models() -> dict[str, Path]:
    """The trained cascades that come with the package, by name."""
    return shipped(ZOO, ".safetensors")


def resolve_checkpoint(path: str | os.PathLike[str]) -> Path:
    """The file of a checkpoint: as it is, without "#<weights>", or "zoo:<name>" for one that comes with the package."""
    path = chosen_weights(path)[0]
    if str(path).startswith("zoo:"):
        name = str(path).removeprefix("zoo:")
        models = zoo_models()
        if name not in models:
            raise CheckpointError(f"no cascade {name!r} in the zoo; it has: {', '.join(models) or 'none'}")
        return models[name]
    if not Path(path).is_file():
        raise CheckpointError(f"{path}: no such file; give a .safetensors or .pth.tar, or zoo:<name>")
    return Path(path)


def chosen_weights(path: str | os.PathLike[str]) -> tuple[str | os.PathLike[str], str | None]:
    """ "file.pth.tar#state_dict_ema" as the file and which of its weights are meant; None where that is not said."""
    file, mark, key = os.fspath(path).rpartition("#")
    return (file, key) if mark and not Path(path).exists() else (path, None)


def load_cascade(path: str | os.PathLike[str], model: str | None = None) -> Cascade:
    """A trained cascade in eval mode, float32.

    `path` is a .safetensors written by `save_cascade` (configuration and `trained_on` are inside), a published
    .pth.tar, or "zoo:<name>". `model` names the configuration (`config_for`) where the file has none; without it
    a published file is recognised by its tensors. Where a file holds several weights, "#state_dict_ema" after its name,
    say, chooses.

    Raises CheckpointError with the first missing, extra or misshapen tensor, before memory is taken for the model; and
    for a `model` beside a configuration that the file has.
    """
    file = resolve_checkpoint(path)
    weights, config, trained_on = read_weights(file, chosen_weights(path)[1])
    if model is not None:
        if config is not None:
            own = f"it has a configuration of its own, {config.name}"
            raise CheckpointError(f"{file}: {own}; leave out the model {model}")
        config = config_for(model)
    if config is None:
        config = recognise(file, weights)
    require_match(skeleton(config, file), weights, config.name, file)
    cascade = Cascade(config)
    cascade.load_state_dict(weights, strict=True)
    cascade.trained_on = trained_on
    return cascade.eval()


def save_cascade(cascade: Cascade, path: str | os.PathLike[str], dtype: torch.dtype = torch.float32) -> None:
    """Write weights, configuration and `trained_on` to a .safetensors, atomically; floats are stored as `dtype`."""
    tensors = {
        name: (t.to(dtype) if t.is_floating_point() else t).detach().cpu().contiguous()
        for name, t in cascade.state_dict().items()
    }
    config = cascade.config.to_dict()
    if cascade.trained_on is not None:
        config["trained_on"] = dataclasses.asdict(cascade.trained_on)
    metadata = {"config": json.dumps(config)}  # one entry: safetensors writes several in any order
    write_bytes(Path(path), to_safetensors(tensors, metadata))


def checkpoint_sha256(path: str | os.PathLike[str]) -> str:
    """Of the file, and of which of its weights are meant, where that is said."""
    digest = hashlib.sha256(resolve_checkpoint(path).read_bytes())
    if key := chosen_weights(path)[1]:
        digest.update(f"#{key}".encode())
    return digest.hexdigest()


def read_weights(
    file: Path, key: str | None = None
) -> tuple[dict[str, Tensor], CascadeConfig | None, TrainedOn | None]:
    """Tensors by our names, as float32 where they are floats; configuration and `trained_on` if the file has them."""
    config = trained_on = None
    if file.suffix == ".safetensors":
        if key is not None:
            raise CheckpointError(f"{file}: a .safetensors has one set of weights; leave out #{key}")
        try:
            with safe_open(file, framework="pt") as reader:
                metadata = reader.metadata() or {}
                weights = {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118 (not a dict)
            if "config" in metadata:
                found = json.loads(metadata["config"])
                if isinstance(found, dict) and "trained_on" in found:
                    trained_on = from_json(TrainedOn, found.pop("trained_on"), "trained_on")
                config = CascadeConfig.from_dict(found)
                if trained_on and len(trained_on.classes) != config.num_classes:
                    raise SchemaError(f"trained_on: {len(trained_on.classes)} classes; expected {config.num_classes}")
        except (SafetensorError, ConfigError, SchemaError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{file}: damaged or not a cascade's .safetensors ({one_line(error)})") from error
    else:
        weights = read_torch_file(file, key)
    named: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        key = from_published_name(name)
        if key in named:
            raise CheckpointError(f"{file}: tensor {name!r} is extra; another one is {key!r} too")
        named[key] = tensor.float() if tensor.is_floating_point() else tensor
    return named, config, trained_on


def read_torch_file(file: Path, key: str | None = None) -> dict[str, Tensor]:
    """The state dict of a torch.save file: the one it holds, or the one under `key`."""
    try:
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can fail in any way
        raise CheckpointError(
            f"{file}: not a checkpoint that loads safely (weights_only=True): {one_line(error)}"
        ) from error
    if is_weights(content) and key is None:
        return {str(name): tensor for name, tensor in content.items()}
    found = [str(k) for k, value in content.items() if is_weights(value)] if isinstance(content, Mapping) else []
    if key is None and len(found) > 1:
        raise CheckpointError(f"{file}: weights under {' and '.join(found)}; choose with {file.name}#{found[0]}, say")
    if not found:
        raise CheckpointError(f"{file}: no tensors in it; expected them alone, or under a key such as state_dict")
    key = found[0] if key is None else key
    if key not in found:
        raise CheckpointError(f"{file}: no weights under #{key}; it has them under {' and '.join(found)}")
    return {str(name): tensor for name, tensor in content[key].items()}


def is_weights(content: Any) -> bool:
    return isinstance(content, Mapping) and bool(content) and all(isinstance(t, Tensor) for t in content.values())


def recognise(file: Path, weights: Mapping[str, Tensor]) -> CascadeConfig:
    """The preset whose tensor names are nearest to these, so that what is missing or extra can be named."""

    def distance(config: CascadeConfig) -> int:
        expected = {k: t.shape for k, t in skeleton(config, file).items()}
        found = {k: t.shape for k, t in weights.items()}
        return sum(1 for k in expected.keys() | found.keys() if expected.get(k) != found.get(k))

    nearest = min(PRESETS.values(), key=distance)
    if distance(nearest) > len(weights):  # hardly a tensor in common
        name = next(iter(weights))
        raise CheckpointError(f"{file}: not a cascade (first tensor {name!r}); known models: {', '.join(PRESETS)}")
    return nearest


def skeleton(config: CascadeConfig, file: Path) -> dict[str, Tensor]:
    """The state dict of a cascade, without memory. Raises CheckpointError where a file's configuration has none."""
    try:
        with torch.device("meta"):
            return Cascade(config).state_dict()
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise CheckpointError(f"{file}: its model {config.name} cannot be built ({one_line(error)})") from error


def require_match(expected: Mapping[str, Tensor], weights: Mapping[str, Tensor], name: str, file: Path) -> None:
    for key, tensor in expected.items():
        if key not in weights:
            raise CheckpointError(f"{file}: tensor {key!r} is missing; model {name} has {len(expected)} tensors")
        found = weights[key]
        if found.shape != tensor.shape:
            shape, wanted = tuple(found.shape), tuple(tensor.shape)
            raise CheckpointError(f"{file}: tensor {key!r} has shape {shape}; model {name} expects {wanted}")
        if found.dtype != tensor.dtype or found.layout != torch.strided or found.is_meta:
            form = f"{found.dtype}, {found.layout}, on {found.device.type}"
            raise CheckpointError(f"{file}: tensor {key!r} is {form}; expected a dense {tensor.dtype} with its values")
    for key in weights:
        if key not in expected:
            raise CheckpointError(f"{file}: tensor {key!r} is extra; model {name} has no such tensor")
