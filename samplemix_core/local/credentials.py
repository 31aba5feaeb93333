"""The random secrets of one stack, kept in one file of mode 0600."""

import base64
import secrets
from dataclasses import asdict, dataclass, field, fields

from samplemix_core.local.home import Home, read_json, write_json

_BYTES = 48


@dataclass(frozen=True)
class Credentials:
    """Passwords and keys of one stack. None of them is part of the repr."""

    postgres_superuser: str = field(repr=False)
    postgres_owner: str = field(repr=False)
    postgres_reader: str = field(repr=False)
    postgres_airflow: str = field(repr=False)
    s3_access_key: str = field(repr=False)
    s3_secret_key: str = field(repr=False)
    airflow_admin: str = field(repr=False)
    airflow_api_secret: str = field(repr=False)
    airflow_jwt_secret: str = field(repr=False)
    airflow_fernet_key: str = field(repr=False)


def load_credentials(home: Home) -> Credentials:
    """Read the stack's secrets, and make those that are not there yet."""
    stored = read_json(home.secrets_file)
    values = {item.name: stored.get(item.name) or _new_secret(item.name) for item in fields(Credentials)}
    credentials = Credentials(**values)
    if stored != values:
        write_json(home.secrets_file, asdict(credentials))
    return credentials


def _new_secret(name: str) -> str:
    if name == "airflow_fernet_key":
        return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    return secrets.token_urlsafe(_BYTES)
