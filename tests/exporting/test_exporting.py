"""Export end to end: float within 1e-3, int8 measured, nothing left behind by a failure."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from support.fake_cifar import write_cifar10
from support.kinds import KINDS
from support.needs import needs

from dvt_edge import CascadeBundle, Runtime, export, load_cascade
from dvt_edge.calibration.confidence import too_low
from dvt_edge.data.dealing import held_out_images, open_training_data
from dvt_edge.data.images import LabelledImages
from dvt_edge.data.reading import open_images, sample
from dvt_edge.device.manifest import Operators
from dvt_edge.errors import DataError, ExportError, MissingPackageError, UnknownTargetError
from dvt_edge.exporting import conversion, exporters, pipeline
from dvt_edge.exporting.gate import keep_promise
from dvt_edge.exporting.pipeline import calibration_images
from dvt_edge.exporting.recipes import RECIPES, recipe_for
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.presets import PRESETS
from dvt_edge.network.stages import split
from dvt_edge.validation.bounds import Bounds
from dvt_edge.validation.compare import ErrorMeter, compare


def test_only_a_bundle_is_replaced(zoo: Cascade, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("a file")
    for name in ("mine", "file"):
        with pytest.raises(ExportError, match="not a bundle"):
            export(zoo, "onnx-fp32", tmp_path / name, calibration=sample("cifar10-test").first(4))
    assert (tmp_path / "mine/thesis.txt").read_text() == "years of work" and (tmp_path / "file").is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "mine"]


def test_without_images_the_error_is_the_command_that_has_them() -> None:
    """The photographs that dvt_grocery was trained on are not in the package."""
    grocery = Cascade(PRESETS["dvt_tiny"].replace(name="dvt_grocery"))
    commands = "git clone --depth 1 https://github.com/marcusklasson/GroceryStoreDataset, then dvt-edge export "
    with pytest.raises(DataError, match=commands + "zoo:dvt_grocery build/bundles --calibration GroceryStoreDataset$"):
        calibration_images(grocery, None)
    with pytest.raises(DataError, match=r"export it with real ones \(--calibration\)$"):
        calibration_images(Cascade(PRESETS["dvt_tiny"]), None)


@pytest.fixture(scope="module")
def zoo() -> Cascade:
    return load_cascade("zoo:dvt_cifar10")


@pytest.mark.parametrize("target", [recipe.name for recipe in RECIPES if recipe.status == "ready"])
def test_every_ready_recipe_keeps_its_promise_of_the_shipped_cascade(zoo: Cascade, tmp_path: Path, target: str) -> None:
    """By the gate, as a user exports: what `make demo` and `export_all.py` take for granted."""
    recipe = recipe_for(target)
    needs(recipe.engine if recipe.engine != "coreml" else "coremltools")
    said = export(zoo, target, tmp_path / "b", limit=256).manifest.verification
    assert said.images == (128 if recipe.quantization and recipe.quantization.calibration_images else 256)
    assert said.verified is (recipe.proof == "run")
    least = recipe.bounds.min_sqnr_db
    assert least is None or all(exit_.sqnr_db >= least for exit_ in said.exits)


@pytest.fixture(scope="module")
def int8_bundle(zoo: Cascade, tmp_path_factory: pytest.TempPathFactory) -> CascadeBundle:
    needs("onnxruntime")
    return export(zoo, "onnx-int8", tmp_path_factory.mktemp("int8") / "b", checkpoint_sha256="ab")


@pytest.mark.parametrize("target", ["onnx-fp32", "executorch-xnnpack-fp32"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_vit_runs_on_every_engine(kind: str, target: str, tmp_path: Path) -> None:
    """Registers, poolings, norms and activations beyond the published model's: PyTorch's numbers, nothing left out."""
    needs("executorch" if "executorch" in target else "onnxruntime")
    torch.manual_seed(0)
    cascade = Cascade(PRESETS["dvt_tiny"].replace(**KINDS[kind])).eval()
    with torch.no_grad():
        for parameter in cascade.parameters():
            if parameter.ndim == 2:
                parameter.mul_(1 / (parameter.std() * parameter.shape[1] ** 0.5))
    images = sample("cifar10-test").first(8)
    bundle = export(cascade, target, tmp_path / "b", calibration=images)
    meters = compare(cascade, Runtime(bundle), images).tensors
    assert max(meter.max_abs_error for meter in meters.values()) < 1e-3
    assert all(stage.operators.undelegated <= 1 for stage in bundle.manifest.stages)  # the uint8 image's cast


def test_float_outputs_and_decisions_are_pytorchs(zoo: Cascade, zoo_bundle: CascadeBundle) -> None:
    comparison = compare(zoo, Runtime(zoo_bundle), sample("cifar10-test").first(64))
    assert set(comparison.tensors) == {
        *((f"stage{k}", "logits") for k in range(3)),
        *((f"stage{k}", f"{kind}_{k}") for k in range(2) for kind in ("tokens", "relations")),
    }
    assert max(meter.max_abs_error for meter in comparison.tensors.values()) < 1e-3
    assert comparison.worst_exit_agreement(zoo_bundle.manifest) == 1.0


def test_the_manifest_records_what_was_measured(zoo_bundle: CascadeBundle) -> None:
    m = zoo_bundle.manifest
    assert m.verification.verified and m.verification.images == 256 and m.tools["onnxruntime"]
    assert m.model.config["name"] == "dvt_cifar10" and m.macs[0] < m.macs[1] < m.macs[2]
    assert all(s.operators.delegated > 0 and s.operators.undelegated == 0 for s in m.stages)
    assert [p.name for p in m.operating_points][-1] == "full" and len(m.operating_points) == 4
    costs = [p.mean_macs for p in m.operating_points]
    assert costs == sorted(costs) and costs[-1] == m.macs[-1]
    assert m.operating_point("full").agreement == 1.0
    assert all(p.images == 256 and p.data == "sample:cifar10-calibration" for p in m.operating_points)
    assert all(p.top1_interval[0] < p.top1 < p.top1_interval[1] for p in m.operating_points)
    assert [p.certificate is not None for p in m.proved_points] == [
        False,
        False,
        False,
        True,
    ]  # the last exit, by construction
    assert m.calibration.searched == m.calibration.measured == 256 and m.calibration.certified == 0
    assert m.calibration.artifact_sha256 == zoo_bundle.artifacts_sha256
    assert zoo_bundle.labels[3] == "cat"


def test_int8_is_smaller_close_and_measured(int8_bundle: CascadeBundle, zoo_bundle: CascadeBundle) -> None:
    m = int8_bundle.manifest
    assert min(q.sqnr_db for q in m.verification.exits) > 20  # no saturation: with it this is near 12
    assert min(q.top1_agreement for q in m.verification.exits) > 0.9
    assert m.operating_points[0].images == (512 - 128) // 2  # neither those that set the ranges nor those searched
    assert sum(int8_bundle.artifact_size(k) for k in range(3)) < 0.6 * sum(
        zoo_bundle.artifact_size(k) for k in range(3)
    )


def test_all_layers_with_weights_are_quantized_and_nothing_else(zoo: Cascade, int8_bundle: CascadeBundle) -> None:
    needs("onnx")
    import onnx

    graph = onnx.load_from_string(int8_bundle.read("stage1.onnx")).graph
    weights = {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT8}
    dequantized = {n.output[0] for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in weights}
    quantized = [node.op_type for node in graph.node if dequantized & set(node.input)]
    assert set(quantized) == {"Gemm", "Conv"}
    stage = zoo.stages[1]
    assert len(quantized) == sum(isinstance(m, torch.nn.Linear | torch.nn.Conv2d) for m in stage.modules())
    assert [n.op_type for n in graph.node].count("Attention") == zoo.config.depth


def test_calibration_is_streamed_and_no_more_than_asked(zoo: Cascade, tmp_path: Path) -> None:
    needs("onnxruntime")
    from dvt_edge.exporting.onnxruntime_exporter import StreamedCalibration

    stage, given = split(zoo)[0], []

    def endless() -> Iterator[tuple[torch.Tensor, ...]]:
        while True:
            given.append(1)
            yield stage.example_inputs()

    reader = StreamedCalibration(stage, endless, limit=5)
    assert not given
    while reader.get_next() is not None:
        pass
    assert len(given) == 5


def test_a_failed_check_leaves_nothing_and_says_why(
    zoo: Cascade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("onnxruntime")

    strict = dataclasses.replace(recipe_for("onnx-fp32"), bounds=Bounds(max_abs_error=1e-12))
    monkeypatch.setattr(pipeline, "recipe_for", lambda name: strict)
    with pytest.raises(ExportError, match=r"disagrees with PyTorch: .*off by") as caught:
        export(zoo, "onnx-fp32", tmp_path / "b", calibration=sample("cifar10-calibration").first(8))
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_a_degraded_bundle_is_written_where_that_is_accepted_and_says_so(
    zoo: Cascade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In what `dvt-edge export` and `inspect` print, and in the manifest that an app reads."""
    needs("onnxruntime")
    strict = dataclasses.replace(recipe_for("onnx-w8"), bounds=Bounds(min_sqnr_db=90, min_top1_agreement=0))
    monkeypatch.setattr(pipeline, "recipe_for", lambda name: strict)
    images = sample("cifar10-calibration").first(8)
    says = r"exit 0 has \d+\.\d dB SQNR \(at least 90\); .*worst tensor stage\d\.\w+, \d+\.\d dB SQNR"
    with pytest.raises(ExportError, match=says + ".*--accept-degraded"):
        export(zoo, "onnx-w8", tmp_path / "b", calibration=images)
    bundle = export(zoo, "onnx-w8", tmp_path / "b", calibration=images, accept_degraded=True)
    found = CascadeBundle.open(tmp_path / "b").manifest.verification
    assert not found.verified and re.match("degraded and accepted: " + says, found.reason)
    assert found.images == 8 and len(found.exits) == 3 and bundle.manifest.golden.images == 4


@pytest.mark.parametrize(
    ("operators", "says"),
    [
        (
            Operators(9, 1, {"cos.out": 1}),
            r"XnnpackBackend takes 90.0% and leaves 1 cos.out; expected to leave",
        ),
        (Operators(9, 2, {"_to_dim_order_copy.out": 2}), "leaves 2 _to_dim_order_copy.out"),
        (Operators(0, 9, {}), "takes none of its operators"),
    ],
)
def test_what_a_backend_leaves_is_what_the_recipe_says(operators: Operators, says: str) -> None:
    recipe = recipe_for("executorch-xnnpack-fp32")
    keep_promise(recipe, "stage0", Operators(9, 1, {"_to_dim_order_copy.out": 1}))
    twice = dataclasses.replace(recipe, undelegated=recipe.undelegated * 2)
    keep_promise(twice, "stage0", Operators(9, 2, {"_to_dim_order_copy.out": 2}))
    with pytest.raises(ExportError, match=says):
        keep_promise(recipe, "stage0", operators)


def test_a_share_is_too_low_where_all_of_its_interval_is() -> None:
    """By scipy's Wilson interval; and of few images none is failed by chance."""
    for hits, images in ((240, 256), (233, 256), (9100, 10_000), (9600, 10_000), (0, 3), (3, 3)):
        high = scipy.stats.binomtest(hits, images).proportion_ci(method="wilson").high
        assert bool(too_low(hits / images, images, 0.95)) == (high < 0.95)
    assert too_low(1.0, 256, 1.0) == "" and too_low(255 / 256, 256, 1.0)
    assert too_low(0.91, 10_000, 0.95) == "91.0% (90.4% to 91.5%, at least 95.0%)"


def test_linears_alone_have_int8_weights_by_blocks(zoo: Cascade, tmp_path: Path) -> None:
    """Every linear and 1x1 convolution, no product with another constant; what goes in stays float."""
    needs("onnxruntime")
    import onnx

    stage = split(zoo)[1]
    made = pipeline.exporter_for(recipe_for("onnx-w8"))(stage, recipe_for("onnx-w8"), lambda: iter(()), tmp_path)
    graph = onnx.load(made.artifact).graph
    products = [node for node in graph.node if node.op_type == "MatMulNBits"]
    layers = sum(isinstance(m, torch.nn.Linear | torch.nn.Conv2d) for m in stage.modules())
    assert len(products) == layers - sum(node.op_type == "Conv" for node in graph.node)
    attributes = [{a.name: a.i for a in node.attribute} for node in products]
    assert all((a["bits"], a["block_size"], a["accuracy_level"]) == (8, 32, 1) for a in attributes)
    assert not any(node.op_type in ("QuantizeLinear", "DynamicQuantizeLinear", "Gemm") for node in graph.node)
    assert sum(node.op_type == "MatMul" for node in graph.node) == 6  # what is reused, resampled


def test_a_broken_conversion_is_caught(zoo: Cascade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An artifact of other weights must not pass for this cascade."""
    needs("onnxruntime")

    genuine = conversion.exporter_for(recipe_for("onnx-fp32"))

    def wrong(stage, recipe, calibration, folder):
        with torch.no_grad():
            stage.stage.head.bias += 0.01
        try:
            return genuine(stage, recipe, calibration, folder)
        finally:
            with torch.no_grad():
                stage.stage.head.bias -= 0.01

    monkeypatch.setattr(conversion, "exporter_for", lambda recipe: wrong)
    with pytest.raises(ExportError, match="logits is off by"):
        export(zoo, "onnx-fp32", tmp_path / "b", calibration=sample("cifar10-calibration").first(8))


def test_unknown_targets_list_the_known_ones(zoo: Cascade, tmp_path: Path) -> None:
    with pytest.raises(UnknownTargetError) as caught:
        export(zoo, "tflite", tmp_path / "b")
    assert all(recipe.name in str(caught.value) for recipe in RECIPES)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.name)
def test_a_missing_package_names_the_extra(recipe, monkeypatch: pytest.MonkeyPatch) -> None:

    def absent(name: str) -> None:
        raise ModuleNotFoundError(name, name="some_engine.part")

    monkeypatch.setattr(exporters, "import_module", absent)
    with pytest.raises(MissingPackageError, match=rf"some_engine.*dvt-edge\[{recipe.extra}\]"):
        exporters.exporter_for(recipe)


def test_images_that_do_not_fit_are_refused(zoo: Cascade, tmp_path: Path) -> None:
    other = dataclasses.replace(sample("cifar10-test"), classes=("a", "b"), labels=(0,) * 256)
    for images, words in ((other, "2 classes"), (sample("cifar10-test").first(1), "one image")):
        with pytest.raises(DataError, match=words):
            export(zoo, "onnx-fp32", tmp_path / "b", calibration=images)
    with pytest.raises(DataError, match="with real ones"):
        export(Cascade(PRESETS["dvt_tiny"]), "onnx-fp32", tmp_path / "b")


def test_images_without_labels_give_agreement_only(zoo: Cascade, tmp_path: Path) -> None:
    needs("onnxruntime")
    images: LabelledImages = dataclasses.replace(sample("cifar10-test").first(12), labels=None, classes=())
    for known in (zoo, unrecorded(zoo)):
        m = export(known, "onnx-fp32", tmp_path / "b", calibration=images).manifest
        assert m.operating_points[0].top1 is None and m.verification.exits[0].top1 is None
        named = known.trained_on.classes if known.trained_on else [str(i) for i in range(10)]
        assert json.loads((tmp_path / "b/labels.json").read_text()) == list(named)


def unrecorded(cascade: Cascade) -> Cascade:
    """The same, as from a file that does not say what it was trained on."""
    after = Cascade(cascade.config)
    after.load_state_dict(cascade.state_dict())
    return after.eval()


def test_a_cascade_of_other_classes_is_never_given_the_shipped_ones(zoo: Cascade, tmp_path: Path) -> None:
    """Ten classes are not CIFAR-10's ten: no sample stands in, and labels are those that it was trained with."""
    assert zoo.trained_on is not None
    mine = unrecorded(zoo)
    animals = tuple(f"animal{i}" for i in range(10))
    for record in (
        None,
        dataclasses.replace(zoo.trained_on, classes=animals),
        dataclasses.replace(zoo.trained_on, seed=1),
    ):
        mine.trained_on = record
        with pytest.raises(DataError, match=r"export it with real ones \(--calibration\)"):
            export(mine, "onnx-fp32", tmp_path / "b")
    mine.trained_on = dataclasses.replace(zoo.trained_on, classes=animals)
    with pytest.raises(DataError, match=r"10 classes \(airplane, .*; dvt_cifar10 has 10 classes \(animal0"):
        export(mine, "onnx-fp32", tmp_path / "b", calibration="sample:cifar10-test")
    assert not list(tmp_path.iterdir())
    turned = dataclasses.replace(sample("cifar10-test").first(12), classes=animals[::-1])
    given = calibration_images(mine, turned)
    assert turned.labels and given.labels == tuple(9 - label for label in turned.labels) and given.classes == animals


def test_images_are_those_that_training_held_out_where_the_checkpoint_says_which(tmp_path: Path) -> None:
    data, other = write_cifar10(tmp_path), write_cifar10(tmp_path / "other", train=70)
    cascade = Cascade(PRESETS["dvt_tiny"])
    known = cascade.trained_on = open_training_data(data, 20, 3).dealt
    _, held_out, test, _ = open_training_data(data, 20, 3)
    found = calibration_images(cascade, str(tmp_path))
    assert found.source == held_out.source and found.fingerprint == held_out.fingerprint
    assert calibration_images(cascade, str(other)).labels == open_images(other, "test").labels  # not its training
    cascade.trained_on = None
    assert calibration_images(cascade, str(tmp_path)).fingerprint == test.fingerprint
    assert held_out_images(other, known) is None and held_out_images(tmp_path, None) is None
    assert held_out_images("sample:cifar10-test", known) is None


def test_images_of_folders_are_drawn_from_all_classes(zoo: Cascade, tmp_path: Path) -> None:
    """They come class by class; the first few must not set ranges and points alone."""
    needs("onnxruntime")

    ordered = sample("cifar10-test")
    assert ordered.labels is not None
    ordered = ordered.take(np.argsort(ordered.labels, kind="stable"))
    made = pipeline.Export(zoo, recipe_for("onnx-int8"), ordered.shuffled().first(200), None, "m", None)
    assert set(made.calibration.labels or ()) == set(range(10))
    limited = export(zoo, "onnx-fp32", tmp_path / "b", calibration=ordered, limit=40).manifest
    record = limited.calibration
    assert record is not None and record.searched + record.certified + record.measured == 40
    assert limited.verification.exits[0].top1 != 1.0
    first = CascadeBundle.open(tmp_path / "b").golden()[0]
    assert not any((first[0] == ordered[i]).all() for i in range(4))


def test_error_meter_against_plain_numpy() -> None:
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(size=(2, 7)).astype(np.float32), rng.normal(size=(2, 7)).astype(np.float32)) for _ in range(3)]
    meter = ErrorMeter()
    for found, expected in pairs:
        meter.add(found, expected)
    x, y = (np.concatenate([p[i] for p in pairs]).ravel().astype(np.float64) for i in (0, 1))
    assert meter.sqnr_db == pytest.approx(10 * np.log10((y**2).sum() / ((x - y) ** 2).sum()))
    assert meter.cosine == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
    assert meter.max_abs_error == pytest.approx(np.abs(x - y).max())
    meter.add(np.array([np.nan]), np.array([1.0]))
    assert meter.max_abs_error == np.inf and meter.sqnr_db == -np.inf


def test_a_cascade_that_resizes_and_crops_is_compared_on_the_same_pixels(tmp_path: Path) -> None:
    """dvt_tiny resizes to 36 and crops to 32: preprocessing twice would not be preprocessing once."""
    needs("onnxruntime")
    config = PRESETS["dvt_tiny"]
    assert config.resize != config.image_size
    torch.manual_seed(0)
    bundle = export(Cascade(config), "onnx-fp32", tmp_path / "b", calibration=sample("cifar10-test").first(12))
    assert bundle.manifest.verification.verified
    images, logits = bundle.golden()
    runtime = Runtime(bundle)
    np.testing.assert_allclose([z for z, _ in runtime.steps(images[0])], [z[0] for z in logits], atol=1e-5)
