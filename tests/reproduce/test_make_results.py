"""The tables of docs/results-cifar10.md that come from the logs of training runs."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from dvt_edge.network.cascade import Cascade
from dvt_edge.network.pixels import normalise
from dvt_edge.network.presets import PRESETS

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "export_scripts/reproduce"


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import results_page

    return results_page


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
    assert "+1.00 (+1.00) / -5.00 (-5.00) / -10.00 (-10.00)" in rows["no-reuse"] and "| 0, 2 |" in rows["no-reuse"]
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


def study() -> dict[str, Any]:
    """Figures of one made-up run: 1,000 images, a cascade of two exits, two static models."""
    equal, times = [], []
    for static, top1, macs in (("static 8x8", 0.8, 40e6), ("static 4x4", 0.9, 20e6)):
        for target in ("pytorch", "onnx-int8"):
            for tolerance, cost, early in ((0.0, 10e6, 1.0), (0.003, 8e6, 0.9)):
                row = {"static": static, "target": target, "tolerance": tolerance, "static_top1": top1}
                ours = {"top1": top1 + 0.01 - tolerance, "cost": cost, "shares": [early, 1 - early]}
                row |= {"static_macs": macs, "cascade": ours, "fewer_macs": macs / cost, "crossing": ours}
                equal.append(row)
    for run, ms in (
        ("static 8x8", 6.0),
        ("as good as static 8x8", 3.0),
        ("0.30 points below static 8x8", 2.0),
        ("static 4x4", 2.0),
        ("as good as static 4x4", 1.6),
        ("0.30 points below static 4x4", 1.0),
    ):
        times.append({"target": "onnx-int8", "run": run, "mean_ms": ms, "less_time": {"static 8x8": [2.9, 3.1]}})
    statics = [
        {"static": row["static"], "target": row["target"], "top1": [row["static_top1"]], "macs": [row["static_macs"]]}
        for row in equal
        if row["tolerance"] == 0
    ]
    curve = [{"cost": 30e6, "top1": 0.93}]
    ours = {"target": "pytorch", "images": 1000, "macs": [10e6, 60e6], "top1": [0.91, 0.92], "curves": {"joint": curve}}
    return {"equal_accuracy": equal, "times": times, "evaluations": [ours], "statics": statics, "carry_over": []}


def test_the_cascade_is_compared_with_each_static_model_on_its_own_artifact(results: ModuleType) -> None:
    text = results.equal_table(study(), {})
    head, _, *rows = [re.split(r" *\| *", line)[1:-1] for line in text.splitlines()]
    assert [cell for cell in head if "top-1" in cell] == ["its top-1", "cascade: top-1", "at 0.30 less: top-1"]
    big = "static 8x8, dominated by 4x4"  # less accurate with more MACs than the other
    assert [row[:2] for row in rows] == [[s, t] for s in (big, "static 4x4") for t in ("pytorch", "onnx-int8")]
    first = dict(zip(head[:10], rows[0], strict=False))
    assert (first["leave at exit 0"], first["times fewer MACs"], first["times less time"]) == ("100.0%", "4.00", "-")
    assert first["difference, points"].startswith("+1.00 (-") and first["difference, points"].endswith(" u")
    assert rows[1][9] == "2.00 (2.90 to 3.10)" and rows[3][9] == "1.25"
    assert rows[0][10:12] == ["80.70 %", "90.0%"] and re.fullmatch(r"5\.00 \(\d\.\d\d to \d\.\d\d\)", rows[0][12])


def test_differences_are_paired_where_both_answers_were_kept(results: ModuleType) -> None:
    """Of answers that mostly agree the paired interval is the narrower one."""
    right = np.arange(1000) % 10 > 0
    other = right.copy()
    other[:10] = False
    answers = {
        "onnx-int8/right": np.stack([other, right], axis=1),
        "onnx-int8/as good as static 4x4": np.ones(1000, np.uint8),
        "static 4x4, onnx-int8/right": other[:, None],
    }
    row = next(line for line in results.equal_table(study(), answers).splitlines() if "static 4x4 | onnx-int8" in line)
    paired = re.search(r"\+1\.00 \((\S+) to (\S+)\) \|", row)
    assert paired and 0 < float(paired[1]) < 1 < float(paired[2]) < 2.1


def test_early_exit_is_compared_with_every_stage(results: ModuleType) -> None:
    rows = [{"target": "onnx-int8", "run": "always the last exit", "top1": 0.9, "macs": 60e6, "mean_ms": 1.2}]
    for loss in ("0.25", "0.5", "1", "2"):
        top1, macs = 0.9 - 1.5 * float(loss) / 100, 20e6 / float(loss)
        row = {"target": "onnx-int8", "run": f"loses {loss} %", "top1": top1, "macs": macs, "mean_ms": macs / 40e6}
        rows.append(row | ({"shares": [0.4, 0.6]} if loss == "0.5" else {}))
    lines = results.last_table(study() | {"times": rows}, {}).splitlines()[2:]
    cells = [re.split(r" *\| *", line)[1:-1] for line in lines]
    assert cells[1][:3] == ["onnx-int8", "90.00 %", "0.5"] and cells[1][5] == "1.20"
    assert cells[1][3].startswith("+0.75 (-") and re.fullmatch(r"1\.50 \(1\.\d\d to 1\.\d\d\)", cells[1][4])
    assert [row[2] for row in cells] == ["0.25", "0.5", "1", "2"] and cells[3][4:] == ["6.00", "4.80"]


def test_what_the_best_static_model_leaves_to_the_cascade(results: ModuleType, tmp_path: Path) -> None:
    text = " ".join(results.best_static_text(study(), [], {}).split())
    assert text.startswith(
        "The most accurate of them is static 4x4: 90.00 % at 20.00 MMACs. Exit 0 less that model: +1.00"
    )
    assert "takes 10.00 MMACs, 0.50 times as many; chosen on the test images" in text
    unreached = study()
    for row in unreached["equal_accuracy"]:
        row["crossing"] = None
    assert results.best_static_text(unreached, [], {}).endswith("at no point.")
    for name, top1, held_out, side in (("cascade", [0.9, 0.9], [0.7, 0.9], 6), ("static4", [0.9], [0.75], 4)):
        write_run(tmp_path, name, 32, 0, top1, side=side)
        result = tmp_path / "dvt_tiny" / f"{name}-32ep-seed0" / "result.json"
        result.write_text(json.dumps({"test_top1": top1, "held_out_top1": held_out, "hours": 1}))
    text = " ".join(results.best_static_text(study(), results.read_runs(tmp_path), {}).split())
    assert "on the held-out images -5.00." in text and "on the held-out images +15.00." in text


def test_a_gain_over_a_poor_baseline_is_said_to_be_one(results: ModuleType) -> None:
    """All images leave at exit 0, and another static model has the same gain: neither is early exit's."""
    text = " ".join(results.dominated_text(study()).split())
    assert "no early exit is involved" in text and "static 8x8 is a poor baseline" in text
    assert "The 4.00 times fewer MACs than static 8x8 are had without a cascade: static 4x4 alone has 2.00." in text


def test_the_page_that_ships_claims_nothing_that_its_figures_do_not_carry() -> None:
    page = " ".join((SCRIPTS.parents[1] / "docs/results-cifar10.md").read_text().split())
    readme = " ".join((SCRIPTS.parents[1] / "README.md").read_text().split())
    assert "static 8x8, dominated by 2x2" in page and "no early exit is involved" in page
    assert "-0.28 (-1.19 to +0.63) u points" in page and "1.14 times" not in page
    for words in ("some 0.3 points better", "half a point better"):
        assert words not in readme
    assert "no early exit" in readme and "cannot be told apart" in readme


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


def test_attention_maps_are_the_class_tokens_of_the_last_block(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import make_results

    torch.manual_seed(0)
    cascade = Cascade(PRESETS["dvt_tiny"]).eval()
    config = cascade.config
    pixels = np.random.default_rng(0).integers(0, 256, (config.image_size, config.image_size, 3), dtype=np.uint8)
    maps = make_results.attention_maps(cascade, pixels)
    assert [m.shape for m in maps] == [(side, side) for side in config.grids]
    assert all(m.min() > 0 and m.sum() < 1 for m in maps)
    with torch.inference_mode():
        _, _, relations = cascade.stages[0](normalise(torch.from_numpy(pixels)[None], config))
    last = relations[0, -config.heads :].softmax(dim=-1)[:, 0, 1:].mean(dim=0)
    np.testing.assert_allclose(maps[0].ravel(), last.numpy(), rtol=1e-5)
    assert not any(block.attn._forward_hooks for stage in cascade.stages for block in stage.blocks)


def test_the_readme_says_what_the_run_on_cifar10_found_and_where() -> None:
    """Machine, top-1, and the ratios to every stage, of both int8 targets at half a point."""
    result = json.loads((ROOT / "docs/results/eval.json").read_text())
    readme = " ".join((ROOT / "README.md").read_text().split())
    said = readme[readme.index("`dvt_cifar10` comes trained with the package") :]
    assert f"({result['machine'].partition(', x86_64')[0]}, " in said
    times = {(t["target"], t["run"]): t for t in result["times"]}
    for target in ("onnx-int8", "executorch-xnnpack-int8"):
        early, last = (times[target, run] for run in ("loses 0.5 %", "always the last exit"))
        fewer, less = last["macs"] / early["macs"], last["mean_ms"] / early["mean_ms"]
        for figure in (f"{early['top1']:.2%}".replace("%", " %"), f"{fewer:.2f}", f"{less:.2f}"):
            assert figure in said, (target, figure)


def test_a_static_model_far_below_is_named_and_does_not_flatten_the_curves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "export_scripts/reproduce"))
    import matplotlib.pyplot as plt
    from make_results import plot_budget

    monkeypatch.setitem(plt.rcParams, "svg.fonttype", "none")
    curve = [{"cost": 1e8, "top1": 0.90}, {"cost": 2e8, "top1": 0.91}]
    ours = {"target": "pytorch", "macs": [1e8, 2e8], "top1": [0.90, 0.91]}
    statics = [
        {"static": name, "target": "pytorch", "macs": [1e8], "top1": [top1]}
        for name, top1 in (("near", 0.89), ("far", 0.7))
    ]
    curves = dict.fromkeys(("joint", "shared", "paper"), curve)
    plot_budget({"evaluations": [ours | {"curves": curves}], "statics": statics}, tmp_path / "b.svg")
    text = (tmp_path / "b.svg").read_text()
    assert ">below: far, 70.00 %<" in text and ">near<" in text and ">far<" not in text and ">80<" not in text
