"""Objects, kept: a URI comes in (open.py); one interface over S3 and over directories goes out."""
