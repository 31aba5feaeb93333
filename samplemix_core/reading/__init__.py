"""Open and read published mixtures."""
