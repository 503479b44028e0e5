"""A checkpoint is loaded whole or refused in one line; nothing in it is ever run."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from dvt_edge.device.trained_on import TrainedOn
from dvt_edge.errors import CheckpointError
from dvt_edge.network import checkpoint
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.checkpoint import checkpoint_sha256, load_cascade, save_cascade
from dvt_edge.network.config import CascadeConfig
from dvt_edge.network.presets import PRESETS
from dvt_edge.network.published import from_published_name

TINY = PRESETS["dvt_tiny"]
FIRST, MIDDLE = "stages.0.cls_token", "stages.1.blocks.1.fc1.weight"
HOSTILE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def cascade() -> Cascade:
    torch.manual_seed(0)
    return Cascade(TINY).eval()


@pytest.fixture
def weights(cascade: Cascade) -> dict[str, Tensor]:
    return {name: t.clone() for name, t in cascade.state_dict().items()}


def refused(file: Path, model: str | None = None) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_cascade(file, model)
    message = str(caught.value)
    assert message and "\n" not in message
    assert message.startswith(f"{file}: ")
    return message.removeprefix(f"{file}: ")


def same_weights(a: Cascade, b: Cascade) -> bool:
    x, y = a.state_dict(), b.state_dict()
    return x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x)


@pytest.mark.parametrize("preset", ["dvt_tiny", "dvt_cifar10"])
def test_a_saved_cascade_comes_back_as_it_was(preset: str, tmp_path: Path) -> None:
    """Weights, buffers and configuration survive, changed configurations included; the result is in eval mode."""
    before = Cascade(PRESETS[preset].replace(name="mine", relation_reuse=False, num_classes=7))
    save_cascade(before, tmp_path / "deep" / "a.safetensors")
    after = load_cascade(tmp_path / "deep" / "a.safetensors")
    assert after.config == before.config and same_weights(before, after) and not after.training
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a.safetensors"]


def test_what_it_was_trained_on_goes_along(tmp_path: Path) -> None:
    cascade = Cascade(PRESETS["dvt_tiny"].replace(num_classes=2))
    cascade.trained_on = TrainedOn("mine/train", "ab" * 32, ("cat", "dog"), 200, 7)
    save_cascade(cascade, tmp_path / "a.safetensors")
    assert load_cascade(tmp_path / "a.safetensors").trained_on == cascade.trained_on
    content = (tmp_path / "a.safetensors").read_bytes()
    damaged = content.replace(b'\\"holdout\\": 200', b'\\"holdout\\": 2.5')
    assert damaged != content
    (tmp_path / "a.safetensors").write_bytes(damaged)
    assert "trained_on.holdout: found 2.5" in refused(tmp_path / "a.safetensors")
    (tmp_path / "a.safetensors").write_bytes(content.replace(b'\\"holdout\\": 200', b'\\"holdout\\":  -1'))
    assert "holdout -1, seed 7" in refused(tmp_path / "a.safetensors")
    cascade.trained_on = TrainedOn("mine/train", "ab" * 32, ("cat", "dog", "ox"), 200, 7)
    save_cascade(cascade, tmp_path / "a.safetensors")
    assert "3 classes; expected 2" in refused(tmp_path / "a.safetensors")


def test_a_half_precision_file_loads_as_float32(cascade: Cascade, tmp_path: Path) -> None:
    """float16 halves the file; what loads is float32 and what float16 can hold."""
    save_cascade(cascade, tmp_path / "full.safetensors")
    save_cascade(cascade, tmp_path / "half.safetensors", torch.float16)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.6 * (tmp_path / "full.safetensors").stat().st_size
    half = load_cascade(tmp_path / "half.safetensors").state_dict()
    assert all(torch.equal(half[name], t.half().float()) for name, t in cascade.state_dict().items())


def test_the_same_weights_have_the_same_hash(cascade: Cascade, tmp_path: Path) -> None:
    """The file is a function of the cascade, byte for byte."""
    for index in range(8):
        save_cascade(cascade, tmp_path / f"{index}.safetensors")
    save_cascade(cascade, tmp_path / "half.safetensors", torch.float16)
    hashes = {checkpoint_sha256(tmp_path / f"{index}.safetensors") for index in range(8)}
    assert len(hashes) == 1 and checkpoint_sha256(tmp_path / "half.safetensors") not in hashes


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize(
    ("key", "suffix"), [("model_state_dict", ".pth.tar"), ("state_dict", ".pth.tar"), (None, ".pt")]
)
def test_a_torch_file_loads_from_under_either_key(
    prefix: str, key: str | None, suffix: str, cascade: Cascade, tmp_path: Path
) -> None:
    """The published key, a trainer's key or none, with or without DistributedDataParallel's prefix."""
    state = {prefix + name: t for name, t in cascade.state_dict().items()}
    torch.save({key: state, "epoch": 3, "flops": [1.0]} if key else state, tmp_path / f"a{suffix}")
    loaded = load_cascade(tmp_path / f"a{suffix}")
    assert loaded.config == TINY and same_weights(loaded, cascade)


def test_of_several_weights_in_one_file_the_user_chooses(weights: dict[str, Tensor], tmp_path: Path) -> None:
    """Trainers keep an average beside the plain weights; taking either silently gives another model than was meant."""
    file = tmp_path / "a.pth.tar"
    average = {name: t + 1 if t.is_floating_point() else t for name, t in weights.items()}
    torch.save({"state_dict": weights, "state_dict_ema": average, "epoch": 3}, file)
    with pytest.raises(CheckpointError, match="weights under state_dict and state_dict_ema; choose with"):
        load_cascade(file, model="dvt_tiny")
    for key, meant in (("state_dict", weights), ("state_dict_ema", average)):
        found = load_cascade(f"{file}#{key}", model="dvt_tiny").state_dict()
        assert torch.equal(found[FIRST], meant[FIRST])
    assert checkpoint_sha256(f"{file}#state_dict") != checkpoint_sha256(f"{file}#state_dict_ema")
    for key in ("model", "epoch", ""):
        with pytest.raises(CheckpointError, match="state_dict and state_dict_ema"):
            load_cascade(f"{file}#{key}", model="dvt_tiny")


def test_a_safetensors_has_one_set_of_weights(cascade: Cascade, tmp_path: Path) -> None:
    save_cascade(cascade, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="leave out #state_dict_ema"):
        load_cascade(f"{tmp_path / 'a.safetensors'}#state_dict_ema")


def test_published_names_become_ours_and_ours_stay() -> None:
    assert from_published_name("less_token.blocks.3.feature_resuse_mlp.1.fc2.bias") == (
        "stages.1.blocks.3.feature_reuse.fc2.bias"
    )
    assert from_published_name("module.normal_token.relation_reuse_conv.2.weight") == (
        "stages.2.relation_reuse.conv2.weight"
    )
    assert all(from_published_name(name) == name for name in Cascade(TINY).state_dict())


def drop(weights: dict[str, Any]) -> None:
    del weights[MIDDLE]


def add(weights: dict[str, Any]) -> None:
    weights["stages.1.gate.weight"] = torch.zeros(3)


def transpose(weights: dict[str, Any]) -> None:
    weights[MIDDLE] = weights[MIDDLE].t().contiguous()


def flatten(weights: dict[str, Any]) -> None:
    weights[MIDDLE] = weights[MIDDLE].flatten()


def integers(weights: dict[str, Any]) -> None:
    weights[MIDDLE] = weights[MIDDLE].int()


def both_names(weights: dict[str, Any]) -> None:
    weights["less_token.blocks.1.mlp.fc1.weight"] = weights[MIDDLE].clone()


DAMAGES = [
    (drop, f"{MIDDLE!r} is missing"),
    (add, "'stages.1.gate.weight' is extra"),
    (transpose, f"{MIDDLE!r} has shape (40, 64); model dvt_tiny expects (64, 40)"),
    (flatten, f"{MIDDLE!r} has shape (2560,)"),
    (integers, f"{MIDDLE!r} is torch.int32"),
    (both_names, f"is extra; another one is {MIDDLE!r} too"),
]


@pytest.mark.parametrize("form", ["safetensors", "torch"])
@pytest.mark.parametrize(("damage", "expected"), DAMAGES, ids=[d.__name__ for d, _ in DAMAGES])
def test_a_tensor_that_does_not_fit_is_named(
    damage: Callable[[dict[str, Any]], None], expected: str, form: str, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    """Missing, extra, misshapen, of another type or there twice: the message names the first such tensor."""
    damage(weights)
    file = tmp_path / ("a.pth.tar" if form == "torch" else "a.safetensors")
    if form == "torch":
        torch.save({"state_dict": weights}, file)
    else:
        save_file(weights, file, {"config": json.dumps(TINY.to_dict())})
    assert expected in refused(file)


def test_the_first_of_several_wrong_tensors_is_named(weights: dict[str, Tensor], tmp_path: Path) -> None:
    weights[MIDDLE] = weights[FIRST] = torch.zeros(1)
    torch.save(weights, tmp_path / "a.pt")
    assert refused(tmp_path / "a.pt").startswith(f"tensor {FIRST!r} has shape (1,)")


@pytest.mark.parametrize("form", [torch.Tensor.to_sparse, lambda t: t.to("meta")], ids=["sparse", "meta"])
def test_a_tensor_without_plain_values_is_refused(form: Any, weights: dict[str, Tensor], tmp_path: Path) -> None:
    weights[MIDDLE] = form(weights[MIDDLE])
    torch.save(weights, tmp_path / "a.pt")
    assert repr(MIDDLE) in refused(tmp_path / "a.pt")


def test_a_model_that_is_not_the_files_is_refused(cascade: Cascade, tmp_path: Path) -> None:
    """Nor is one that fits: another crop, mean and std than those it was trained with would be called verified."""
    save_cascade(cascade, tmp_path / "a.safetensors")
    for model in ("dvt_cifar10", "dvt_tiny"):
        assert "configuration of its own, dvt_tiny" in refused(tmp_path / "a.safetensors", model)


def test_a_foreign_network_is_not_taken_for_a_cascade(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "a.pt")
    message = refused(tmp_path / "a.pt")
    assert "not a cascade" in message and "dvt_tiny" in message


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("name", ["a.pth.tar", "a.safetensors", "a.pt"])
@pytest.mark.parametrize("torch_file", [True, False])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(
    name: str, torch_file: bool, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    """Neither a bare pickle nor one in torch's own format, beside good weights, gets to run anything."""
    file, target = tmp_path / name, tmp_path / "owned"
    content = {"state_dict": weights, "extra": Bomb(target)}
    if torch_file:
        torch.save(content, file)
    else:
        file.write_bytes(pickle.dumps(content))
    refused(file)
    assert not target.exists()
    pickle.loads(pickle.dumps(Bomb(target)))  # noqa: S301
    assert target.exists(), "the bomb itself is a dud"


@pytest.mark.parametrize("name", ["a.pth.tar", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not a checkpoint, but a letter\n" * 20, b"\x80", b"{}", b"PK\x03\x04"])
def test_a_file_of_something_else_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name)


@pytest.mark.parametrize("content", [[], {}, {"state_dict": {}}, {"a": 1}, torch.zeros(2), {"state_dict": {"a": [1]}}])
def test_a_torch_file_without_a_state_dict_says_so(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pt")
    assert "state_dict" in refused(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 800]}},
        {"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 8]}},
        {"x": {"dtype": "F33", "shape": [2], "data_offsets": [0, 8]}},
        {"x": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}},
        {"__metadata__": {"config": "["}, "x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}},
    ],
)
def test_a_damaged_safetensors_header_is_refused(header: Any, tmp_path: Path) -> None:
    text = json.dumps(header).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    refused(tmp_path / "a.safetensors")


def test_a_safetensors_header_longer_than_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    refused(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        {"depth": 2.5},
        {"dim": 32 * 10**9},
        {"num_classes": 10**12},
        {"grids": "abc"},
        {"grids": [3.0, 4.0, 6.0]},
        {"mlp_ratio": 1e400},
        {"reuse_width": -5},
        {"colour": 1},
    ],
)
def test_a_hostile_configuration_is_refused_before_it_is_built(
    change: dict[str, Any], weights: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong types and dimensions that no memory holds end in one line, without taking that memory."""
    save_file(weights, tmp_path / "a.safetensors", {"config": json.dumps(TINY.to_dict() | change)})

    def build(config: CascadeConfig) -> Cascade:
        assert torch.empty(0).is_meta
        return Cascade(config)

    monkeypatch.setattr(checkpoint, "Cascade", build)
    refused(tmp_path / "a.safetensors")


def load_or_refuse(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    try:
        assert isinstance(load_cascade(file, "dvt_tiny"), Cascade)
    except CheckpointError as error:
        assert "\n" not in str(error)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy"])
@settings(HOSTILE, max_examples=25)
@given(data=st.data())
def test_damage_anywhere_ends_in_a_cascade_or_one_line(
    form: str, cascade: Cascade, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever is cut off or overwritten, and wherever, the only error is CheckpointError."""
    file = tmp_path_factory.mktemp("damage") / ("a.safetensors" if form == "safetensors" else "a.pt")
    if form == "safetensors":
        save_cascade(cascade, file)
    else:
        torch.save(cascade.state_dict(), file, _use_new_zipfile_serialization=form == "zip")
    good = bytearray(file.read_bytes())
    cut = data.draw(st.one_of(st.just(len(good)), st.integers(0, len(good)), st.integers(0, 4000)))
    damaged = good[:cut]
    for _ in range(data.draw(st.integers(0 if cut < len(good) else 1, 4))):
        if damaged:
            place = data.draw(st.integers(-min(len(damaged), 4000), min(len(damaged), 4000) - 1))
            damaged[place] = data.draw(st.integers(0, 255))
    load_or_refuse(file, bytes(damaged))
    file.unlink()


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(HOSTILE, max_examples=100)
@given(content=st.binary(max_size=64), name=st.sampled_from(["a.pt", "a.safetensors"]))
def test_noise_is_refused(content: bytes, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / name
    file.write_bytes(content)
    refused(file)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("name", ["a.pth.tar", "a.safetensors"])
def test_a_truncated_file_is_refused(keep: float, name: str, cascade: Cascade, tmp_path: Path) -> None:
    file = tmp_path / name
    if name.endswith(".safetensors"):
        save_cascade(cascade, file)
    else:
        torch.save({"model_state_dict": cascade.state_dict()}, file)
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content))])
    refused(file)


def test_a_path_that_is_no_file_and_an_unknown_zoo_name_are_refused(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "absent.safetensors")
    assert "no such file" in refused(tmp_path)
    with pytest.raises(CheckpointError, match="no cascade 'absent' in the zoo"):
        load_cascade("zoo:absent")


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"grids": (128, 256), "image_size": 256, "resize": 256}, "1,073,823,745 constants between 2 grids"),
        ({"grids": tuple(range(80, 160)), "image_size": 256, "resize": 256}, "constants between 80 grids"),
        ({"grids": (64, 96), "image_size": 96, "depth": 1000}, "an image"),
        ({"grids": (4,), "stem": "pyramid", "image_size": 8192, "resize": 8192, "stem_width": 1000}, "an image"),
        ({"mlp_ratio": 1e10}, "an image"),
        ({"mlp_ratio": 10**400}, "an image"),
        ({"reuse_hidden": 10**10}, "an image"),
        ({"dim": 10**400, "heads": 10**400}, "an image"),
    ],
)
def test_what_a_file_does_not_hold_is_bounded(
    changes: dict[str, Any], found: str, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    """333 kB of weights between grids of 128 and 256 asked for many gigabytes of constants."""
    plain = {"name": "large", "dim": 1, "heads": 1, "depth": 1, "mlp_ratio": 1, "relation_reuse": True} | changes
    save_file(weights, tmp_path / "a.safetensors", {"config": json.dumps(plain)})
    message = refused(tmp_path / "a.safetensors")
    assert "config 'large'" in message and found in message and len(message) < 400, message


def test_the_bounds_leave_room_for_the_largest_known_vit() -> None:
    """timm's vit_so400m_patch14_siglip_gap_896, with both reuses."""
    CascadeConfig("large", 896, (32, 46, 64), dim=1152, depth=27, heads=16, mlp_ratio=3.7362, resize=896)
