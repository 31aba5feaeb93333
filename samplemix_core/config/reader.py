"""How documents are read from shards. A file of its own, because a manifest has it too and is read by light processes."""

from pydantic import Field

from samplemix_core.frozen import IdentifiedModel


class ReaderConfig(IdentifiedModel):
    """How documents are read from shards. Part of a corpus's identity: it fixes which record is which sample."""

    FIRST_FIELDS = frozenset({"text_field", "id_field", "domain_field", "domain_path_index", "max_record_bytes"})

    text_field: str = Field("text", min_length=1, description="Field with the text; dots reach into nested objects")
    id_field: str | None = Field("id", description="Field with the document's own id, if there is one")
    domain_field: str | None = Field(
        None, description="Field with the domain, such as meta.domain; if empty, the domain comes from the path"
    )
    domain_path_index: int = Field(
        1,
        ge=0,
        description="Without a domain field, the directory that names the domain: 0 is the snapshot, 1 the one below",
    )
    url_field: str | None = Field(
        None, description="Field with the URL that the document is from, such as metadata.url: mixtures can then leave out hosts"
    )
    license_field: str | None = Field(
        None, description="Field with the document's licence: mixtures can then be limited to some, or leave some out"
    )
    max_record_bytes: int = Field(64 * 2**20, ge=1, lt=2**31, description="Longest record in bytes; longer ones are quarantined")

    def of_texts(self) -> "ReaderConfig":
        """The same, for those who only want texts."""
        return self.model_copy(update={"url_field": None, "license_field": None})
