"""Scorers: what gives each document a quality. A kind is one file: its specification, how a worker makes it, and how it scores.

The others here are what kinds are made of, and their registry. Light: what a kind needs is imported where it is made or asked.
"""
