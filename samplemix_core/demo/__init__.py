"""The demo: a machine's own documents come in; a corpus, and a mixture that Airflow made of it, go out."""
