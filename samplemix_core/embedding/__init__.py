"""Text to unit vectors: encoder, length-sorted token-budget batches, device and precision, embedding files.

Nothing is imported here: the encoder brings torch, and the fit step reads embedding files without it.
"""
