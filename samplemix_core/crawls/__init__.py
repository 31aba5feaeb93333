"""Crawls that land: look for them, and enter them."""
