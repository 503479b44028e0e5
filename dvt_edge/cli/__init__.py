"""The command line; `entry` is the `dvt-edge` console script."""

from dvt_edge.cli.process import entry as entry
