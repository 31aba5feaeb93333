"""Exports: a mixture's texts or tokens in the formats that training frameworks read. Each format has a file.

Light: tokenizers and Dask are imported where they are used.
"""
