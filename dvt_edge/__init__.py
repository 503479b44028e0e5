"""Early-exit vision transformers for phones: a trained cascade in, a verified bundle out.

Importing this loads nothing heavy: each name below brings its module on first use,
and running a bundle needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dvt_edge.errors import packages
from dvt_edge.version import __version__

if TYPE_CHECKING:
    from dvt_edge.device.bundle import CascadeBundle as CascadeBundle
    from dvt_edge.device.device_state import DeviceState as DeviceState
    from dvt_edge.device.runtime import Runtime as Runtime
    from dvt_edge.errors import DvtEdgeError as DvtEdgeError
    from dvt_edge.exporting.pipeline import export as export
    from dvt_edge.network.checkpoint import load_cascade as load_cascade
    from dvt_edge.network.checkpoint import save_cascade as save_cascade
    from dvt_edge.network.config import CascadeConfig as CascadeConfig

_HOMES = {
    "CascadeBundle": "device.bundle",
    "CascadeConfig": "network.config",
    "DeviceState": "device.device_state",
    "DvtEdgeError": "errors",
    "Runtime": "device.runtime",
    "export": "exporting.pipeline",
    "load_cascade": "network.checkpoint",
    "save_cascade": "network.checkpoint",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dvt_edge' has no attribute {name!r}")
    with packages(f"dvt_edge.{name}"):
        return getattr(import_module(f"dvt_edge.{_HOMES[name]}"), name)
