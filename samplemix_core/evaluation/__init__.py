"""Does a mixture help: what a language model learns from it, on texts that it was not trained on."""
