"""Embeddings: from texts to token counts and unit vectors, and files that hold them.

Nothing is imported here: torch takes seconds, and only workers need it.
"""
