"""The rooms of docs/design.md: what each may know, what the phones mirror, and what the wheel holds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from fnmatch import fnmatch
from importlib.metadata import distribution
from pathlib import Path

import pytest
from support.needs import needs

from dvt_edge import CascadeBundle, Runtime

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "dvt_edge"
BESIDE = {"__init__.py", "__main__.py", "__pycache__", "py.typed", "zoo"}  # and no rooms


def python(code: str, *arguments: str, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run([sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True)


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    linter = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    assert linter, "import-linter belongs to the extra `test`"
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run([linter, "--no-cache"], cwd=root, env=environment, capture_output=True, text=True)


def test_every_entry_of_the_package_is_a_room_or_the_ground() -> None:
    entries = {path.name for path in PACKAGE.iterdir()} - BESIDE
    assert len(entries) <= 15, sorted(entries)
    named = set(re.findall(r"`(\w+/|\w+\.py)`", (ROOT / "docs/design.md").read_text()))
    assert {f"{e}/" if (PACKAGE / e).is_dir() else e for e in entries} <= named


def named_in(room: str) -> set[str]:
    """The modules, or patterns of them, that docs/design.md names as a room's; the device's in a table too."""
    _, _, mirrored = (ROOT / "docs/design.md").read_text().partition("## What the phones mirror")
    table, _, rooms = mirrored.partition("## In each room")
    lines = re.search(rf"^{room}/ .*\n(?: .*\n)*", rooms, re.MULTILINE)
    assert lines, f"{room}/ is not in docs/design.md"
    return set(re.findall(r"[\w*]+\.py", lines[0] + (table if room == "device" else "")))


@pytest.mark.parametrize("room", [path.parent.name for path in sorted(PACKAGE.glob("*/__init__.py"))])
def test_the_design_names_every_module_of_a_room(room: str) -> None:
    names = named_in(room)
    modules = [path.name for path in (PACKAGE / room).glob("*.py") if path.name != "__init__.py"]
    assert not [m for m in modules if not any(fnmatch(m, name) for name in names)], "not in docs/design.md"
    if room != "device":  # whose table says what is mirrored of another room
        assert not [name for name in names if not any(fnmatch(m, name) for m in modules)], "no such module"


WRONG = {
    "a function of a lower room": ("device/exit_rule.py", "def late() -> None:\n    import dvt_edge.network.config\n"),
    "for types only": ("data/images.py", "if TYPE_CHECKING:\n    from dvt_edge.exporting.recipes import Recipe\n"),
    "a circle inside a room": ("device/errors_of.py", "from dvt_edge.device.bundle import CascadeBundle\n"),
    "a new room": ("surprise/__init__.py", ""),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_import_turns_the_lint_red(what: str, tmp_path: Path) -> None:
    """The contracts of pyproject.toml bind: each kind of wrong import breaks them."""
    shutil.copytree(PACKAGE, tmp_path / "dvt_edge", ignore=shutil.ignore_patterns("zoo", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    assert lint(tmp_path).returncode == 0
    name, code = WRONG[what]
    file = tmp_path / "dvt_edge" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text((file.read_text() if file.exists() else "") + code)
    if what == "a circle inside a room":
        bundle = tmp_path / "dvt_edge/device/bundle.py"
        bundle.write_text(bundle.read_text() + "\n\ndef late() -> None:\n    import dvt_edge.device.errors_of\n")
    assert lint(tmp_path).returncode == 1


DEVICE_ALONE = """
import importlib.abc, pkgutil, sys

ENGINES = {"onnxruntime_engine", "executorch_engine", "coreml_engine", "litert_engine"}
allowed = {*sys.stdlib_module_names, "numpy", "dvt_edge"}

class Others(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in allowed:
            raise ModuleNotFoundError(f"{name} has no place here", name=name)

sys.meta_path.insert(0, Others())
import dvt_edge.device
for module in pkgutil.walk_packages(dvt_edge.device.__path__, "dvt_edge.device."):
    if module.name.rpartition(".")[2] not in ENGINES:
        importlib.import_module(module.name)
above = [m for m in sys.modules if m.startswith("dvt_edge.") and m.split(".")[1] not in
         {"device", "errors", "atomic", "quiet", "machine", "version"}]
assert not above, above
"""


def test_the_device_room_needs_numpy_and_the_standard_library_only() -> None:
    """Every module of it, engines apart, imports in a process that has nothing else."""
    done = python(DEVICE_ALONE)
    assert done.returncode == 0, done.stderr


@pytest.mark.timed
def test_importing_dvt_edge_takes_no_time() -> None:
    """Within 0.05 s of an empty interpreter; the best of several, as machines are noisy."""

    def seconds(code: str) -> float:
        best = 1e9
        for _ in range(7):
            start = time.perf_counter()
            assert python(code).returncode == 0
            best = min(best, time.perf_counter() - start)
        return best

    assert seconds("import dvt_edge") - seconds("pass") < 0.05
    assert (
        python("import dvt_edge, sys; assert 'torch' not in sys.modules and 'numpy' not in sys.modules").returncode == 0
    )


def copy_distribution(name: str, packages: Path) -> None:
    """An installed package's files, as pip would lay them there."""
    for file in distribution(name).files or ():
        if ".." not in file.parts and file.locate().is_file():
            target = packages / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(file.locate()), target)


RUN = """
import sys, dvt_edge
from pathlib import Path
assert "site-packages" in dvt_edge.__file__, dvt_edge.__file__
assert (Path(dvt_edge.__file__).parent / "py.typed").exists()
bundle = dvt_edge.CascadeBundle.open(sys.argv[1])
result = dvt_edge.Runtime(bundle).run(bundle.golden()[0][0])
print(result.label_name, result.exit)
"""


def test_the_wheel_runs_a_bundle_with_onnxruntime_and_numpy_alone(zoo_bundle: CascadeBundle, tmp_path: Path) -> None:
    """Built and installed into a fresh environment, and run outside the checkout; nothing is fetched."""
    needs("onnxruntime")
    source = tmp_path / "source"
    shutil.copytree(
        ROOT, source, ignore=shutil.ignore_patterns(".venv", ".git", "build", "*.egg-info", "tests", "docs")
    )
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    built = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(source)]
    subprocess.run(built, check=True, capture_output=True, text=True)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    fresh = tmp_path / "venv/bin/python"
    (packages,) = (tmp_path / "venv/lib").glob("*/site-packages")
    for name in ("numpy", "onnxruntime"):
        copy_distribution(name, packages)
    subprocess.run([*pip, "--python", str(fresh), "install", "--no-deps", "--no-index", str(wheel)], check=True)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [str(fresh), "-c", RUN, str(zoo_bundle.folder)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = Runtime(zoo_bundle).run(zoo_bundle.golden()[0][0])
    assert done.stdout.split() == [expected.label_name, str(expected.exit)]
