"""Manifests, published and read: rows with copies come in; versions of a mixture on an object store go out, and back in.

The format is described in docs/manifest.md.
"""
