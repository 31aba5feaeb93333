"""The embedded services of one machine: Postgres, S3, Dask and Airflow, started, watched and stopped in order."""
