"""Manifests: publish rows with copies as versions of a mixture on an object store, and read them back.

The format is described in docs/manifest.md.
"""
