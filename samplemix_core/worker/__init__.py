"""What runs on a Dask worker: jobs (jobs.py) move data from store to store, and return counts."""
