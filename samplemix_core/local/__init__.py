"""The embedded services of one machine: a home directory comes in; Postgres, S3, Dask and Airflow run, and
how to reach them goes out.
"""
