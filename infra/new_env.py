"""Write .env with new random secrets for docker-compose.yml, readable by its owner only. An existing .env is left as it is."""

import base64
import os
import secrets
import sys
from pathlib import Path

SECRETS = {
    "SAMPLEMIX_POSTGRES_PASSWORD": 24,
    "SAMPLEMIX_OWNER_PASSWORD": 24,
    "SAMPLEMIX_READER_PASSWORD": 24,
    "SAMPLEMIX_PAGES_PASSWORD": 24,
    "SAMPLEMIX_AIRFLOW_DATABASE_PASSWORD": 24,
    "SAMPLEMIX_AIRFLOW_PASSWORD": 12,
    "SAMPLEMIX_AIRFLOW_API_SECRET": 64,
    "SAMPLEMIX_AIRFLOW_JWT_SECRET": 64,
    "SAMPLEMIX_S3_ACCESS_KEY": 10,
    "SAMPLEMIX_S3_SECRET_KEY": 32,
}
"""Name -> bytes of randomness. Written as hexadecimal digits, which need no quoting in a URL."""


def new_env() -> str:
    """The text of a new .env file."""
    lines = [f"{name}={secrets.token_hex(size)}" for name, size in SECRETS.items()]
    lines.append(f"SAMPLEMIX_AIRFLOW_FERNET_KEY={base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()}")
    return "\n".join(lines) + "\n"


def main(path: Path) -> None:
    """Write the file, or exit with an error if it is there."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        sys.exit(f"{path} is there already and was left as it is: the volumes of an earlier start need its passwords.")
    with os.fdopen(descriptor, "w") as file:
        file.write(new_env())


if __name__ == "__main__":
    main(Path(__file__).resolve().parent.parent / ".env")
