"""The embedded services of one machine: Postgres, S3, Dask and Airflow below a home directory, and how to reach them."""
