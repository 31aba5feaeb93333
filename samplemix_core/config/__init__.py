"""Configuration: runs and corpora, quality models, budgets, and the form. Light, for DAG files that import it when parsed."""
