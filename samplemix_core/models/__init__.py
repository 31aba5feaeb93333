"""How quality models and encoders come to be: from labels, language models and files that are brought along."""
