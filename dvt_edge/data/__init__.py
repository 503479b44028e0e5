"""Images with labels: what a set is, how it is read, how it is dealt."""
