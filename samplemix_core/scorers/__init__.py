"""Scorers give each document its quality. Each kind has a file: its specification, how a worker makes it, and how it scores.

Light: packages that a kind needs are imported where it is made or used.
"""
