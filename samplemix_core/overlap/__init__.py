"""Texts that share much of their wording: words and shingles, MinHash, pairs, and who of them stays. Pure functions over arrays."""
