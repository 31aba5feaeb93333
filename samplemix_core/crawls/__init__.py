"""Crawls that land: find them, and record them."""
