"""Tests that need a package."""

from __future__ import annotations

import importlib.util
import os

import pytest


def needs(package: str) -> None:
    """Skip, with the reason, where a package is missing; on CI a missing package is a failure."""
    if importlib.util.find_spec(package) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{package} is not installed; on CI nothing is skipped")
        pytest.skip(f"{package} is not installed")
