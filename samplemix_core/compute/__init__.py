"""Run calls on Dask, by name and with small arguments; each outcome comes back exactly once."""
