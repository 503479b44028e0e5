"""How thresholds are found on the outputs of the artifacts that ship, and what they promise: docs/calibration.md."""
