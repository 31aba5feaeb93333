"""The demo: this machine's own documents become a corpus, and Airflow makes a mixture of it."""
