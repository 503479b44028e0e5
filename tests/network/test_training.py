"""A training run leaves what it promises, learns, and goes on where it was killed, in one process or two."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.fake_cifar import write_cifar10

from dvt_edge.cli.app import main
from dvt_edge.data.dealing import held_out_images, open_training_data
from dvt_edge.data.images import LabelledImages
from dvt_edge.errors import CheckpointError, ConfigError, DataError, DataWarning, DvtEdgeError
from dvt_edge.network import training
from dvt_edge.network.accuracy import exit_accuracies
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.checkpoint import checkpoint_sha256, load_cascade, save_cascade
from dvt_edge.network.config import CascadeConfig
from dvt_edge.network.pixels import TrainingImages, normalise
from dvt_edge.network.presets import PRESETS
from dvt_edge.network.teaching import exit_losses
from dvt_edge.network.training import Process, Trainer, initial_cascade, train
from dvt_edge.network.training_options import TrainingOptions, warm_up

ROOT = Path(__file__).parents[2]
TINY = PRESETS["dvt_tiny"]
QUICK = TrainingOptions(epochs=2, batch_size=16, warmup_epochs=1, holdout=16, workers=0)
# Nothing drawn outside torch's and numpy's seeded generators, so two runs can be compared to the bit.
PLAIN = dataclasses.replace(QUICK, epochs=3, auto_augment="", erasing=0.0)
ALONE = Process(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cifar10(tmp_path_factory.mktemp("data"))


def log_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def weights_of(out: Path) -> dict[str, torch.Tensor]:
    return load_cascade(out / "cascade.safetensors").state_dict()


class Killed(Exception):
    pass


def kill_after(monkeypatch: pytest.MonkeyPatch, epoch: int, method: str = "end_epoch") -> None:
    """Stop the run in the epoch'th call of a method of the trainer: before save_state, or after end_epoch."""
    whole, calls = getattr(Trainer, method), [0]

    def interrupted(self: Trainer, *arguments: Any) -> None:
        calls[0] += 1
        if method == "save_state" and calls[0] == epoch:
            raise Killed
        whole(self, *arguments)
        if method == "end_epoch" and calls[0] == epoch:
            raise Killed

    monkeypatch.setattr(Trainer, method, interrupted)


def test_a_run_leaves_a_cascade_a_log_and_a_result(data: Path, tmp_path: Path) -> None:
    """The published recipe in two epochs: a line an epoch, and weights that reach what result.json says."""
    result = train(TINY, data, tmp_path, QUICK)
    assert [line["epoch"] for line in log_of(tmp_path)] == [1, 2]
    assert all(np.isfinite(line["loss"]) and len(line["held_out_top1"]) == 3 for line in log_of(tmp_path))
    assert json.loads((tmp_path / "result.json").read_text()) == result
    assert {p.name for p in tmp_path.iterdir()} == {
        "cascade.safetensors",
        "last.pt",
        "log.jsonl",
        "options.json",
        "result.json",
    }
    assert (result["epochs"], result["processes"], result["test_images"]) == (2, 1, 32)
    cascade = load_cascade(tmp_path / "cascade.safetensors")
    _, held_out, test, dealt = open_training_data(data, QUICK.holdout, QUICK.seed)
    assert cascade.config == TINY
    known = cascade.trained_on
    assert known is not None and known == dealt and known.classes == test.classes
    kept = held_out_images(data, known)
    assert kept is not None and kept.fingerprint == held_out.fingerprint
    assert exit_accuracies(cascade, TINY, test) == {"top1": result["test_top1"]}
    assert exit_accuracies(cascade, TINY, held_out) == {"top1": result["held_out_top1"]}


@pytest.mark.parametrize(("amp", "precision"), [("off", "float32"), ("auto", "float32"), ("bf16", "bf16")])
def test_a_runs_figures_are_of_the_precision_that_it_trains_in(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, amp: str, precision: str
) -> None:
    """On a CPU "auto" is float32."""
    seen = []

    def spied(model: torch.nn.Module, config: CascadeConfig, images: LabelledImages) -> dict[str, list[float]]:
        seen.append(torch.is_autocast_enabled("cpu"))
        return exit_accuracies(model, config, images)

    monkeypatch.setattr("dvt_edge.network.training.exit_accuracies", spied)
    result = train(TINY, data, tmp_path, dataclasses.replace(QUICK, epochs=1, amp=amp))
    assert result["precision"] == precision and seen == 3 * [precision == "bf16"]


def test_weights_that_saw_the_held_out_images_are_no_start(data: Path, tmp_path: Path) -> None:
    known = open_training_data(data, QUICK.holdout, QUICK.seed).dealt
    start = Cascade(TINY)
    for before, after in (
        (None, None),  # whatever it saw, nothing can be said of the result
        (known, known),
        (dataclasses.replace(known, fingerprint="0" * 64, classes=tuple("abcdefghij"), seed=9), known),
    ):
        start.trained_on = before
        save_cascade(start, tmp_path / "start.safetensors")
        named = TINY.replace(name="mine")
        cascade = initial_cascade(named, str(tmp_path / "start.safetensors"), known)
        assert cascade.trained_on == after and cascade.config == named
    start.trained_on = dataclasses.replace(known, seed=known.seed + 1)
    save_cascade(start, tmp_path / "start.safetensors")
    with pytest.raises(ConfigError, match="expected the same"):
        initial_cascade(TINY, str(tmp_path / "start.safetensors"), known)


def test_of_weights_of_a_data_set_that_has_grown_nobody_knows_what_they_have_not_seen(
    tmp_path: Path, data: Path
) -> None:
    """Images that are held out now may have been trained on then."""
    known = open_training_data(data, QUICK.holdout, QUICK.seed).dealt
    start = Cascade(TINY)
    start.trained_on = dataclasses.replace(known, fingerprint="0" * 64, classes=(*known.classes[1:], "new"))
    save_cascade(start, tmp_path / "start.safetensors")
    with pytest.warns(DataWarning, match="perhaps on some that are held out here"):
        assert initial_cascade(TINY, str(tmp_path / "start.safetensors"), known).trained_on is None


def test_a_run_whose_images_have_changed_is_not_resumed(tmp_path: Path) -> None:
    data = write_cifar10(tmp_path / "data")
    train(TINY, data, tmp_path / "run", QUICK)
    shutil.rmtree(data)
    write_cifar10(tmp_path / "data", train=70)
    with pytest.raises(DvtEdgeError, match="a run of other options"):
        train(TINY, data, tmp_path / "run", QUICK)


def test_training_learns_what_can_be_learnt(tmp_path: Path) -> None:
    """Ten colours: the loss falls and every exit is far above the chance of 10 %."""
    data = write_cifar10(tmp_path, train=220, test=100)
    options = TrainingOptions(
        epochs=4, batch_size=20, lr=5e-3, warmup_epochs=1, mixup=0, cutmix=0, auto_augment="", erasing=0,
        ema_decay=0.8, holdout=20, workers=0,
    )  # fmt: skip
    result = train(TINY, data, tmp_path / "run", options)
    losses = [line["loss"] for line in log_of(tmp_path / "run")]
    assert losses[-1] < 0.7 * losses[0]
    assert min(result["test_top1"]) > 0.5


@pytest.mark.parametrize("method", ["end_epoch", "save_state"])
def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been_killed(
    method: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between two epochs, or between a log line and its state: same log, same weights, no epoch twice."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train(TINY, data, whole, PLAIN)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after(patch, 2, method)
        train(TINY, data, killed, PLAIN)
    assert not (killed / "cascade.safetensors").exists()
    done = 2 if method == "end_epoch" else 1
    trained: list[int] = []
    train_epoch = Trainer.train_epoch

    def watched(self: Trainer, epoch: int, tick: Any) -> float:
        trained.append(epoch)
        return train_epoch(self, epoch, tick)

    monkeypatch.setattr(Trainer, "train_epoch", watched)
    result = train(TINY, data, killed, PLAIN)
    assert trained == list(range(done, 3)) and result["epochs"] == 3

    def lines(out: Path) -> list[dict[str, Any]]:
        return [{k: v for k, v in line.items() if k != "seconds"} for line in log_of(out)]

    assert [line["epoch"] for line in lines(killed)] == [1, 2, 3]
    assert lines(killed) == lines(whole)
    one, other = weights_of(whole), weights_of(killed)
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("augment", ["timm", "batch"])
def test_a_run_killed_within_an_epoch_takes_no_step_twice(
    augment: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after two of the second epoch's three steps: four are left, and all ends as without the kill."""
    options = dataclasses.replace(PLAIN, augment=augment)
    whole, killed, save = tmp_path / "whole", tmp_path / "killed", Trainer.save_state
    train(TINY, data, whole, options)
    monkeypatch.setattr(training, "SAVE_S", 0.0)

    def killed_at_a_step(self: Trainer) -> None:
        save(self)
        if (self.epoch, self.step) == (1, 2):
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Trainer, "save_state", killed_at_a_step)
        train(TINY, data, killed, options)
    steps: list[int] = []
    plain = training.exit_losses
    monkeypatch.setattr(training, "exit_losses", lambda *given: (steps.append(1), plain(*given))[1])
    train(TINY, data, killed, options)
    assert len(steps) == 4
    left, right = ([{**line, "seconds": 0} for line in log_of(out)] for out in (killed, whole))
    assert left == right
    one, other = weights_of(whole), weights_of(killed)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_torn_log_line_is_repaired_on_resume(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a line at the end of the log, as a kill leaves it, is written anew."""
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after(patch, 1)
        train(TINY, data, tmp_path, QUICK)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"epoch": 2, "lo')
    train(TINY, data, tmp_path, QUICK)
    assert [line["epoch"] for line in log_of(tmp_path)] == [1, 2]


def test_a_run_killed_in_its_first_epoch_starts_anew(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after(patch, 1, "save_state")
        train(TINY, data, tmp_path, QUICK)
    train(TINY, data, tmp_path, QUICK)
    assert [line["epoch"] for line in log_of(tmp_path)] == [1, 2]


def test_a_finished_run_is_not_trained_further(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = dataclasses.replace(QUICK, epochs=1)
    result = train(TINY, data, tmp_path, options)
    monkeypatch.setattr(Trainer, "train_epoch", None)
    assert train(TINY, data, tmp_path, options)["test_top1"] == result["test_top1"]
    assert len(log_of(tmp_path)) == 1


@pytest.mark.parametrize("change", ["options", "model", "data"])
def test_a_folder_with_another_run_is_refused_and_left_alone(change: str, data: Path, tmp_path: Path) -> None:
    """Other options, another model or other data never continue or overwrite a run."""
    options = dataclasses.replace(QUICK, epochs=1)
    train(TINY, data, tmp_path / "run", options)
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()}
    config = TINY.replace(relation_reuse=False) if change == "model" else TINY
    other_options = dataclasses.replace(options, lr=1.0) if change == "options" else options
    other_data = write_cifar10(tmp_path / "other", train=80) if change == "data" else data
    with pytest.raises(DvtEdgeError, match="other options") as caught:
        train(config, other_data, tmp_path / "run", other_options)
    assert "\n" not in str(caught.value)
    assert {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()} == before


def test_a_run_goes_on_with_other_workers_and_its_images_under_another_name(data: Path, tmp_path: Path) -> None:
    options = dataclasses.replace(QUICK, epochs=1)
    first = train(TINY, data, tmp_path / "run", options)
    again = train(TINY, data.parent, tmp_path / "run", dataclasses.replace(options, workers=1))
    assert again["test_top1"] == first["test_top1"] and len(log_of(tmp_path / "run")) == 1


def test_without_a_largest_norm_gradients_are_left_as_they_are(data: Path, tmp_path: Path) -> None:
    """A norm of 0 would train nothing."""
    outs = [tmp_path / f"{norm}" for norm in (0.0, 1e6)]
    for out, norm in zip(outs, (0.0, 1e6), strict=True):
        train(TINY, data, out, dataclasses.replace(PLAIN, epochs=1, warmup_epochs=0.5, clip_grad=norm))
    free, huge = map(weights_of, outs)
    assert all(torch.equal(free[name], huge[name]) for name in free)


def test_a_training_of_few_epochs_warms_up_in_a_part_of_them(data: Path, tmp_path: Path) -> None:
    """Where nothing else is asked for: a longer warm-up would never reach the rate."""
    assert [warm_up(epochs) for epochs in (1, 5, 6, 100)] == [0.2, 1, 5, 5]
    words = ["train", str(data), str(tmp_path), "--model", "dvt_tiny", "--epochs", "1", "--batch-size", "16"]
    assert main([*words, "--holdout", "16", "--workers", "0"]) == 0
    assert json.loads((tmp_path / "options.json").read_text())["options"]["warmup_epochs"] == 0.2


def test_a_state_of_another_optimizer_is_refused(data: Path, tmp_path: Path) -> None:
    train(TINY, data, tmp_path, QUICK)
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    state["optimizer"]["param_groups"].pop()
    torch.save(state, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match=r"damaged, or of another version .*; delete it to start anew"):
        train(TINY, data, tmp_path, QUICK)


def test_class_tokens_and_positions_do_not_decay(data: Path, tmp_path: Path) -> None:
    """Nor norms and biases, whichever rates are given: with `--backbone-lr` it is the same."""
    for rate in (0.0, 1e-4):
        trainer = Trainer(TINY, data, tmp_path / str(rate), dataclasses.replace(QUICK, backbone_lr=rate), ALONE)
        decays = {id(p): g["weight_decay"] for g in trainer.optimizer.param_groups for p in g["params"]}
        names = dict(trainer.model.named_parameters())
        spared = {name for name, p in names.items() if not decays[id(p)]}
        assert spared == {n for n, p in names.items() if p.ndim < 2 or n.endswith(("cls_token", "pos_embed"))}
        assert any(n.endswith("pos_embed") for n in spared)


def test_a_run_that_was_refused_leaves_its_folder_free(data: Path, tmp_path: Path) -> None:
    options = dataclasses.replace(QUICK, epochs=1)
    for wrong in (
        dataclasses.replace(options, holdout=100_000),
        dataclasses.replace(options, batch_size=100_000),
        dataclasses.replace(options, optimizer="nosuch"),
    ):
        with pytest.raises(DvtEdgeError):
            train(TINY, data, tmp_path / "run", wrong)
        assert not (tmp_path / "run").exists()
    train(TINY, data, tmp_path / "run", options)
    (tmp_path / "run/options.json").write_text("{")
    with pytest.raises(DvtEdgeError, match="not JSON"):
        train(TINY, data, tmp_path / "run", options)


def test_data_that_does_not_fit_is_refused(data: Path, tmp_path: Path) -> None:
    """Another class count than the model's, and fewer images than a batch."""
    with pytest.raises(DataError, match="10 classes; the model has 7"):
        train(TINY.replace(num_classes=7), data, tmp_path / "a", QUICK)
    with pytest.raises(DataError, match="at least a batch of 64"):
        train(TINY, data, tmp_path / "b", dataclasses.replace(QUICK, batch_size=64))


def test_a_loss_that_is_not_finite_stops_the_run(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A diverged run ends in one line and saves no state that a resume would pick up."""
    monkeypatch.setattr(training, "exit_losses", lambda exits, *_: torch.stack(exits).sum() * torch.nan)
    with pytest.raises(DvtEdgeError, match="epoch 1, step 0: the loss is nan"):
        train(TINY, data, tmp_path, QUICK)
    assert not (tmp_path / "last.pt").exists()


def test_exit_weights_choose_what_is_trained(data: Path, tmp_path: Path) -> None:
    """With weight on the first exit alone, the later stages' heads get no gradient and only decay."""
    options = dataclasses.replace(PLAIN, epochs=1, exit_weights=(1.0, 0.0, 0.0), weight_decay=0.0)
    torch.manual_seed(options.seed)
    before = Cascade(TINY).state_dict()
    train(TINY, data, tmp_path, options)
    after = torch.load(tmp_path / "last.pt", weights_only=True)["model"]
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert "stages.0.head.weight" in moved
    assert all(name.startswith("stages.0.") for name in moved)


def test_training_and_evaluation_pixels_are_normalised_alike(data: Path) -> None:
    """Without augmentation a training image is an evaluation image: same scale, same mean and deviation."""
    config = TINY.replace(resize=32)
    options = dataclasses.replace(PLAIN, crop_padding=0)
    images = open_training_data(data, options.holdout, 0)[0].first(4)
    wanted = normalise(torch.from_numpy(np.stack([images[i] for i in range(4)])), config)
    for index in range(4):
        found = TrainingImages(images, config, options)[index][0]
        assert torch.allclose(found, wanted[index], atol=1e-5) or torch.allclose(
            found.flip(2), wanted[index], atol=1e-5
        )


SCRIPT = """
import sys
import torch
from dvt_edge.network import training
from dvt_edge.network.presets import PRESETS
from dvt_edge.network.training_options import TrainingOptions

class Recording(training.Trainer):
    def finish(self):
        torch.save(self.model.state_dict(), f"{sys.argv[2]}.rank{self.process.rank}.pt")
        return super().finish()

training.Trainer = Recording
options = TrainingOptions(epochs=2, batch_size=16, warmup_epochs=1, holdout=16, workers=0)
training.train(PRESETS["dvt_tiny"], sys.argv[1], sys.argv[2], options)
"""


def test_two_processes_train_one_cascade(data: Path, tmp_path: Path) -> None:
    """Under torchrun the log has one line an epoch, and both processes end with the same weights."""
    script, out = tmp_path / "script.py", tmp_path / "run"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script), str(data), str(out)]
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line["epoch"] for line in log_of(out)] == [1, 2]
    assert json.loads((out / "result.json").read_text())["processes"] == 2
    first, second = (torch.load(tmp_path / f"run.rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert load_cascade(out / "cascade.safetensors").config == TINY


def test_the_strongest_posterize_keeps_one_bit() -> None:
    """timm draws 0 bits at magnitude 10, which Pillow 13 refuses: a run must not die of it by chance."""
    from PIL import Image

    from dvt_edge.network.pixels import training_transform

    picture = Image.fromarray(np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3))
    transform = training_transform(TINY, dataclasses.replace(QUICK, auto_augment="rand-m10-mstd0-inc1"))
    ops = [op for step in transform.transforms for op in getattr(step, "ops", ()) if op.name.startswith("Posterize")]
    assert ops
    for op in ops:
        op.prob = 1.0
        assert len(np.unique(np.asarray(op(picture)))) == 2


def test_the_last_exit_teaches_the_earlier_ones_and_not_itself() -> None:
    """With distill = 1 an earlier exit's loss is against the last one's answer, whose own loss stays the labels'."""
    torch.manual_seed(0)
    exits = [torch.randn(4, 5, requires_grad=True) for _ in range(3)]
    targets = torch.eye(5)[[0, 3, 1, 4]]
    plain, taught = (exit_losses(exits, targets, share) for share in (0.0, 1.0))
    expected = [torch.nn.functional.cross_entropy(z, targets) for z in exits]
    torch.testing.assert_close(plain, torch.stack(expected))
    answer = exits[-1].detach().softmax(dim=-1)
    torch.testing.assert_close(taught[0], torch.nn.functional.cross_entropy(exits[0], answer))
    torch.testing.assert_close(taught[-1], plain[-1])
    taught[:-1].sum().backward()
    assert exits[-1].grad is not None and not exits[-1].grad.any()  # the teacher learns nothing from its pupils


def test_a_run_starts_from_a_checkpoint_of_its_own_configuration(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(5)
    start = Cascade(TINY).eval()
    save_cascade(start, tmp_path / "start.safetensors")
    options = dataclasses.replace(PLAIN, epochs=1, lr=1e-12, min_lr=0.0, weight_decay=0.0)
    train(TINY, data, tmp_path / "run", dataclasses.replace(options, init=str(tmp_path / "start.safetensors")))
    asked = json.loads((tmp_path / "run/options.json").read_text())
    assert asked["options"]["init"] == f"{tmp_path.name}/start.safetensors" and str(tmp_path) not in str(asked)
    assert asked["init_sha256"] == checkpoint_sha256(tmp_path / "start.safetensors")
    for name, found in weights_of(tmp_path / "run").items():
        if "running" not in name and found.is_floating_point():
            torch.testing.assert_close(found, start.state_dict()[name], atol=2e-3, rtol=2e-3)  # float16 of the zoo
    monkeypatch.setattr(training, "load_cascade", lambda path: start)  # one that a published file is recognised as
    torch.save({"state_dict": start.state_dict(), "state_dict_ema": start.state_dict()}, tmp_path / "a.pth.tar")
    average = f"{tmp_path / 'a.pth.tar'}#state_dict_ema"
    train(TINY, data, tmp_path / "average", dataclasses.replace(options, init=average))
    asked = json.loads((tmp_path / "average/options.json").read_text())
    assert asked["init_sha256"] == checkpoint_sha256(average)
    other = TINY.replace(reuse_hidden=8)
    with pytest.raises(ConfigError, match="another configuration"):
        train(other, data, tmp_path / "other", dataclasses.replace(options, init=str(tmp_path / "start.safetensors")))


def test_a_checkpoint_of_other_classes_starts_with_new_heads(data: Path, tmp_path: Path) -> None:
    known = open_training_data(data, QUICK.holdout, QUICK.seed).dealt
    other = dataclasses.replace(known, fingerprint="0" * 64, classes=tuple(f"not {name}" for name in known.classes))
    fewer = dataclasses.replace(other, classes=other.classes[1:])
    file = tmp_path / "start.safetensors"
    for before, new_heads in ((other, True), (fewer, True), (known, False), (None, False)):
        torch.manual_seed(5)
        start = Cascade(TINY.replace(resize=TINY.resize + 4, num_classes=len((before or known).classes)))
        start.trained_on = before
        save_cascade(start, file)
        torch.manual_seed(6)
        found = initial_cascade(TINY, str(file), known)
        assert found.config == TINY and found.trained_on == (known if before else None)
        for name, tensor in start.state_dict().items():
            if not name.endswith("head.bias"):  # zeros at first
                assert torch.equal(found.state_dict()[name], tensor) != (new_heads and name.endswith("head.weight"))


def test_muon_trains_too(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "data", train=200)
    options = dataclasses.replace(PLAIN, epochs=4, optimizer="muon", lr=5e-3, batch_size=32)
    train(TINY, tmp_path / "data", tmp_path / "run", options)
    losses = [line["loss"] for line in log_of(tmp_path / "run")]
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.parametrize("split", [{"backbone_lr": 1e-4}, {"layer_decay": 0.5}])
def test_rates_by_layer_want_one_to_begin_with(split: dict[str, float], data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"lr 0 with .* expected above 0"):
        train(TINY, data, tmp_path / "run", dataclasses.replace(QUICK, lr=0.0, **split))
    assert not (tmp_path / "run").exists()
