"""Scorers give each document its quality. One file a kind: its specification, how a worker makes it, and how it scores.

Light: what a kind needs is imported where it is made or used.
"""
