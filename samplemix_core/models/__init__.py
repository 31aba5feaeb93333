"""Make quality models and encoders: from labels, language models, and users' own files."""
