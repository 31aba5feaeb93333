"""Postgres: Arrow tables, NumPy columns and records are stored in a transaction and read by query."""
