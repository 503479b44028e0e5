"""The command line; `entry` is the `dvt-edge` console script."""

from dvt_edge.cli.app import entry as entry
from dvt_edge.cli.app import main as main
