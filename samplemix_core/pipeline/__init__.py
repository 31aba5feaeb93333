"""The steps of a run: each takes the configuration and the results of earlier steps, and returns keys and counts."""
