"""A page in headless Chromium: its picture, what it said on the console, and what it asked the network for."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

NAMES = ("chromium", "google-chrome", "chromium-browser")
OWN = "not an origin"  # the initiator of what the browser asks for itself, such as updates
REMOTE = re.compile(r"(https?|wss?|ftp):")


def chromium() -> str:
    """Skip, with the reason, where there is no browser; on CI that is a failure."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        reason = f"none of {', '.join(NAMES)} is installed"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}; on CI nothing is skipped")
        pytest.skip(reason)
    return found


@dataclass(frozen=True)
class Opened:
    """`pixels` is (height, width, 3) uint8; `requests` are the remote addresses that the page asked for."""

    pixels: NDArray[np.uint8]
    console: list[str]
    requests: list[str]


def check_page(opened: Opened, dark: bool, colors: Iterable[Sequence[int]], least: int) -> None:
    """A page is quiet, asks for nothing, is light or dark as asked, shows the RGB `colors`, and fits its width."""
    assert opened.console == [] and opened.requests == []
    paper = opened.pixels[2, 2]
    assert (paper.mean() < 60) == dark
    ink = np.abs(opened.pixels.astype(int) - paper).sum(axis=2) > 120
    assert 0.01 < ink.mean() < 0.5
    for color in colors:
        assert (opened.pixels == np.array(color)).all(axis=2).sum() > least
    assert not ink[:, -8:].any()  # nothing is cut off at the right edge


def open_page(page: Path, scratch: Path, width: int = 1100, height: int = 2600, dark: bool = False) -> Opened:
    """`page` from its file; the browser itself can reach nothing."""
    picture, log, said = scratch / "page.png", scratch / "net.json", scratch / "said.txt"
    command = [chromium(), "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
    command += [
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-extensions",
    ]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--disable-dev-shm-usage"]
    command += [f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    command += [
        f"--user-data-dir={scratch / 'profile'}",
        f"--log-net-log={log}",
        f"--window-size={width},{height}",
        f"--screenshot={picture}",
    ]
    with said.open("w") as file:  # a file, not a pipe: a helper process of the browser may outlive it
        subprocess.run([*command, page.resolve().as_uri()], stdout=file, stderr=file, timeout=120, check=True)
    asked = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    addresses = {
        str(params["url"])
        for params in asked
        if params.get("initiator", OWN) != OWN and REMOTE.match(str(params.get("url", "")))
    }
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB"))
    console = [line for line in said.read_text(errors="replace").splitlines() if ":CONSOLE" in line]
    return Opened(pixels, console, sorted(addresses))
