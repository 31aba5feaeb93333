"""What Airflow shows of SampleMix: ready queries and estimates come in; pages and JSON go out."""
