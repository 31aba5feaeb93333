"""The command `samplemix`: words on a command line come in; text for people or JSON for scripts goes out."""
