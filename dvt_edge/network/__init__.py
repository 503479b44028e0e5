"""The cascade: its configuration, its weights, its stages, its training."""
