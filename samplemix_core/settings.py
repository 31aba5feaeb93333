"""Where the services are: connections and secrets, from the environment or from what `samplemix up` wrote.

A service whose address is in the environment is described by the environment; any other by `services.json` (mode 0600) under
SAMPLEMIX_HOME, which the embedded services write. So a variable is enough to replace an embedded service by an external one.
"""

import json
import os
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from samplemix_core.errors import ConfigError

DEFAULT_HOME = ".samplemix"
SERVICES_FILE = "services.json"
SCRATCH = "scratch"
SCRATCH_PREFIX = "samplemix-"
HOME_MARK = ".samplemix-home"
_MARK_TEXT = "SampleMix made this directory. 'samplemix down --delete' deletes what SampleMix keeps here, and nothing else.\n"
_SCHEMES = dict.fromkeys((sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user")))

ADDRESSES = {
    "database_url": ("database_url", "reader_database_url", "pages_database_url"),
    "s3_endpoint": ("s3_endpoint", "s3_bucket", "s3_access_key", "s3_secret_key"),
    "dask_scheduler": ("dask_scheduler", "dask_certificate"),
    "airflow_url": ("airflow_url", "airflow_user", "airflow_password"),
    "llm_base_url": ("llm_base_url", "llm_api_key"),
}
"""The field that says where a service is -> all fields of that service."""

ENVIRONMENT = {
    "database_url": "SAMPLEMIX_DATABASE_URL",
    "reader_database_url": "SAMPLEMIX_READER_DATABASE_URL",
    "pages_database_url": "SAMPLEMIX_PAGES_DATABASE_URL",
    "s3_endpoint": "SAMPLEMIX_S3_ENDPOINT",
    "s3_bucket": "SAMPLEMIX_S3_BUCKET",
    "s3_access_key": "AWS_ACCESS_KEY_ID",
    "s3_secret_key": "AWS_SECRET_ACCESS_KEY",
    "dask_scheduler": "SAMPLEMIX_DASK_SCHEDULER",
    "dask_certificate": "SAMPLEMIX_DASK_CERTIFICATE",
    "airflow_url": "SAMPLEMIX_AIRFLOW_URL",
    "airflow_user": "SAMPLEMIX_AIRFLOW_USER",
    "airflow_password": "SAMPLEMIX_AIRFLOW_PASSWORD",
    "llm_base_url": "OPENAI_BASE_URL",
    "llm_api_key": "OPENAI_API_KEY",
}
"""Field of Settings -> environment variable that sets it."""


CORPUS_PLACES = "SAMPLEMIX_CORPUS_PLACES"
EXPORT_PLACES = "SAMPLEMIX_EXPORT_PLACES"
"""Variables: places that a form may name for a corpus and an export, as prefixes of URIs or as directories, separated by commas."""

SHIPPED = {
    "sql": ("SAMPLEMIX_SQL_DIR", "alembic.ini"),
    "dags": ("SAMPLEMIX_DAGS_FOLDER", "samplemix_corpus_run.py"),
    "plugins": ("SAMPLEMIX_PLUGINS_FOLDER", "samplemix_operators.py"),
}
"""A directory that ships with the package -> the variable that replaces it, and a file by which it is recognised."""


def shipped_directory(name: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Where migrations and queries (sql), DAGs or plugins are: next to the package in a checkout, else where it installed them.

    Raises ConfigError if they are in none of these places.
    """
    variable, file = SHIPPED[name]
    places = [Path(__file__).parents[1] / name]
    places += [Path(sysconfig.get_path("data", scheme)) / "share" / "samplemix" / name for scheme in _SCHEMES]
    if environ.get(variable):
        places = [Path(environ[variable]).absolute()]
    for place in places:
        if (place / file).is_file():
            return place
    raise ConfigError(
        f"There is no {file} in {' nor in '.join(map(str, places))}.",
        f"Set {variable} to a copy of the repository's {name} directory, or install the package again.",
    )


def home_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """The directory of all state of the embedded services: SAMPLEMIX_HOME, or .samplemix below the working directory."""
    return Path(environ.get("SAMPLEMIX_HOME") or DEFAULT_HOME).absolute()


def is_path(name: str) -> bool:
    """Whether a user's text names a file or directory. Unlike pathlib, this raises no error for any text."""
    return os.path.exists(name)  # noqa: PTH110 pathlib raises for a name that is too long


def is_directory(name: str) -> bool:
    """Whether a user's text names a directory; like is_path."""
    return os.path.isdir(name)  # noqa: PTH112 as above


def is_fresh(directory: Path) -> bool:
    """Whether a directory is empty, or holds only what a new file system has."""
    return all(entry.name == "lost+found" for entry in directory.iterdir())


def make_home(home: Path) -> Path:
    """Make the home directory, and mark it as SampleMix's unless it holds other things already; returns it."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if is_fresh(home):
        (home / HOME_MARK).write_text(_MARK_TEXT)
    return home


def is_among(place: str, places: Sequence[str]) -> bool:
    """Whether a place that a form names is at or below one of these; links in a directory's path are followed."""
    scheme, path = _place(place)
    for allowed in map(_place, places):
        if scheme != allowed[0]:
            continue
        if not scheme:
            if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(allowed[1])):
                return True
        elif ".." not in path.split("/") and f"{path}/".startswith(f"{allowed[1]}/" if allowed[1] else ""):
            return True
    return False


def _place(uri: str) -> tuple[str, str]:
    """Return a place's scheme and the rest, as it is opened; a directory has no scheme, however it is written."""
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return "", unquote(parts.path)
    return (parts.scheme, f"{parts.netloc}{parts.path}".rstrip("/")) if "://" in uri else ("", uri)


@dataclass(frozen=True)
class Settings:
    """Connections of one deployment. A field that holds a secret is never part of its repr."""

    home: Path
    database_url: str | None = field(default=None, repr=False)
    reader_database_url: str | None = field(default=None, repr=False)
    pages_database_url: str | None = field(default=None, repr=False)
    s3_endpoint: str | None = None
    s3_bucket: str | None = None
    s3_access_key: str | None = field(default=None, repr=False)
    s3_secret_key: str | None = field(default=None, repr=False)
    dask_scheduler: str | None = None
    dask_certificate: str | None = None
    airflow_url: str | None = None
    airflow_user: str | None = None
    airflow_password: str | None = field(default=None, repr=False)
    llm_base_url: str | None = None
    llm_api_key: str | None = field(default=None, repr=False)
    corpus_places: tuple[str, ...] = ("s3://",)
    export_places: tuple[str, ...] = ("s3://",)

    @classmethod
    def load(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read the environment, then the embedded services' file; raise ConfigError if that file is unreadable."""
        home = home_directory(environ)
        path = home / SERVICES_FILE
        stored: dict[str, Any] = {}
        if path.exists():
            try:
                stored = json.loads(path.read_text())
            except (OSError, ValueError) as error:
                raise ConfigError(f"{path} can't be read: {error}.", "Run 'samplemix up' to write it again.") from error
        fields: dict[str, str | None] = {}
        for address, names in ADDRESSES.items():
            # A service is described by one source as a whole: cloud credentials that happen to be exported are not the
            # embedded store's.
            source = environ if environ.get(ENVIRONMENT[address]) else None
            for name in names:
                fields[name] = (source.get(ENVIRONMENT[name]) if source else stored.get(name)) or None
        corpora, exports = (
            tuple(place.strip() for place in environ.get(name, "s3://").split(",") if place.strip())
            for name in (CORPUS_PLACES, EXPORT_PLACES)
        )
        return cls(home=home, corpus_places=corpora, export_places=exports, **fields)

    def require(self, name: str) -> str:
        """The value of one setting; raise ConfigError naming the variable to set if there is none."""
        value: str | None = getattr(self, name)
        if value is None:
            raise ConfigError(f"No {name.replace('_', ' ')} is configured.", f"Run 'samplemix up', or set {ENVIRONMENT[name]}.")
        return value

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A directory for a step's files, removed on leaving: on the disk of the home, not in memory or on a small /tmp."""
        parent = make_home(self.home) / SCRATCH
        parent.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent, prefix=SCRATCH_PREFIX) as directory:
            yield Path(directory)

    @property
    def state_root(self) -> str:
        """URI under which the platform keeps its files: embeddings, cluster models, mixtures."""
        return f"s3://{self.require('s3_bucket')}"
