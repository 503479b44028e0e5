"""On a base install every command, and the library, says in one line which extra brings what it lacks."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import dvt_edge
from dvt_edge import CascadeBundle
from dvt_edge.errors import PACKAGES, MissingPackageError, packages

ROOT = Path(__file__).parents[2]
BASE = ("numpy", "PIL", "rich", "typer", "pydantic")  # pydantic: of newer typers
EXTRAS = sorted(set(PACKAGES) - set(BASE))
WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""
COMMAND_LINE = "import sys\nfrom dvt_edge.cli import entry\nentry(sys.argv[1:])"


def python(absent: list[str], code: str, *words: object) -> subprocess.CompletedProcess[str]:
    """A process in which these packages are not there."""
    program = WITHOUT.format(absent=absent) + code
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, words)], env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        ("export zoo:dvt_cifar10 out", "onnx"),
        ("export zoo:dvt_cifar10 out -t executorch-xnnpack-int8", "executorch"),
        ("export zoo:dvt_cifar10 out -t coreml-fp16", "coreml"),
        ("run BUNDLE sample:cifar10-test", "onnx"),
        ("validate BUNDLE zoo:dvt_cifar10", "onnx"),
        ("calibrate BUNDLE --data sample:cifar10-test --cache cache", "onnx"),
        ("bench zoo:dvt_cifar10", "onnx"),
        ("footprint BUNDLE", "onnx"),
        ("eval zoo:dvt_cifar10 --data data", "train"),
        ("train data out", "train"),
        ("demo --out out", "demo"),
        ("simulate BUNDLE --cache cache", "onnx"),
        ("simulate BUNDLE --report day.html", "report"),
        ("fleet BUNDLE mixed out --cache cache", "onnx"),
    ],
)
def test_commands_name_the_extra(zoo_bundle: CascadeBundle, tmp_path: Path, words: str, extra: str) -> None:
    given = [str(zoo_bundle.folder) if w == "BUNDLE" else str(tmp_path / w) if w == "out" else w for w in words.split()]
    done = python(EXTRAS, f"import os; os.chdir({str(tmp_path)!r})\n" + COMMAND_LINE, *given)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: ") and f"pip install 'dvt-edge[{extra}]'" in done.stderr


def test_what_needs_no_extra_works_without(zoo_bundle: CascadeBundle) -> None:
    for words in (("inspect", zoo_bundle.folder), ("policy", zoo_bundle.folder), ("--help",), ("train", "--help")):
        done = python(EXTRAS, COMMAND_LINE, *words)
        assert done.returncode == 0 and done.stderr == "", done.stderr


@pytest.mark.parametrize("absent", ["rich", "typer", "numpy"])
def test_a_base_package_is_named_too(zoo_bundle: CascadeBundle, absent: str) -> None:
    done = python([absent], COMMAND_LINE, "inspect", zoo_bundle.folder)
    assert (done.returncode, done.stderr) == (2, f"error: {done.stderr[7:]}") and done.stderr.count("\n") == 1
    assert done.stderr.endswith(f"pip install {absent}\n")


@pytest.mark.parametrize(
    ("absent", "code", "message"),
    [
        (["PIL"], "dvt_edge.device.preprocess.preprocess('photo.jpg', 32, 32)", "pip install pillow"),
        (["PIL"], "dvt_edge.device.preprocess.preprocess(numpy.zeros((40, 50, 3), 'u1'), 32, 32)", "install pillow"),
        (EXTRAS, "dvt_edge.export", "dvt_edge.export needs the package 'torch': pip install 'dvt-edge[torch]'"),
        (EXTRAS, "dvt_edge.load_cascade", "pip install 'dvt-edge[torch]'"),
        (EXTRAS, "dvt_edge.calibration.confidence.fit_temperature(numpy.eye(3), [0, 1, 2])", "dvt-edge[calibrate]"),
    ],
)
def test_the_library_names_it(absent: list[str], code: str, message: str) -> None:
    modules = "import numpy, dvt_edge, dvt_edge.device.preprocess, dvt_edge.calibration.confidence\n"
    told = f"try:\n    {code}\nexcept dvt_edge.DvtEdgeError as error:\n    print(type(error).__name__, error)"
    done = python(absent, modules + told)
    assert done.stdout.startswith("MissingPackageError ") and message in done.stdout, done.stderr


def test_an_import_that_fails_in_our_own_code_stays_a_bug() -> None:
    with pytest.raises(ImportError), packages("anything"):
        from dvt_edge.errors import no_such_name  # type: ignore[attr-defined] # noqa: F401


def test_a_version_that_lacks_a_name_is_told_from_a_package_that_is_not_there() -> None:
    with pytest.raises(MissingPackageError, match=r"another version .*pip install --upgrade numpy"), packages("this"):
        from numpy import no_such_name  # type: ignore[attr-defined] # noqa: F401
    with pytest.raises(MissingPackageError, match=r"'dvt-edge\[all\]'"), packages("this"):
        raise ModuleNotFoundError("No module named 'sympy'", name="sympy")


def test_the_table_is_what_pyproject_says_and_the_code_imports() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {"": project["dependencies"]} | project["optional-dependencies"]

    def named(requirements: list[str]) -> set[str]:
        return {found for line in requirements if (found := re.match(r"[\w-]+", line)[0]) != "dvt-edge"}  # type: ignore[index]

    for package, extra in PACKAGES.values():
        assert package in named(extras[extra])
    assert {package for package, _ in PACKAGES.values()} == set().union(
        *(named(v) for k, v in extras.items() if k != "test")
    )
    imported = set()
    for file in Path(dvt_edge.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            imported |= {name.split(".")[0] for name in names}
    brought = {"markupsafe", "flatbuffers"}  # by jinja2 and executorch
    brought |= {"onnxruntime_qnn", "litert_torch"}  # by environments of their own
    assert imported - set(sys.stdlib_module_names) - brought - {"dvt_edge"} <= set(PACKAGES)
