"""SampleMix's pages in Airflow, and the same as JSON: ready queries and estimates."""
