"""Policies: how samples are weighed. One file each; the others here are what policies are made of, and their registry.

Light, for DAG files that import it when parsed: a policy imports numpy where it computes.
"""
