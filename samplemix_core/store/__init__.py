"""Where things are kept: objects (S3 or a directory) and Postgres."""
