"""Embeddings, computed: texts come in; token counts and unit vectors go out, and the file that holds a shard's.

Nothing is imported here: torch takes seconds, and only workers need it.
"""
