"""Core ML: a stage to an ML program for iOS 17 and later, as an .mlpackage, its weights compressed or not.

`share` makes one package of several stages' for iOS 18 and later, of which they are functions.

The image is a Core ML image input, so that a phone hands in a camera's pixel buffer. State goes in and out as arrays of
the stage's dtype, float16 between float16 programs, which then cast the logits alone.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dvt_edge.device.manifest import Operators
from dvt_edge.errors import ExportError, cause
from dvt_edge.exporting.coreml_check import (
    MAIN,
    MODEL_FILE,
    WEIGHT_FILE,
    check_package,
    compare,
    compressed,
    load_model,
    operations,
)
from dvt_edge.exporting.exporters import CalibrationInputs, Converted
from dvt_edge.exporting.recipes import Quantization, Recipe
from dvt_edge.network.stages import StageGraph
from dvt_edge.quiet import quiet

with quiet():
    import coremltools as ct
    import coremltools.optimize.coreml as cto
    from coremltools.models.utils import MultiFunctionDescriptor, save_multifunction

LAYERS = ("linear", "conv")
CONVERTED_DB = 30.0  # SQNR: float16 is far above on any input, a wrong conversion far below
PRECISIONS = {"float16": ct.precision.FLOAT16, "float32": ct.precision.FLOAT32}


def export_stage(stage: StageGraph, recipe: Recipe, calibration: CalibrationInputs, folder: Path) -> Converted:
    """Writes `folder`/<stage>.mlpackage, the same bytes each time, and checks it with coreml_check.

    Takes a stage of layout "image". Core ML decides on the device where each operator runs, so nothing is known here
    of what it will delegate: by convention all of the program's operators but constants count as delegated.
    Raises ExportError in one line for a stage that does not convert, a package that is not as declared, and a
    program that, interpreted on one input, misses CONVERTED_DB on any output (0 dB where weights are compressed).
    One input finds a wrong conversion; what the recipe promises is held on real images, by the gate.
    """
    where = f"{stage.name}, target {recipe.name}"
    if stage.layout != "image":
        raise ExportError(f"{where}: a stage of layout {stage.layout!r}; expected 'image', a Core ML image input")
    if recipe.quantization is not None and recipe.quantization.activations != "float":
        raise ExportError(f"{where}: the Core ML exporter compresses weights only; expected activations in float")
    artifact = folder / f"{stage.name}.mlpackage"
    with tempfile.TemporaryDirectory(dir=folder) as temporary:  # swept with it
        made = Path(temporary) / artifact.name
        try:
            convert(stage, recipe, made)
            if recipe.quantization is not None:
                compress(made, recipe.quantization)
        except ImportError:
            raise
        except Exception as error:
            raise ExportError(f"{where}: Core ML conversion failed ({cause(error)})") from error
        copy_package(made, artifact)
    operators = check_package(artifact, stage)
    layers = sum(isinstance(module, nn.Linear | nn.Conv2d) for module in stage.modules())
    layers -= recipe.quantization is not None and not recipe.quantization.first_layer
    if recipe.quantization is not None and (found := compressed(artifact)) < layers:
        raise ExportError(f"{where}: {found} compressed weights; expected those of {layers} linears and convolutions")
    inputs = next(calibration(), None) or stage.example_inputs()
    least = CONVERTED_DB if recipe.quantization is None else 0.0
    for name, sqnr in compare(artifact, stage, inputs, half=recipe.precision == "float16").items():
        if sqnr < least:
            raise ExportError(f"{where}: {name} has {sqnr:.1f} dB SQNR against PyTorch; expected at least {least:.1f}")
    return Converted(artifact, Operators(delegated=sum(operators.values()), undelegated=0))


def convert(stage: StageGraph, recipe: Recipe, package: Path) -> None:
    """Writes `package` with coremltools' own conversion of the exported stage."""
    with quiet():
        ct.convert(
            torch.export.export(stage, stage.example_inputs()).run_decompositions({}),
            inputs=[
                ct.ImageType(t.name, t.shape, color_layout=ct.colorlayout.RGB)
                if t.role == "image"
                else ct.TensorType(t.name, t.shape, dtype=getattr(np, t.dtype))
                for t in stage.inputs
            ],
            outputs=[ct.TensorType(t.name, dtype=getattr(np, t.dtype)) for t in stage.outputs],
            convert_to="mlprogram",
            minimum_deployment_target=ct.target.iOS17,
            compute_precision=PRECISIONS[recipe.precision],
            skip_model_load=True,
            package_dir=str(package),
        )


def compress(package: Path, recipe: Quantization) -> None:
    """Rewrites `package` with the weights of its linears and convolutions compressed; all other constants stay.

    The first of them may stay, too: it reads the pixels. On the shipped cascade that costs 360 bytes and gives 7 dB.
    """
    if recipe.weights == "palette":
        config: Any = cto.OpPalettizerConfig(mode="kmeans", nbits=recipe.weight_bits, weight_threshold=0)
        shrink = cto.palettize_weights
    else:
        config = cto.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=0)
        shrink = cto.linear_quantize_weights
    with quiet():
        model = ct.models.MLModel(str(package), skip_model_load=True)
        first = next(op.outputs[0].name for op in operations(load_model(package)) if op.type in LAYERS)
        kept = {} if recipe.first_layer else {first: None}
        small = shrink(
            model, cto.OptimizationConfig(op_type_configs=dict.fromkeys(LAYERS, config), op_name_configs=kept)
        )
        shutil.rmtree(package)
        small.save(str(package))


def share(packages: Sequence[Path], artifact: Path) -> None:
    """`artifact` in place of `packages`: their programs are its functions, under their names; equal weights are one."""
    descriptor = MultiFunctionDescriptor()
    for package in packages:
        descriptor.add_function(str(package), src_function_name=MAIN, target_function_name=package.stem)
    descriptor.default_function_name = packages[0].stem
    with tempfile.TemporaryDirectory(dir=artifact.parent) as temporary, quiet():
        made = Path(temporary) / artifact.name
        save_multifunction(descriptor, str(made))
        copy_package(made, artifact)
    for package in packages:
        shutil.rmtree(package)


def copy_package(source: Path, artifact: Path) -> None:
    """`source` as the same bytes each time: no metadata, maps in order, item identifiers made from their paths.

    Opening a package with coremltools writes its Manifest.json anew; written as there, its bytes stay.
    """
    model = load_model(source)
    model.description.ClearField("metadata")
    shutil.rmtree(artifact, ignore_errors=True)
    (artifact / WEIGHT_FILE).parent.mkdir(parents=True)
    (artifact / MODEL_FILE).write_bytes(model.SerializeToString(deterministic=True))
    shutil.copyfile(source / WEIGHT_FILE, artifact / WEIGHT_FILE)
    manifest = json.loads((source / "Manifest.json").read_text())
    items = {str(uuid.uuid5(uuid.NAMESPACE_URL, item["path"])): item for item in manifest["itemInfoEntries"].values()}
    root = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"]
    manifest |= {"itemInfoEntries": items, "rootModelIdentifier": str(uuid.uuid5(uuid.NAMESPACE_URL, root))}
    (artifact / "Manifest.json").write_text(json.dumps(manifest, indent=4, sort_keys=True) + "\n")
