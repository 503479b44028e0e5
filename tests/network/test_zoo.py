"""The trained cascades that come with the package answer as they did when they were put there."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from support.zoo_logits import GOLDEN, logits

from dvt_edge.network.checkpoint import checkpoint_sha256, load_cascade, resolve_checkpoint, zoo_models

KEPT = json.loads(GOLDEN.read_text())


def test_every_cascade_of_the_zoo_has_golden_logits_and_a_card() -> None:
    assert sorted(KEPT) == sorted(zoo_models())
    for name, kept in KEPT.items():
        assert checkpoint_sha256(f"zoo:{name}") == kept["sha256"]
        assert kept["sha256"] in resolve_checkpoint(f"zoo:{name}").with_suffix(".md").read_text()


@pytest.mark.parametrize("name", sorted(KEPT))
def test_it_answers_as_it_did(name: str) -> None:
    for found, expected in zip(logits(name), KEPT[name]["logits"], strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("name", sorted(KEPT))
def test_its_exits_differ_and_its_size_is_as_promised(name: str) -> None:
    assert resolve_checkpoint(f"zoo:{name}").stat().st_size <= 48_000_000
    exits = KEPT[name]["logits"]
    assert len(exits) == load_cascade(f"zoo:{name}").config.num_exits
    assert all(np.abs(np.subtract(a, b)).max() > 0.1 for a, b in pairwise(exits))
