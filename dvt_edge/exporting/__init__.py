"""A cascade and a target in, a checked bundle out."""
