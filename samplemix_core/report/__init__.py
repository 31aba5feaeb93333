"""Show a mixture: text, tables and pictures from its manifest and profile."""
