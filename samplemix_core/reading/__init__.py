"""Published mixtures, opened and read."""
