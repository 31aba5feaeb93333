"""Upkeep, and checks of what is stored."""
