"""Mixing, solved: quality, diversity and tokens of samples come in; weights and whole copies under a budget go out."""
