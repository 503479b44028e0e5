"""Environments of their own, for tools whose versions are not ours: made once, on demand, in the user's cache."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from dvt_edge.atomic import new_folder
from dvt_edge.data.identity import cache_root
from dvt_edge.errors import EngineError

PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class OwnEnvironment:
    """`pinned` are the versions of its packages, the one that it is for first; `what` says that in words.

    `whole`: its own Python runs them. Else they alone are in it, without what they need, and our Python finds them
    before those of the same names that it has (`site_packages`).
    """

    name: str  # as in `dvt-edge targets --install`
    what: str
    size: str
    pinned: dict[str, str]
    whole: bool = True
    only: tuple[str, str] | None = None  # the system and the processor that there are packages for; None: ours

    @property
    def tools(self) -> dict[str, str]:
        """Name and version of what it is for, as a bundle's manifest has them."""
        package, version = next(iter(self.pinned.items()))
        return {package: version}

    @property
    def command(self) -> str:
        return f"dvt-edge targets --install {self.name}"

    @property
    def place(self) -> Path:
        """Where it is, or will be. Raises RuntimeError where the user has no home."""
        if given := os.environ.get(f"DVT_EDGE_{self.name.replace('-', '_').upper()}"):
            return Path(given)
        return cache_root() / f"{self.name}-{next(iter(self.pinned.values()))}"

    @property
    def python(self) -> Path:
        return self.place / "bin/python"

    @property
    def site_packages(self) -> Path:
        return self.place / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"

    def why_not(self) -> str | None:
        """Why it cannot be used here, in words that follow "needs"; None where it can."""
        if self.elsewhere:
            system, processor = self.only or ("", "")
            return f"{self.what}, which there is for {system.title()} on {processor} only; this is {sys.platform}"
        if not (self.python if self.whole else self.site_packages).exists():
            return f"{self.what} in an environment of its own: {self.command} ({self.size}, once)"
        return None

    @property
    def elsewhere(self) -> bool:
        return self.only is not None and self.only != (sys.platform, platform.machine())

    def install(self) -> Path:
        """Make it, whole or not at all; one that is there stays. Raises EngineError with pip's last line."""
        if self.elsewhere:
            raise EngineError(f"this needs {self.why_not()}")
        if self.why_not() is None:
            return self.place
        with new_folder(self.place) as folder:
            venv.create(folder, with_pip=True)
            wanted = [f"{name}=={version}" for name, version in self.pinned.items()]
            pip = [str(folder / "bin/python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
            alone = [] if self.whole else ["--no-deps"]
            done = subprocess.run([*pip, "install", *alone, *wanted], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                said = (done.stderr.strip() or done.stdout.strip()).splitlines()
                raise EngineError(f"{' '.join(wanted)} cannot be installed ({said[-1] if said else done.returncode})")
        return self.place

    def run(self, module: str, work: Path) -> None:
        """`python -m module work` by our Python, its packages first. Raises EngineError: its error, or last words."""
        if why := self.why_not():
            raise EngineError(f"this needs {why}")
        path = os.pathsep.join([str(self.site_packages), str(PACKAGE.parent), *filter(None, sys.path)])
        done = subprocess.run(
            [sys.executable, "-m", module, str(work)],
            env=os.environ | {"PYTHONPATH": path},
            cwd=work,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raised = [line for line in said if re.match(r"[\w.]+(Error|Exception)\b", line)]
            raise EngineError((raised or said)[-1].strip()[:300])


QNN = OwnEnvironment(
    name="qnn",
    what="Qualcomm's simulator",
    size="550 MB",
    pinned={"onnxruntime-qnn": "2.7.0", "onnxruntime": "1.31.1", "numpy": "2.4.6"},
    only=("linux", "x86_64"),
)
ETHOS_U = OwnEnvironment(
    name="ethos-u",
    what="Arm's compiler Vela",
    size="250 MB",
    pinned={"ethos-u-vela": "5.1.0", "tosa-tools": "2026.5.0", "ml_dtypes": "0.5.1"},  # as executorch 1.5.1 has them
    whole=False,
)
LITERT = OwnEnvironment(
    name="litert",
    what="Google's converter to LiteRT",
    size="910 MB",
    pinned={
        "litert-torch": "0.10.0",
        "litert-converter": "0.5.0",
        "ai-edge-litert": "2.3.0",
        "ai-edge-quantizer": "0.10.0",
        "litert-lm-builder": "0.18.1",
        "jax": "0.10.2",
        "jaxlib": "0.10.2",
        "jaxtyping": "0.3.11",
        "wadler-lindig": "0.1.8",
        "opt-einsum": "3.4.0",
        "xdsl": "0.28.0",
        "lark": "1.3.1",
        "immutabledict": "4.3.1",
        "multipledispatch": "1.0.0",
        "backports.strenum": "1.2.8",
        "absl-py": "2.5.1",
        "tabulate": "0.10.0",
        "transformers": "5.24.0",
    },
    whole=False,
)
ENVIRONMENTS = {one.name: one for one in (QNN, ETHOS_U, LITERT)}
