"""What a cascade and its bundles are worth: accuracy against compute and time."""
