"""The tables of docs/results.md that come from the logs of training runs."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from dvt_edge.network.cascade import Cascade
from dvt_edge.network.pixels import normalise
from dvt_edge.network.presets import PRESETS

SCRIPTS = Path(__file__).parents[2] / "export_scripts/reproduce"


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import make_results

    return make_results


def write_run(
    folder: Path, name: str, epochs: int | str, seed: int, top1: list[float], model: str = "dvt_tiny", side: int = 6
) -> None:
    config = PRESETS["dvt_tiny"].replace(name=model)
    if len(top1) == 1:
        config = config.replace(grids=(side,), feature_reuse=False, relation_reuse=False)
    run = folder / model / f"{name}-{epochs}ep-seed{seed}"
    run.mkdir(parents=True)
    (run / "options.json").write_text(json.dumps({"model": config.to_dict(), "options": {"seed": seed}}))
    (run / "result.json").write_text(json.dumps({"test_top1": top1, "hours": 0.5}))


def test_seed_noise_is_the_pooled_deviation_of_static_models_of_one_length(results: ModuleType, tmp_path: Path) -> None:
    write_run(tmp_path, "static8", 8, 0, [0.80])
    assert results.seed_noise(results.read_runs(tmp_path)) == 0.0
    write_run(tmp_path, "static8", 8, 1, [0.81])
    write_run(tmp_path, "static8", 32, 0, [0.90])  # another length
    write_run(tmp_path, "static8", 8, 2, [0.95], model="wider")
    write_run(tmp_path, "cascade", 8, 0, [0.1, 0.2, 0.3])
    write_run(tmp_path, "cascade", 8, 1, [0.4, 0.5, 0.6])
    for seed, top1 in enumerate((0.70, 0.72, 0.74)):
        write_run(tmp_path, "static2", 8, seed, [top1])
    squares = 2 * 0.005**2 + 2 * 0.02**2
    assert results.seed_noise(results.read_runs(tmp_path)) == pytest.approx((squares / 3) ** 0.5)


def test_ablations_are_compared_with_the_cascade_of_their_seeds_and_length(results: ModuleType, tmp_path: Path) -> None:
    for seed, top1 in enumerate(([0.60, 0.70, 0.80], [0.62, 0.74, 0.80])):
        write_run(tmp_path, "cascade", 8, seed, top1)
    write_run(tmp_path, "no-reuse", 8, 0, [0.61, 0.65, 0.70])
    write_run(tmp_path, "cascade", 32, 0, [0.9, 0.9, 0.9])
    for seed in range(5):  # more runs of another length
        write_run(tmp_path, "static8", 32, seed, [0.9])
    write_run(tmp_path, "no-reuse", 8, 2, [0.0, 0.0, 0.0])  # a seed without its cascade
    text = results.ablation_table(results.read_runs(tmp_path))
    rows = {re.split(r" *\| *", line)[1]: line for line in text.splitlines()[2:]}
    assert "61.00 % / 72.00 % / 80.00 %" in rows["cascade"] and "| 0, 1 |" in rows["cascade"]
    assert "+1.00 / -5.00 / -10.00" in rows["no-reuse"] and "| 0, 2 |" in rows["no-reuse"]
    assert "static8" not in rows and "static8-32ep-seed0" in results.runs_table(results.read_runs(tmp_path))


def test_each_exit_stands_beside_the_static_model_of_its_grid(results: ModuleType, tmp_path: Path) -> None:
    write_run(tmp_path, "static4", 24, 0, [0.91], side=4)
    ours = {"evaluations": [{"top1": [0.8, 0.85, 0.9], "macs": [1e6, 2e6, 3e6]}]}
    text = results.alone_table(ours, results.read_runs(tmp_path), (3, 4, 6))
    rows = [re.split(r" *\| *", line)[1:-1] for line in text.splitlines()[2:]]
    assert [row[:5] for row in rows] == [
        ["0", "3x3", "80.00 %", "1.00", "not trained"],
        ["1", "4x4", "85.00 %", "2.00", "91.00 %"],
        ["2", "6x6", "90.00 %", "3.00", "not trained"],
    ]


def test_the_cascade_is_compared_with_each_static_model_on_its_own_artifact(results: ModuleType) -> None:
    equal, times = [], []
    for static, top1, macs in (("static 8x8", 0.9, 40e6), ("static 4x4", 0.8, 20e6)):
        for target in ("pytorch", "onnx-int8"):
            for tolerance, cost in ((0.0, 10e6), (0.003, 8e6)):
                row = {"static": static, "target": target, "tolerance": tolerance, "static_top1": top1}
                ours = {"top1": top1 + 0.01 - tolerance, "cost": cost}
                equal.append(row | {"static_macs": macs, "cascade": ours, "fewer_macs": macs / cost})
    for run, ms in (
        ("static 8x8", 6.0),
        ("as good as static 8x8", 3.0),
        ("0.30 points below static 8x8", 2.0),
        ("static 4x4", 2.0),
        ("as good as static 4x4", 1.6),
        ("0.30 points below static 4x4", 1.0),
    ):
        times.append({"target": "onnx-int8", "run": run, "mean_ms": ms})
    text = results.equal_table({"equal_accuracy": equal, "times": times})
    head, _, *rows = [re.split(r" *\| *", line)[1:-1] for line in text.splitlines()]
    assert [cell for cell in head if "top-1" in cell] == ["its top-1", "cascade: top-1", "at 0.30 less: top-1"]
    assert [row[:2] for row in rows] == [[s, t] for s in ("static 8x8", "static 4x4") for t in ("pytorch", "onnx-int8")]
    assert rows[0][2:] == ["90.00 %", "40.00", "-", "91.00 %", "4.00", "-", "90.70 %", "5.00", "-"]
    assert rows[1][2:] == ["90.00 %", "40.00", "6.000", "91.00 %", "4.00", "2.00", "90.70 %", "5.00", "3.00"]
    assert rows[3][2:] == ["80.00 %", "20.00", "2.000", "81.00 %", "2.00", "1.25", "80.70 %", "2.50", "2.00"]


def test_early_exit_is_compared_with_every_stage_and_with_the_best_static_model(results: ModuleType) -> None:
    rows = [{"target": "onnx-int8", "run": "always the last exit", "top1": 0.9, "macs": 60e6, "mean_ms": 1.2}]
    for loss in ("0.25", "0.5", "1", "2"):
        top1, macs = 0.9 - 1.5 * float(loss) / 100, 20e6 / float(loss)
        rows.append(
            {"target": "onnx-int8", "run": f"loses {loss} %", "top1": top1, "macs": macs, "mean_ms": macs / 40e6}
        )
    lines = results.last_table({"times": rows}).splitlines()[2:]
    cells = [re.split(r" *\| *", line)[1:-1] for line in lines]
    assert cells[1] == ["onnx-int8", "90.00 %", "0.5", "0.75", "1.50", "1.20"]
    assert [row[2] for row in cells] == ["0.25", "0.5", "1", "2"] and cells[3][3:] == ["3.00", "6.00", "4.80"]
    statics = [
        {"static": f"static {k}x{k}", "target": target, "top1": [top1], "macs": [macs]}
        for k, target, top1, macs in (
            (8, "pytorch", 0.86, 40e6),
            (2, "pytorch", 0.87, 12e6),
            (4, "onnx-int8", 0.99, 1e6),
        )
    ]
    curve = [{"cost": c * 1e6, "top1": t} for c, t in ((8, 0.85), (10, 0.87), (15, 0.89), (11, 0.88))]
    result = {"evaluations": [{"target": "pytorch", "curves": {"joint": curve}}], "statics": statics}
    wanted = (
        "The most accurate of them is static 2x2: 87.00 % at 12.00 MMACs. The cascade's test curve reaches that at "
        "10.00 MMACs, 0.83 times as many, and goes on to 89.00 % at 15.00."
    )
    assert " ".join(results.best_static_text(result).split()) == wanted
    statics[1]["top1"] = [0.9]
    assert results.best_static_text(result).endswith("which the cascade does not reach.")


def test_a_schedule_of_cycles_is_a_run_each_from_the_weights_before(
    results: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import train_baselines

    commands = []

    def run(command: list[str], check: bool) -> None:
        commands.append(command)
        write_run(tmp_path, "static8", "24+32" if "--init" in command else "24", 3, [0.9], model="m")

    monkeypatch.setattr(train_baselines.subprocess, "run", run)
    for _ in range(2):  # the second time nothing is left to do
        folders = train_baselines.train_variant(Path("d"), tmp_path, "m", "static8", ((24, 0.005), (32, 0.003)), 3)
    assert [f.relative_to(tmp_path).as_posix() for f in folders] == ["m/static8-24ep-seed3", "m/static8-24+32ep-seed3"]
    first, second = (dict(itertools.pairwise(c)) for c in commands)
    assert (first["--epochs"], first["--lr"], first["--seed"], first["--model"]) == ("24", "0.005", "3", "m")
    assert (second["--epochs"], second["--lr"]) == ("32", "0.003") and "--init" not in first
    assert second["--init"] == str(folders[0] / "cascade.safetensors") and second["--grids"] == "8"
    assert sorted(r.epochs for r in results.read_runs(tmp_path)) == [24, 56]


def test_attention_maps_are_the_class_tokens_of_the_last_block(results: ModuleType) -> None:
    torch.manual_seed(0)
    cascade = Cascade(PRESETS["dvt_tiny"]).eval()
    config = cascade.config
    pixels = np.random.default_rng(0).integers(0, 256, (config.image_size, config.image_size, 3), dtype=np.uint8)
    maps = results.attention_maps(cascade, pixels)
    assert [m.shape for m in maps] == [(side, side) for side in config.grids]
    assert all(m.min() > 0 and m.sum() < 1 for m in maps)
    with torch.inference_mode():
        _, _, relations = cascade.stages[0](normalise(torch.from_numpy(pixels)[None], config))
    last = relations[0, -config.heads :].softmax(dim=-1)[:, 0, 1:].mean(dim=0)
    np.testing.assert_allclose(maps[0].ravel(), last.numpy(), rtol=1e-5)
    assert not any(block.attn._forward_hooks for stage in cascade.stages for block in stage.blocks)
