"""Policies: how samples are weighed. One file each, next to what all policies share and their registry.

Light, for DAG files that import it when parsed: a policy imports numpy where it computes.
"""
