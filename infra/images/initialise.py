#!/opt/venv/bin/python
"""Bring a deployment's databases to the schema of this image, and write Airflow's login. Running it again changes nothing."""

import json
import os
import subprocess
from pathlib import Path

from samplemix_core.database.migrate import migrate  # noqa: TID253 the ban is for what Airflow parses
from samplemix_core.settings import Settings


def write_password(path: Path, password: str) -> None:
    """Write the passwords file of Airflow's simple auth manager, for its owner's eyes only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump({"admin": password}, file)


def main() -> None:
    """Migrate Airflow's database, then SampleMix's; write the password if there is one to write."""
    subprocess.run(["airflow", "db", "migrate"], check=True)  # noqa: S607 the image's own
    migrate(Settings.load().require("database_url"))
    if password := os.environ.get("SAMPLEMIX_AIRFLOW_PASSWORD"):
        write_password(Path(os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"]), password)


if __name__ == "__main__":
    main()
