"""Diversity: from unit vectors to clusters, distances and each cluster's diversity.

Nothing is imported here: umap and hdbscan take seconds, and only the fit needs them.
"""
