from dvt_edge.cli.app import entry

entry()
