"""What runs on a Dask worker: a job (jobs.py) comes in; data goes from store to store, and counts go out."""
