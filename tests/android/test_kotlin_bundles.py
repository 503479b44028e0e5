"""The Kotlin core opens what Python opens, and refuses the rest: with an error of its own, mostly the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.hostile_opener import hold_against_python

TARGET = Path(__file__).parents[2] / "android_demo/core/target"


def test_a_thousand_hostile_bundles(tmp_path: Path) -> None:
    if not (TARGET / "classpath").exists():
        reason = "no Kotlin core: android_demo/check.sh builds it"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}; on CI nothing is skipped")
        pytest.skip(reason)
    classpath = [str(TARGET / "test-classes"), str(TARGET / "classes"), (TARGET / "classpath").read_text().strip()]
    command = [
        "java",
        "-XX:+UseSerialGC",
        "-Xmx300m",
        "-cp",
        os.pathsep.join(classpath),
        "dvtedge.device.OpenBundlesKt",
    ]
    hold_against_python(command, tmp_path)
