"""The type check against ios_demo/Stubs fails for what is no name, label or type of Apple's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES, STUBS = ROOT / "ios_demo/Sources/DVTEdgeCoreML", ROOT / "build/ios/stubs"
WRONG = [
    ("CoreMLStage.swift", "multiArrayValue", "multiArray"),
    ("CoreMLStage.swift", "load(contentsOf: compiled", "load(at: compiled"),
    ("CoreMLStage.swift", ".computeUnits = computeUnits", ".computeUnit = computeUnits"),
    ("Decoding.swift", "CGImageSourceCreateImageAtIndex", "CGImageSourceCreateImage"),
    ("CameraFrame.swift", "420YpCbCr8BiPlanarFullRange", "420YpCbCr8FullRange"),
    ("CameraFrame.swift", "CVBufferCopyAttachment", "CVBufferGetAttachments"),
    ("DeviceStateNow.swift", "isLowPowerModeEnabled", "lowPowerModeEnabled"),
    ("DeviceStateNow.swift", "Double(device.batteryLevel)", "device.batteryLevel"),
]


def typecheck(files: list[Path]) -> subprocess.CompletedProcess[str]:
    command = [ROOT / "ios_demo/swift.sh", "swiftc", "-typecheck", "-swift-version", "6", "-package-name", "ios_demo"]
    return subprocess.run(
        [*command, "-parse-as-library", "-I", STUBS, *files], capture_output=True, text=True, timeout=300
    )


def test_the_sources_pass(swift_tool: list[str]) -> None:
    assert typecheck(sorted(SOURCES.glob("*.swift"))).returncode == 0


@pytest.mark.parametrize(("name", "right", "wrong"), WRONG, ids=lambda value: value)
def test_a_wrong_spelling_fails(tmp_path: Path, swift_tool: list[str], name: str, right: str, wrong: str) -> None:
    source = (SOURCES / name).read_text()
    assert right in source
    changed = tmp_path / name
    changed.write_text(source.replace(right, wrong))
    checked = typecheck([changed, *(path for path in SOURCES.glob("*.swift") if path.name != name)])
    assert checked.returncode != 0 and "error:" in checked.stderr
