"""Postgres, kept: Arrow tables, NumPy columns and records come in within a transaction; the same come out by query."""
