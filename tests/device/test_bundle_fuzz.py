"""Whatever bytes a bundle has: it opens or says a BundleError in one line, in bounded time and memory."""

from __future__ import annotations

from pathlib import Path

from support.bundle_fuzzer import MAX_MEMORY, fuzz


def test_a_thousand_hostile_bundles(tmp_path: Path) -> None:
    """Ten thousand: python tests/support/bundle_fuzzer.py"""
    outcomes, wrong, _, peak = fuzz(1000, 0, tmp_path)
    assert not wrong and peak <= MAX_MEMORY
    said = {outcome for _, outcome in outcomes}
    assert said >= {"opens", "ManifestError", "MissingFileError", "ChangedFileError", "UnsafePathError", "ArchiveError"}
