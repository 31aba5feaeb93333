"""(quality, diversity, tokens) -> copies: weight policies, the exact budget solver, the table of domains."""
