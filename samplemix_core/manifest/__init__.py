"""copies -> manifest: parts, model, publish, read, verify. The format is described in docs/manifest.md."""
