"""From pretrained weights: rates by layer, batches on tensors, a teacher's kept logits, classes of two levels."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import Tensor

from dvt_edge.cli.app import main
from dvt_edge.data.dealing import deal_indices, open_training_data
from dvt_edge.data.images import Coarse, LabelledImages, from_arrays
from dvt_edge.errors import ConfigError, DataError, DvtEdgeError
from dvt_edge.network.accuracy import exit_accuracies
from dvt_edge.network.batches import AugmentedBatches, augment, decoded, random_crop
from dvt_edge.network.cascade import Cascade
from dvt_edge.network.checkpoint import load_cascade
from dvt_edge.network.presets import PRESETS
from dvt_edge.network.teaching import kept_logits, teacher_losses
from dvt_edge.network.training import Trainer, parameter_groups, train
from dvt_edge.network.training_options import TrainingOptions

TINY = PRESETS["dvt_tiny"].replace(num_classes=4)
LIGHT = TrainingOptions(
    epochs=2, batch_size=8, warmup_epochs=0.5, mixup=0.0, cutmix=0.0, holdout=8, workers=0, augment="batch"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 training and 12 test photographs of four colours, two coarse ones, in lists."""
    root, generator = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 12)):
        lines = []
        for index in range(count):
            fine = index % 4
            pixels = generator.integers(0, 60, (48, 64, 3), dtype=np.uint8)
            pixels[..., fine % 3] += 60 + 100 * (fine == 3)
            Image.fromarray(pixels).save(root / f"{split}{index}.png")
            lines.append(f"{split}{index}.png, {fine}, {fine // 2}\n")
        (root / f"{split}.txt").write_text("".join(lines))
    return root


@pytest.fixture(scope="module")
def teacher(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    whole = open_training_data(data, LIGHT.holdout, LIGHT.seed)
    logits = np.random.default_rng(1).normal(size=(40, 4)).astype(np.float32)
    file = tmp_path_factory.mktemp("teacher") / "logits.npz"
    np.savez(file, logits=logits, fingerprint=whole.dealt.fingerprint)
    return file


def log_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def weights_of(out: Path) -> dict[str, Tensor]:
    return load_cascade(out / "cascade.safetensors").state_dict()


def test_rates_fall_towards_the_image_and_new_parts_have_their_own() -> None:
    """Each parameter stands in one group, of the rate that its place has and of the decay that its kind has."""
    cascade = Cascade(TINY)
    options = dataclasses.replace(LIGHT, lr=1e-2, backbone_lr=1e-3, layer_decay=0.5, weight_decay=0.05)
    groups = parameter_groups(cascade, options)
    place = {id(p): group for group in groups for p in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(place) == len(list(cascade.parameters()))
    for name, scale, decay in (
        ("stages.1.head.weight", 1.0, 0.05),
        ("stages.1.head.bias", 1.0, 0.0),
        ("stages.2.relation_reuse.conv1.weight", 1.0, 0.05),
        ("stages.1.blocks.0.feature_reuse.fc1.weight", 1.0, 0.05),
        ("stages.0.norm.weight", 0.1, 0.0),
        ("stages.0.blocks.1.fc1.weight", 0.1 / 2, 0.05),
        ("stages.0.blocks.0.attn.qkv.weight", 0.1 / 4, 0.05),
        ("stages.0.stem.proj.weight", 0.1 / 8, 0.05),
        ("stages.0.cls_token", 0.1 / 8, 0.0),
        ("stages.2.pos_embed", 0.1 / 8, 0.0),
    ):
        group = place[id(cascade.get_parameter(name))]
        assert (group["lr_scale"], group["weight_decay"]) == pytest.approx((scale, decay)), name


def test_every_step_uses_the_rates_of_its_groups(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first step on, warm-up or none, a group's rate is its share of the schedule's."""
    seen: list[set[float]] = []
    step = torch.optim.AdamW.step

    def watched(self: Any, *arguments: Any) -> Any:
        base = max(group["lr"] for group in self.param_groups)
        seen.append({round(group["lr"] / base / group["lr_scale"], 6) for group in self.param_groups})
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    for warmup in (0.0, 1.0):
        options = dataclasses.replace(LIGHT, epochs=1, warmup_epochs=warmup, backbone_lr=1e-4, layer_decay=0.7)
        train(TINY, data, tmp_path / str(warmup), options)
    assert len(seen) == 8 and all(ratios == {1.0} for ratios in seen)


def test_a_crop_is_a_part_of_the_image_and_of_enough_area() -> None:
    torch.manual_seed(0)
    image = torch.arange(3 * 40 * 60).view(3, 40, 60)
    sizes = set()
    for _ in range(200):
        crop = random_crop(image, 0.3)
        height, width = crop.shape[-2:]
        top, left = divmod(int(crop[0, 0, 0]), 60)
        assert torch.equal(crop, image[:, top : top + height, left : left + width])
        assert height * width >= 0.28 * 2400 and 0.7 < width / height < 1.55
        sizes.add((height, width))
    assert len(sizes) > 50
    for size, fitting in (((3, 60), (3, 4)), ((60, 3), (4, 3)), ((40, 40), (40, 40))):
        crop = random_crop(torch.arange(60).expand(3, *size) if size[1] == 60 else torch.zeros(3, *size), 1.0)
        assert crop.shape[-2:] == fitting, "the middle, where no crop of that shape and area fits"
        assert size[1] != 60 or crop[0, 0, 0] == 28


def test_augmented_batches_are_pictures_of_the_images() -> None:
    """In 0..1, of the asked size, flipped or not, near the image's own level; drawn anew each time, by the seed."""
    left = torch.zeros(3, 30, 40, dtype=torch.uint8)
    left[..., :20] = 200
    torch.manual_seed(3)
    first = augment([left] * 64, 24, 0.9)
    assert first.shape == (64, 3, 24, 24) and float(first.min()) >= 0 and float(first.max()) <= 1
    brighter = first[..., :12].mean(dim=(1, 2, 3)) > first[..., 12:].mean(dim=(1, 2, 3))
    assert 10 < int(brighter.sum()) < 54, "about half of them flipped"
    assert abs(float(first.mean()) - 200 / 255 / 2) < 0.05
    assert not torch.equal(first, augment([left] * 64, 24, 0.9))
    torch.manual_seed(3)
    assert torch.equal(first, augment([left] * 64, 24, 0.9))


def test_images_are_decoded_once_and_not_larger_than_needed(tmp_path: Path) -> None:
    Image.new("RGB", (300, 150), (10, 20, 30)).save(tmp_path / "a.png")
    pixels = decoded(tmp_path / "a.png", 50)
    assert pixels.shape == (3, 50, 100) and pixels[:, 5, 5].tolist() == [10, 20, 30]
    small = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    assert np.array_equal(decoded(small, 50).permute(1, 2, 0).numpy(), small)
    images = from_arrays(np.stack([np.full((8, 8, 3), i, np.uint8) for i in range(10)]), np.arange(10), [], "ten")
    batches = AugmentedBatches(images, TINY, 4, range(9, -1, -1), 1.0)
    assert len(batches) == 2
    found = list(batches)
    assert [indices.tolist() for _, _, indices in found] == [[9, 8, 7, 6], [5, 4, 3, 2]]
    assert all(torch.equal(labels, indices) for _, labels, indices in found)


def test_a_teachers_answer_has_no_loss_at_its_own_logits() -> None:
    """The divergence is zero there, positive elsewhere, and its pull does not fade with the temperature."""
    torch.manual_seed(0)
    teacher, exits = torch.randn(4, 5), [torch.randn(4, 5, requires_grad=True) for _ in range(2)]
    assert teacher_losses([teacher + 3.0], teacher, 2.0).item() == pytest.approx(0, abs=1e-6)
    losses = teacher_losses(exits, teacher, 2.0)
    p = (teacher / 2).softmax(-1)
    expected = [4 * (p * (p.log() - (z / 2).log_softmax(-1))).sum() / 4 for z in exits]
    torch.testing.assert_close(losses, torch.stack(expected))


def test_kept_logits_are_those_of_the_images_that_are_trained_on(data: Path, teacher: Path) -> None:
    known = open_training_data(data, LIGHT.holdout, LIGHT.seed).dealt
    found = kept_logits(teacher, known, 40)
    with np.load(teacher) as arrays:
        assert np.array_equal(found.numpy(), arrays["logits"][deal_indices(40, LIGHT.holdout, LIGHT.seed)[0]])


@pytest.mark.parametrize(
    ("arrays", "found"),
    [
        ({"logits": np.zeros((39, 4), np.float32)}, "(39, 4)"),
        ({"logits": np.zeros((40, 4), np.int64)}, "int64"),
        ({"logits": np.full((40, 4), np.nan, np.float32)}, "finite"),
        ({"logits": np.zeros((40, 4), np.float32), "fingerprint": "f" * 64}, "other images"),
        ({"scores": np.zeros((40, 4), np.float32)}, "not a teacher's logits"),
    ],
)
def test_logits_of_others_are_refused(arrays: dict[str, Any], found: str, data: Path, tmp_path: Path) -> None:
    known = open_training_data(data, LIGHT.holdout, LIGHT.seed).dealt
    np.savez(tmp_path / "a.npz", **({"fingerprint": known.fingerprint} | arrays))
    with pytest.raises(DataError) as caught:
        kept_logits(tmp_path / "a.npz", known, 40)
    assert found in str(caught.value) and "\n" not in str(caught.value)
    (tmp_path / "b.npz").write_text("logits")
    with pytest.raises(DataError, match="not a teacher's logits"):
        kept_logits(tmp_path / "b.npz", known, 40)


def test_the_teacher_moves_the_weights_and_each_image_has_its_own(
    data: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step's teacher rows are those of the step's images; with a teacher a run ends elsewhere than without."""
    import dvt_edge.network.training as training

    rows: list[Tensor] = []
    labelled: list[Tensor] = []
    taught, plain = training.teacher_losses, training.exit_losses
    monkeypatch.setattr(training, "teacher_losses", lambda z, t, T: (rows.append(t), taught(z, t, T))[1])
    monkeypatch.setattr(training, "exit_losses", lambda z, t, d: (labelled.append(t), plain(z, t, d))[1])
    options = dataclasses.replace(LIGHT, epochs=1, teacher=str(teacher), smoothing=0.0)
    train(TINY, data, tmp_path / "taught", options)
    kept = open_training_data(data, LIGHT.holdout, LIGHT.seed)[0]
    with np.load(teacher) as arrays:
        logits = arrays["logits"][deal_indices(40, LIGHT.holdout, LIGHT.seed)[0]]
    assert kept.labels is not None
    known = {tuple(row): label for row, label in zip(logits.tolist(), kept.labels, strict=True)}
    found = [known[tuple(row)] for row in torch.cat(rows).tolist()]
    assert found == torch.cat(labelled).argmax(dim=-1).tolist() and len(found) == 32
    train(TINY, data, tmp_path / "plain", dataclasses.replace(options, teacher=""))
    one, other = weights_of(tmp_path / "taught"), weights_of(tmp_path / "plain")
    assert any(not torch.equal(one[name], other[name]) for name in one)
    asked = json.loads((tmp_path / "taught/options.json").read_text())
    assert len(asked["teacher_sha256"]) == 64 and str(teacher.parent) not in json.dumps(asked)


def test_a_run_of_batches_goes_on_where_it_was_killed(
    data: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = dataclasses.replace(LIGHT, teacher=str(teacher), distill=0.5, backbone_lr=1e-4, layer_decay=0.8)
    train(TINY, data, tmp_path / "whole", options)
    end = Trainer.end_epoch

    def killed(self: Trainer, epoch: int, *arguments: Any) -> None:
        end(self, epoch, *arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "end_epoch", killed)
        train(TINY, data, tmp_path / "killed", options)
    train(TINY, data, tmp_path / "killed", options)
    one, other = weights_of(tmp_path / "whole"), weights_of(tmp_path / "killed")
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert [line["epoch"] for line in log_of(tmp_path / "killed")] == [1, 2]


def test_both_levels_of_classes_are_reported() -> None:
    """The coarse answer is of summed probabilities: it may be right where the fine one is wrong, and the reverse."""
    images = dataclasses.replace(
        from_arrays(np.zeros((3, 32, 32, 3), np.uint8), np.array([0, 2, 3]), list("abcd"), "three"),
        coarse=Coarse((0, 0, 1, 1), ("x", "y")),
    )
    logits = torch.log(torch.tensor([[0.3, 0.4, 0.2, 0.1], [0.3, 0.3, 0.35, 0.05], [0.1, 0.1, 0.2, 0.6]]))

    class Fixed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x: Tensor) -> list[Tensor]:
            return [logits] * 3

    found = exit_accuracies(Fixed(), TINY, images)
    assert found == {"top1": [0.6667] * 3, "coarse_top1": [0.6667] * 3}
    assert list(exit_accuracies(Fixed(), TINY, dataclasses.replace(images, coarse=None))) == ["top1"]


def test_the_command_trains_from_a_file_of_pretrained_weights(
    data: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole recipe on made-up photographs: fewer blocks, another size, both levels; wrong options leave no run."""
    torch.manual_seed(0)
    vit = timm.create_model("test_vit")
    torch.save(vit.state_dict(), tmp_path / "vit.pth")
    command = [
        "train", str(data), str(tmp_path / "run"), "--model", "timm:test_vit", "--name", "mine",
        "--pretrained", str(tmp_path / "vit.pth"), "--depth", "2", "--image-size", "64", "--resize", "72",
        "--grids", "2,3", "--epochs", "1", "--batch-size", "8", "--mixup", "0", "--cutmix", "0", "--holdout", "8",
        "--augment", "batch", "--teacher", str(teacher), "--lr", "1e-9", "--min-lr", "0", "--backbone-lr", "1e-10",
        "--layer-decay", "0.8", "--weight-decay", "0", "--warmup-epochs", "0", "--workers", "0",
    ]  # fmt: skip
    assert main(command) == 0
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert len(result["test_top1"]) == len(result["test_coarse_top1"]) == 2
    cascade = load_cascade(tmp_path / "run/cascade.safetensors")
    config = cascade.config
    assert (config.name, config.depth, config.image_size, config.resize, config.grids) == ("mine", 2, 64, 72, (2, 3))
    assert cascade.trained_on is not None and cascade.trained_on.source.endswith("train.txt")
    torch.testing.assert_close(
        cascade.stages[1].blocks[1].attn.qkv.weight, vit.blocks[1].attn.qkv.weight, atol=1e-3, rtol=1e-3
    )
    capsys.readouterr()
    place = command.index("--pretrained") + 1
    for option, value, found in (
        (2, str(tmp_path / "a"), "no such file"),
        (command.index("--model") + 1, "dvt_tiny", "needs --model timm:"),
        (command.index("--mixup") + 1, "0.5", "mixup and cutmix 0"),
        (command.index("--augment") + 1, "strong", "expected timm or batch"),
    ):
        wrong = [*command[:2], str(tmp_path / "refused"), *command[3:]]
        wrong[place if option == 2 else option] = value
        assert main(wrong) == 2
        assert found in capsys.readouterr().err
        assert not (tmp_path / "refused").exists()


def test_a_run_from_before_an_option_was_there_goes_on(data: Path, tmp_path: Path) -> None:
    """What options.json does not say is the default; of another value it is another run."""
    options = dataclasses.replace(LIGHT, epochs=1)
    train(TINY, data, tmp_path, options)
    file = tmp_path / "options.json"
    asked = json.loads(file.read_text())
    del asked["options"]["teacher"], asked["options"]["layer_decay"]
    file.write_text(json.dumps(asked))
    train(TINY, data, tmp_path, options)
    with pytest.raises(DvtEdgeError, match="other options"):
        train(TINY, data, tmp_path, dataclasses.replace(options, layer_decay=0.5))


def test_a_checkpoint_and_a_backbone_are_not_both_a_start(data: Path, tmp_path: Path) -> None:
    options = dataclasses.replace(LIGHT, init="zoo:dvt_cifar10", backbone="test_vit")
    with pytest.raises((ConfigError, DvtEdgeError), match="expected one of them"):
        train(TINY, data, tmp_path / "run", options)


def test_images_keep_their_coarse_classes(data: Path) -> None:
    for images in open_training_data(data, 8, 0)[:3]:
        assert isinstance(images, LabelledImages) and images.coarse == Coarse((0, 0, 1, 1), ("0", "1"))
