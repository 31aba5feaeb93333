"""Upkeep, checks of what is stored, and audits on request."""
