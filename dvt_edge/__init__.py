"""Early-exit vision transformers for phones: a trained cascade in, a verified bundle out.

Importing this loads nothing heavy: each name below brings its module on first use,
and running a bundle needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dvt_edge.bundle import CascadeBundle as CascadeBundle
    from dvt_edge.checkpoint import load_cascade as load_cascade
    from dvt_edge.checkpoint import save_cascade as save_cascade
    from dvt_edge.config import CascadeConfig as CascadeConfig
    from dvt_edge.decision import DeviceState as DeviceState
    from dvt_edge.errors import DvtEdgeError as DvtEdgeError
    from dvt_edge.exporting import export as export
    from dvt_edge.runtime import Runtime as Runtime

_HOMES = {
    "CascadeBundle": "bundle",
    "CascadeConfig": "config",
    "DeviceState": "decision",
    "DvtEdgeError": "errors",
    "Runtime": "runtime",
    "export": "exporting",
    "load_cascade": "checkpoint",
    "save_cascade": "checkpoint",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dvt_edge' has no attribute {name!r}")
    return getattr(import_module(f"dvt_edge.{_HOMES[name]}"), name)
