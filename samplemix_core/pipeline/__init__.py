"""What drives a run, step by step: a configuration and what earlier steps handed on come in; keys and counts go out."""
