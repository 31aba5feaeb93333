"""How quality models and encoders are made: from labels, language models, and files that people bring."""
