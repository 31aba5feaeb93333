"""Benchmarks: each prints one table, every row against a peer or a bound of the same run, then one line of JSON."""
