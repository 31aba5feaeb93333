"""Crawls that land: looking for them, and taking them up."""
