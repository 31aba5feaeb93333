"""How a mixture is exported: the configuration, and its form. Light, for the DAG."""

from typing import Any, Literal

from pydantic import Field, model_validator

from samplemix_core.config.run import ALL_PHASES
from samplemix_core.frozen import NAME, FrozenModel, IdentifiedModel

FormatName = Literal["jsonl", "parquet", "hugging-face", "webdataset", "mds", "litdata", "megatron", "olmo"]

TOKEN_FORMATS = frozenset({"megatron", "olmo"})
"""Formats that hold tokens, not texts."""

TABLES = frozenset({"jsonl", "parquet", "hugging-face"})
"""Formats that may have a column with the number of copies."""


class ExportConfig(IdentifiedModel):
    """How a mixture is exported. Together with the version, it decides every byte."""

    FIRST_FIELDS = frozenset(
        {"format", "materialise", "tokenizer", "end_of_document", "prefix", "license", "languages", "chunk_tokens"}
    )
    # The manifest says which tokenizer it is, and this only where.
    NOT_IDENTITY = frozenset({"tokenizer"})

    format: FormatName = Field(
        description="jsonl, parquet, hugging-face, webdataset, mds, litdata, megatron or olmo", title="Format"
    )
    materialise: bool = Field(
        False,
        description="jsonl, parquet and hugging-face: write each copy as a row, copies of a document far apart, instead of a column"
        " 'copies'",
        title="Materialise copies",
    )
    tokenizer: str | None = Field(
        None,
        description="megatron and olmo: the manifest's tokenizer, as a run names it; if empty, it is looked for by its name",
        title="Tokenizer",
    )
    end_of_document: str | None = Field(
        None,
        description="megatron and olmo: the token after each document; if empty, the tokenizer's usual one; 'none' for none",
        title="End of document",
    )
    prefix: str | None = Field(
        None, description="megatron and olmo: where the training job sees the export, if not at its URI", title="Prefix"
    )
    license: str | None = Field(None, description="hugging-face: the data's licence, such as odc-by", title="Licence")
    languages: tuple[str, ...] = Field((), description="hugging-face: languages of the texts, such as en", title="Languages")
    phase: str | None = Field(
        None,
        description=f"Of a mixture with phases: the one to export, or {ALL_PHASES} for their copies together, in no order",
        title="Phase",
    )
    chunk_tokens: int | None = Field(
        None, ge=1, description="Tokens of a file, each document once; by default about what the format's readers expect"
    )

    @model_validator(mode="after")
    def _fits(self) -> "ExportConfig":
        tokens, tables = ("tokenizer", "end_of_document", "prefix"), ("materialise",)
        cards = ("license", "languages")
        for names, formats in ((tokens, TOKEN_FORMATS), (tables, TABLES), (cards, frozenset({"hugging-face"}))):
            given = [name for name in names if getattr(self, name)]
            if given and self.format not in formats:
                raise ValueError(f"{given[0]} is for the formats {', '.join(sorted(formats))}, not for {self.format}")
        return self


class ExportForm(FrozenModel):
    """An export that is asked for from Airflow."""

    mixture: str = Field(pattern=NAME.pattern, title="Mixture", description="Name of a published mixture")
    version: int | None = Field(None, ge=1, title="Version", description="If empty, the latest")
    uri: str = Field(
        min_length=1,
        title="Where to",
        description="s3://bucket/prefix, or a directory that all workers see; empty, or an export to go on with",
    )
    export: ExportConfig
    dry_run: bool = False

    @classmethod
    def as_fields(cls, values: Any) -> dict[str, Any]:
        """Fields of the form beside each other; those that are left empty take their defaults."""
        given = {name: value for name, value in dict(values).items() if value not in (None, "", [])}
        own = {name: given.pop(name) for name in list(given) if name in ExportConfig.model_fields}
        return {**given, **({"export": own} if "export" not in given else {})}


def export_form() -> dict[str, dict[str, Any]]:
    """One JSON schema per field of the form, each with its default."""
    schemas = ExportForm.model_json_schema()["properties"], ExportConfig.model_json_schema()["properties"]
    fields = {name: schemas[0][name] for name in ("mixture", "version", "uri")} | schemas[1] | {"dry_run": schemas[0]["dry_run"]}
    form = {name: {"default": None, **field} for name, field in fields.items()}
    for name in ("mixture", "uri"):
        form[name]["default"] = ""
    form["format"]["default"] = "parquet"
    form["dry_run"] |= {"title": "Dry run", "description": "Only count: documents, copies, tokens"}
    # Whoever may fill in the form need not be one who may have a file written for each document.
    del form["chunk_tokens"]
    for name in ("tokenizer", "end_of_document", "prefix", "license", "languages"):
        form[name]["section"] = "Of some formats"
    return form
