"""Dask, used: calls by name and small arguments come in; their outcomes go out, each exactly once."""
