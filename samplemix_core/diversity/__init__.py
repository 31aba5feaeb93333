"""Diversity, measured: unit vectors come in; clusters, distances and each cluster's diversity go out.

Nothing is imported here: umap and hdbscan take seconds, and only the fit needs them.
"""
