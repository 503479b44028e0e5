"""The Swift tool that ios_demo/check.sh builds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "build/ios/swift/release/dvt-edge-ios"


@pytest.fixture(scope="session")
def swift_tool() -> list[str]:
    """The command that runs it; without a Swift toolchain the test is skipped, but on CI."""
    if not TOOL.exists():
        reason = "no Swift tool: make swift-toolchain, then ios_demo/check.sh"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}; on CI nothing is skipped")
        pytest.skip(reason)
    return [str(ROOT / "ios_demo/swift.sh"), str(TOOL)]
