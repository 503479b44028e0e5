"""What several tests share: the tools that may be missing, and small cascades."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # each worker has a core; threads that spin would take the others'

import pytest
from hypothesis import HealthCheck, settings
from support.needs import needs

from dvt_edge import CascadeBundle

# On a busy machine a case takes as long as it takes.
settings.register_profile("busy", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(scope="session", autouse=True)
def signals_that_processes_hear() -> None:
    """A shell has them ignored in what it runs in the background or by nohup, and so are they in what that starts."""
    for name in ("SIGINT", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)  # not ignored: what is started hears it


@pytest.fixture(scope="session", autouse=True)
def cache_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither read nor fill the user's cache of hashes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def zoo_bundle(tmp_path_factory: pytest.TempPathFactory) -> CascadeBundle:
    """The shipped cascade exported for onnx-fp32, once for all tests; treat it as read only."""
    needs("onnxruntime")
    from dvt_edge import export, load_cascade

    folder: Path = tmp_path_factory.mktemp("zoo") / "bundle"
    return export(load_cascade("zoo:dvt_cifar10"), "onnx-fp32", folder)
