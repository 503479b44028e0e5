"""An artifact against PyTorch, and the bounds that it must keep."""
