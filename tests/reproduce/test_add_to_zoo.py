"""The model card of a training run, or of the cycles of one training."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
import typer

from dvt_edge.network.cascade import Cascade
from dvt_edge.network.checkpoint import checkpoint_sha256, load_cascade, save_cascade
from dvt_edge.network.presets import PRESETS
from dvt_edge.network.training_options import TrainingOptions

SCRIPTS = Path(__file__).parents[2] / "export_scripts/reproduce"


@pytest.fixture
def add_to_zoo(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import add_to_zoo

    return add_to_zoo


def write_run(run: Path, seed: int, epochs: int, before: Path | None = None, **model: object) -> Path:
    run.mkdir()
    torch.manual_seed(seed)
    config = PRESETS["dvt_tiny"]
    save_cascade(Cascade(config), run / "cascade.safetensors", torch.float16)
    options = TrainingOptions(epochs=epochs, lr=0.25, init=f"{before.name}/cascade.safetensors" if before else "")
    asked = {"model": config.replace(**model).to_dict(), "options": dataclasses.asdict(options), "data": "data"}
    if before:
        asked["init_sha256"] = checkpoint_sha256(before / "cascade.safetensors")
    result = {"data": "d", "test_images": 1000, "test_top1": [0.1, 0.2, 0.3], "held_out_top1": [0.4, 0.5, 0.6]}
    result |= {"epochs": epochs, "hours": 1.5, "processes": 1, "machine": "a machine", "torch": "2"}
    (run / "options.json").write_text(json.dumps(asked))
    (run / "result.json").write_text(json.dumps(result))
    (run / "log.jsonl").write_text("".join(f'{{"epoch": {k + 1}}}\n' for k in range(epochs)))
    return run


def test_one_run_becomes_weights_log_and_card(add_to_zoo: ModuleType, tmp_path: Path) -> None:
    run = write_run(tmp_path / "mine", 0, 3)
    add_to_zoo.main([run], tmp_path)
    card = (tmp_path / "dvt_tiny.md").read_text()
    assert load_cascade(tmp_path / "dvt_tiny.safetensors").config == PRESETS["dvt_tiny"]
    assert checkpoint_sha256(run / "cascade.safetensors") in card and "| 2 | 6x6 |" in card and "30.00 %" in card
    assert "`dvt-edge train data runs/mine --model dvt_tiny --epochs 3 --lr 0.25`, then" in card
    assert "3 epochs, 1.50 hours" in card and "add_to_zoo.py runs/mine`" in card
    assert len((tmp_path / "dvt_tiny.log.jsonl").read_text().splitlines()) == 3


def test_cycles_are_told_in_their_order(add_to_zoo: ModuleType, tmp_path: Path) -> None:
    first = write_run(tmp_path / "a", 0, 2)
    second = write_run(tmp_path / "b", 1, 4, before=first)
    add_to_zoo.main([first, second], tmp_path)
    card = (tmp_path / "dvt_tiny.md").read_text()
    assert "2 + 4 epochs, 3.00 hours" in card and checkpoint_sha256(second / "cascade.safetensors") in card
    assert "--epochs 2 --lr 0.25`, then `" in card and "--init runs/a/cascade.safetensors`, then" in card
    assert [json.loads(x)["epoch"] for x in (tmp_path / "dvt_tiny.log.jsonl").open()] == [1, 2, 1, 2, 3, 4]


def test_runs_that_do_not_belong_together_are_refused_and_nothing_is_written(
    add_to_zoo: ModuleType, tmp_path: Path
) -> None:
    first, other = write_run(tmp_path / "a", 0, 2), write_run(tmp_path / "other", 2, 2)
    second = write_run(tmp_path / "b", 1, 4, before=first)
    wider = write_run(tmp_path / "wider", 3, 2, mlp_ratio=3.0)
    for runs, words in (
        ([second], "did not start from random"),
        ([other, second], "did not start from .*other"),
        ([first, other], "did not start from .*a"),
        ([wider], "another configuration"),
    ):
        with pytest.raises(typer.BadParameter, match=words):
            add_to_zoo.main(runs, tmp_path)
    assert not list(tmp_path.glob("dvt_tiny*"))


def test_a_run_from_pretrained_weights_says_so(add_to_zoo: ModuleType, tmp_path: Path) -> None:
    """The command has backbone, depth and grids, the card both levels of classes; no preset of the name is needed."""
    run = write_run(tmp_path / "photos", 0, 3)
    config = PRESETS["dvt_tiny"].replace(name="dvt_photos")
    save_cascade(Cascade(config), run / "cascade.safetensors")
    options = TrainingOptions(epochs=3, backbone="test_vit", pretrained="a/vit.pth", backbone_lr=1e-4)
    asked = {"model": config.to_dict(), "options": dataclasses.asdict(options)}
    (run / "options.json").write_text(json.dumps(asked))
    result = json.loads((run / "result.json").read_text()) | {"test_coarse_top1": [0.4, 0.5, 0.6]}
    (run / "result.json").write_text(json.dumps(result))
    add_to_zoo.main([run], tmp_path)
    card = (tmp_path / "dvt_photos.md").read_text()
    assert "trained from the weights of timm's test_vit" in card and "30.00 %, 60.00 %" in card
    assert "--model timm:test_vit --name dvt_photos --depth 2 --grids 3,4,6 --image-size 32 --resize 36" in card
    assert "--pretrained a/vit.pth" in card and "--backbone-lr 0.0001" in card
    (run / "options.json").write_text(json.dumps(asked | {"model": config.replace(depth=3).to_dict()}))
    with pytest.raises(typer.BadParameter, match="another configuration"):
        add_to_zoo.main([run], tmp_path)
