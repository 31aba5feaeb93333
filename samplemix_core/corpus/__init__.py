"""The corpus, read: a shard's stream of bytes comes in; Arrow tables of documents and of quarantined records go out.

Light to list (listing.py), heavier to read (reader.py): nothing is imported here.
"""
