"""Mixing: from quality, diversity and tokens of samples to weights and whole copies under a budget."""
