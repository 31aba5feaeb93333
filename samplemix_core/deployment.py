"""One platform as it is set up: its database, its object stores, and every prefix that it keeps files under.

Light: a service's package is imported where the service is asked for, so that the light base can read mixtures.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from samplemix_core.objects import open_store
from samplemix_core.objects.interface import ObjectStore
from samplemix_core.settings import Settings

if TYPE_CHECKING:
    from samplemix_core.database.connection import Cursor
    from samplemix_core.manifest.catalogue import Mixtures


class Prefix(StrEnum):
    """The first parts of keys in the platform's own bucket, by what they hold."""

    MIXTURES = "mixtures"
    DRAFTS = "drafts"
    EMBEDDINGS = "embeddings"
    CLUSTERS = "clusters"
    QUALITY_MODELS = "quality-models"
    TRAINING = "quality-training"
    SIGNATURES = "signatures"


MODEL_FILES = f"{Prefix.QUALITY_MODELS}/files"


def model_file(sha256: str) -> str:
    """Key of a file of a quality model, by the SHA-256 of its content."""
    return f"{MODEL_FILES}/{sha256}"


@dataclass(frozen=True)
class Deployment(Settings):
    """The settings of a platform, with the database and stores that they lead to."""

    @property
    def database(self) -> str:
        """URL of the score store. Raises ConfigError if none is configured, as all below do."""
        return self.require("database_url")

    def transaction(self) -> "AbstractContextManager[Cursor]":
        """A transaction on the score store: see database.connection.transaction."""
        from samplemix_core.database.connection import transaction

        return transaction(self.database)

    def store(self, uri: str) -> ObjectStore:
        """The store at a URI, or a directory's path: see objects.open_store."""
        return open_store(uri, self)

    @property
    def state(self) -> ObjectStore:
        """The store of the platform's own files, by Prefix."""
        return self.store(self.state_root)

    @property
    def mixtures(self) -> "Mixtures":
        """The published mixtures."""
        from samplemix_core.manifest.catalogue import Mixtures

        return Mixtures(self.state, Prefix.MIXTURES)
