from dvt_edge.cli import entry

entry()
