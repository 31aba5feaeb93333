"""Vectors to diversity: fit on a sample, centroids, streaming assignment, cluster statistics.

Nothing is imported here: umap and hdbscan take seconds to import, and only the fit needs them.
"""
