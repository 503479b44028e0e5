"""No value of any option ends in a traceback, a hang or a file half written: it is refused in one line, exit code 2."""

from __future__ import annotations

import os
import shutil
import typing
from pathlib import Path

import pytest
import typer.main
from support.fake_cifar import write_cifar10

from dvt_edge import CascadeBundle
from dvt_edge.cli.app import COMMANDS, app, main
from dvt_edge.cli.options import numbers
from dvt_edge.errors import DvtEdgeError

QUICK = 20.0  # processor seconds; a refusal takes less than one, the slowest import some more
HUGE, NONE = ("1e300", "-1e300", str(10**30), str(-(10**30)), "1e12x", "inf"), ("nan", "")
LISTS = {  # text options that hold numbers: how
    ("run", "--threshold"): ["{0},{0},{0}"],
    ("calibrate", "--temperature"): ["{0},{0},{0}"],
    ("calibrate", "--stage-cost"): ["{0},{0},{0}"],
    ("calibrate", "--objective"): ["budget:{0}", "accuracy:{0}", "loss:{0}", "risk:{0}", "paper:{0}"],
    ("train", "--grids"): ["{0}", "{0},{0}"],
    ("train", "--exit-weights"): ["{0},{0},{0}"],
    ("simulate", "--charge"): ["{0}-{0}@{0}", "1-2@{0}"],
}
GOOD_ZEROS = ("--mixup", "--lr", "--seed", "--skip", "--screen", "--battery", "--max-stage", "--stage")
WHOLE = {("fleet", "--seed"), ("eval", "--seed"), ("sensitivity", "--smooth")}  # with 0 these take minutes
COST = {
    ("export", "--workers"): ["--limit", "40"],
    ("calibrate", "--stage-cost"): ["--cost", "mJ"],
}  # what an option needs beside it


def options_of(command: str) -> list[tuple[str, type]]:
    """(longest name, type) of each option that takes a value."""
    hints = typing.get_type_hints(COMMANDS[command].function)
    found = []
    for parameter in typer.main.get_command(app).commands[command].params:  # type: ignore[attr-defined]
        plain = [t for t in (typing.get_args(hints.get(parameter.name)) or (hints.get(parameter.name),)) if t]
        kind = next((k for k in (bool, int, float) if k in plain), str)
        if parameter.param_type_name == "option" and parameter.name != "help" and kind is not bool:
            found.append((max(parameter.opts, key=len), kind))
    return found


OPTIONS = [(command, option, kind) for command in COMMANDS for option, kind in options_of(command)]
NUMBERS = [(command, option, ["{0}"]) for command, option, kind in OPTIONS if kind is not str]
ALL = NUMBERS + [(*key, forms) for key, forms in LISTS.items()]


@pytest.fixture(scope="module")
def words(zoo_bundle: CascadeBundle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Of each command, arguments that are right, and quick."""
    folder = tmp_path_factory.mktemp("absurd")
    bundle, out = folder / "bundle", folder / "out"
    shutil.copytree(zoo_bundle.folder, bundle)
    write_cifar10(folder)
    tiny = ["--model", "dvt_tiny", "--epochs", "1", "--batch-size", "16", "--holdout", "16", "--workers", "0"]
    return {
        name: [name, *(str(word) for word in given)]
        for name, given in {
            "backbones": [],
            "targets": [],
            "sensitivity": ["zoo:dvt_cifar10", "onnx-int8"],
            "upgrade": [bundle],
            "train": [folder, out, *tiny],
            "export": ["zoo:dvt_cifar10", out, "-t", "onnx-fp32"],
            "inspect": [bundle],
            "run": [bundle, "sample:cifar10-test"],
            "validate": [bundle, "zoo:dvt_cifar10"],
            "calibrate": [bundle, "--data", "sample:cifar10-test", "--dry-run"],
            "eval": ["zoo:dvt_cifar10", "--data", "sample:cifar10-test", "--out", out],
            "bench": ["random:dvt_tiny", "-t", "onnx-fp32", "--rounds", "3"],
            "footprint": [bundle],
            "demo": ["--checkpoint", "nowhere", "--out", out],
            "simulate": [bundle, "--hours", "0.1"],
            "policy": [bundle],
            "profile": [bundle / "manifest.json", out / "p.json", "--base", "phone-cpu"],
            "fleet": [bundle, "mixed", out],
        }.items()
    }


@pytest.fixture(autouse=True)
def _nothing_of_another_test(words: dict[str, list[str]]) -> None:
    shutil.rmtree(words["train"][2], ignore_errors=True)


def outcome(capsys: pytest.CaptureFixture[str], words: list[str]) -> tuple[int, str]:
    start = sum(os.times()[:4])  # of processes that were started, too; another program's load does not count
    code = main(words)
    assert sum(os.times()[:4]) - start < QUICK, words
    err = capsys.readouterr().err
    assert "No such" not in err, err
    return code, err


def test_the_walk_finds_the_options() -> None:
    assert len(NUMBERS) > 40 and ("run", "--threads", ["{0}"]) in NUMBERS and ("train", "--lr", ["{0}"]) in NUMBERS
    assert {key[0] for key in LISTS} < set(COMMANDS) and set(LISTS) < {o[:2] for o in OPTIONS}


@pytest.mark.parametrize(("command", "option", "forms"), ALL, ids=lambda v: v if isinstance(v, str) else "")
def test_absurd_numbers_are_refused(
    command: str,
    option: str,
    forms: list[str],
    words: dict[str, list[str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    for value in (*HUGE, *NONE):
        for form in forms:
            code, err = outcome(capsys, [*words[command], *COST.get((command, option), []), option, form.format(value)])
            assert code == 2, (value, err)
            assert err.startswith("error: ") and err.count("\n") == 1 and "Traceback" not in err
    assert list(tmp_path.iterdir()) == [] and not Path(words["export"][2]).exists()


@pytest.mark.parametrize(("command", "option"), [o[:2] for o in OPTIONS])
def test_an_empty_value_is_refused(
    command: str, option: str, words: dict[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    for given in ([option, ""], [f"{option}="] if option.startswith("--") else [option, " "]):
        code, err = outcome(capsys, [*words[command], *given])
        assert code == 2 and err.startswith("error: nothing ") and err.count("\n") == 1


@pytest.mark.parametrize(("command", "option", "forms"), [a for a in ALL if a[:2] not in WHOLE])
def test_zero_is_an_answer_or_an_error(
    command: str, option: str, forms: list[str], words: dict[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    for form in forms:
        shutil.rmtree(words["train"][2], ignore_errors=True)
        given = [*words[command], *COST.get((command, option), []), option, form.format("0")]
        code, err = outcome(capsys, given)
        assert code in (0, 2), err
        assert code == 0 or option not in GOOD_ZEROS, err
        assert code == 0 or (err.startswith("error: ") and err.count("\n") == 1)


@pytest.mark.parametrize("option", ["--epochs", "--batch-size", "--holdout", "--exit-weights", "--grids"])
def test_zeros_of_a_training_that_cannot_be_are_refused(
    option: str, words: dict[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    code, err = outcome(capsys, [*words["train"], option, LISTS.get(("train", option), ["{0}"])[-1].format("0")])
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1


@pytest.mark.parametrize("kind", [int, float])
@pytest.mark.parametrize("text", ["9" * 400, "-" + "9" * 400, "9" * 5000])
def test_numbers_of_hundreds_of_digits_are_refused(text: str, kind: type[int] | type[float]) -> None:
    with pytest.raises(DvtEdgeError, match="expected") as caught:
        numbers(f"1,{text}", kind, "--grids")
    assert len(str(caught.value)) < 200
