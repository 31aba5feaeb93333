"""The API: what the pages show, as JSON, and every ready query."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from samplemix_core.database.query import ask, ready_queries
from samplemix_core.database.samples import Name, SampleFilter, SamplePage
from samplemix_core.deployment import Deployment
from samplemix_core.frozen import json_types
from samplemix_core.pages import samples, views
from samplemix_core.policies.policy import POLICIES
from samplemix_core.policies.registry import parameter_schemas
from samplemix_core.report.why import Why, explain

router = APIRouter(prefix="/api")

Version = Annotated[int | None, Query(ge=1, lt=2**31, description="The latest if none is given")]
Shard = Annotated[Name, Query(description="Path, relative to the corpus")]
Row = Annotated[int, Query(ge=0, lt=2**63, description="Place in the shard, from 0")]


Words = Annotated[str, Query(max_length=1000, description="All of them, written large or small")]


def reader() -> str:
    """Return the database's URL for the pages' own read-only role, or for the analysts' if there is no other."""
    deployment = Deployment.load()
    return deployment.pages_database_url or deployment.require("reader_database_url")


Reader = Annotated[str, Depends(reader)]


@router.get("/queries")
def list_queries() -> list[dict[str, str]]:
    """The ready queries, with their parameters."""
    return [{"query": item.name, "parameters": item.usage, "answers": item.answers} for item in ready_queries().values()]


@router.get("/queries/{name}")
def answer_query(request: Request, url: Reader, name: str) -> list[dict[str, Any]]:
    """The answer of a ready query; its parameters are those of the URL."""
    return views.ask_by_name(url, name, dict(request.query_params))


@router.get("/corpora")
def list_corpora(url: Reader) -> list[dict[str, Any]]:
    """All corpora, those published last first."""
    return ask(url, "corpora")


@router.get("/corpora/{corpus_id}")
def get_corpus(url: Reader, corpus_id: int) -> dict[str, Any]:
    """A corpus: crawls, mixtures, quality and clusters by domain, what was set aside or not read, shards in trouble."""
    return dict(views.corpus(url, views.corpus_uri(url, corpus_id)))


@router.get("/mixtures")
def list_mixtures(url: Reader) -> list[dict[str, Any]]:
    """All mixtures, each with its latest version."""
    return ask(url, "mixtures")


@router.get("/mixtures/{name}")
def get_mixture(url: Reader, name: str, version: Version = None) -> dict[str, Any]:
    """A version of a mixture: figures, domains, crawls, copies, samples repeated most and nearly left out."""
    return views.mixture(url, name, version)


@router.get("/mixtures/{name}/diff")
def get_diff(url: Reader, name: str, older: Version = None, newer: Version = None) -> dict[str, Any]:
    """Two versions side by side; the last two if none are named."""
    return views.diff(url, name, older, newer)


def _settings_parameters() -> dict[str, Any]:
    """OpenAPI's description of settings to try: a policy's parameters stand next to its name."""
    own = {name: views.Settings.model_json_schema()["properties"][name] for name in ("budget_percent", "max_copies")}
    scalars = {name: field for name, field in parameter_schemas().items() if not {"array", "object"} & set(json_types(field))}
    fields = {"policy": {"type": "string", "enum": list(POLICIES)}, **own, **scalars}
    return {"parameters": [{"name": name, "in": "query", "required": False, "schema": field} for name, field in fields.items()]}


@router.get("/mixtures/{name}/{version:int}/what-if", openapi_extra=_settings_parameters())
def get_what_if(request: Request, url: Reader, name: str, version: int) -> views.WhatIf:
    """A version with changes to its settings, estimated from its roll-up: policy, its parameters, budget_percent, max_copies."""
    return views.what_if(url, name, version, request.query_params)


@router.get("/mixtures/{name}/{version:int}/clusters")
def get_clusters(url: Reader, name: str, version: int) -> list[dict[str, Any]]:
    """What each cluster is about, and what a version did to it."""
    return ask(url, "clusters", mixture=name, version=version)


@router.get("/mixtures/{name}/{version:int}/map")
def get_map(url: Reader, name: str, version: int) -> views.DocumentMap:
    """A sample of the documents that a version was chosen from, on a map where near ones are alike, column by column."""
    return views.document_map(url, name, version)


@router.get("/mixtures/{name}/{version:int}/near-duplicates")
def get_near_duplicates(url: Reader, name: str, version: int) -> dict[str, Any]:
    """The near-duplicates that a version left out: for which documents, and how many in each domain."""
    return views.alike(url, name, version)


@router.get("/mixtures/{name}/{version:int}/contamination")
def get_contamination(url: Reader, name: str, version: int) -> dict[str, Any]:
    """The benchmarks that a version keeps out, and the documents that hold something of them."""
    return views.contamination(url, name, version)


@router.get("/mixtures/{name}/{version:int}/samples")
def find_samples(url: Reader, name: str, version: int, wanted: Annotated[SampleFilter, Query()]) -> SamplePage:
    """Samples of a version, or all documents that it was chosen from: filtered, in an order, 50 at a time."""
    return samples.find(url, name, version, wanted)


@router.get("/mixtures/{name}/{version:int}/sample")
def explain_sample(url: Reader, name: str, version: int, shard: Shard, row: Row) -> Why:
    """Why a document has its copies: quality, cluster, weight, kappa, its own number u, duplicates and near-duplicates."""
    return explain(Deployment.load(), url, name, version, shard, row)


@router.get("/corpora/{corpus_id}/text")
def get_text(url: Reader, corpus_id: int, shard: Shard, row: Row) -> samples.Text:
    """The text of a document, from its shard."""
    return samples.text_of(Deployment.load(), url, corpus_id, shard, row)


@router.get("/mixtures/{name}/{version:int}/search")
def search_shard(url: Reader, name: str, version: int, shard: Shard, words: Words, row: Row = 0) -> samples.Matches:
    """Documents of a shard whose text has all the words, from a row on."""
    return samples.search(Deployment.load(), url, name, version, shard, words, row)
