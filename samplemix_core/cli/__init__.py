"""The command `samplemix`: text for people, JSON for scripts."""
