"""Kinds of ViT beyond the published one, as changes of a configuration: between them everything that there is."""

from __future__ import annotations

from typing import Any

KINDS: dict[str, dict[str, Any]] = {
    "registers": {"registers": 2, "pre_norm": True, "qk_norm": True, "scale_norms": True, "pool": "mean"},
    "attention": {"class_token": False, "pool": "attention", "activation": "gelu-tanh"},
    "unnormed": {"class_token": False, "pool": "norm-mean", "activation": "quick-gelu", "final_norm": False},
}
