"""SampleMix's pages, and the same as JSON: an application that Airflow puts behind its login. Nothing here writes.

Errors are said with their remedy, as pages or as JSON.
"""

from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse

from samplemix_core.config import RunConfig
from samplemix_core.database.query import ready_queries
from samplemix_core.errors import SampleMixError
from samplemix_core.form import DRY_RUN, DRY_RUN_SCHEMA, form_schema
from samplemix_core.pages import views
from samplemix_core.pages.charts import BOKEH_JS
from samplemix_core.pages.html import render
from samplemix_core.pipeline.mixtures import open_version
from samplemix_core.report.picture import draw_mixture
from samplemix_core.report.record import load_record
from samplemix_core.settings import Settings

DAG_ID = "samplemix_corpus_run"
PREFIX = "/samplemix"
"""Where the pages are below Airflow's own."""

SIMPLE = (
    "corpus_uri",
    "snapshots",
    "mixture_name",
    "budget",
    "tokenizer",
    "max_copies",
    "max_loss",
    "policy",
    "alpha",
    "tau",
    "seed",
)
"""Fields of the form that are one value each."""

Version = Annotated[int | None, Query(ge=1, lt=2**31, description="The latest if none is given")]

router = APIRouter()


def make_app(may_read: Callable[..., None]) -> FastAPI:
    """The application; `may_read` is a dependency of every route that raises where the caller may not read."""
    app = FastAPI(
        title="SampleMix",
        description="What SampleMix's pages show, as JSON. Everything is read only.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.include_router(router, dependencies=[Depends(may_read)])
    app.add_exception_handler(SampleMixError, _say)
    return app


def reader() -> str:
    """URL of the database, as the role that can only read."""
    return Settings.load().require("reader_database_url")


Reader = Annotated[str, Depends(reader)]


def page(request: Request, template: str, **values: Any) -> HTMLResponse:
    """A rendered page, which nobody keeps and nobody else frames."""
    root = str(request.scope.get("root_path", "")).rstrip("/")
    body = render(template, root, airflow=root.removesuffix(PREFIX), **values)
    headers = {"Cache-Control": "no-store", "X-Frame-Options": "SAMEORIGIN", "Referrer-Policy": "same-origin"}
    return HTMLResponse(body, headers=headers)


async def _say(request: Request, error: Exception) -> Response:
    """What went wrong and what to do, as the caller reads it."""
    assert isinstance(error, SampleMixError)
    if "/api/" in request.url.path:
        return JSONResponse({"detail": f"{error.what} {error.remedy}".strip()}, status_code=422)
    response = page(request, "error.html", title="This can't be shown", what=error.what, remedy=error.remedy)
    response.status_code = 422
    return response


@router.get("/", response_class=HTMLResponse, include_in_schema=False)
def show_home(request: Request, url: Reader) -> HTMLResponse:
    """Corpora and mixtures."""
    root = request.scope["root_path"]
    links = {
        "mixture_link": lambda row: f"{root}/mixtures/{quote(row['mixture'], safe='')}",
        "corpus_link": lambda row: f"{root}/corpora/{row['corpus_id']}",
    }
    return page(request, "home.html", **views.home(url), **links)


@router.get("/corpora/{corpus_id}", response_class=HTMLResponse, include_in_schema=False)
def show_corpus(request: Request, url: Reader, corpus_id: int) -> HTMLResponse:
    """A corpus and its crawls."""
    uri = views.corpus_uri(url, corpus_id)
    return page(request, "corpus.html", corpus=uri, **views.corpus(url, uri))


@router.get("/mixtures/{name}", response_class=HTMLResponse, include_in_schema=False)
@router.get("/mixtures/{name}/{version:int}", response_class=HTMLResponse, include_in_schema=False)
def show_mixture(request: Request, url: Reader, name: str, version: int | None = None) -> HTMLResponse:
    """A version of a mixture."""
    root = request.scope["root_path"]
    found = views.mixture(url, name, version)
    row = found["mixture"]
    return page(
        request,
        "mixture.html",
        **found,
        corpus_id=row["corpus_id"],
        charts=views.charts(url, name, row["version"], found["copies"]),
        largest=max([1e-9, *(max(domain["source_share"], domain["mixture_share"]) for domain in found["domains"])]),
        run_link=f"{root.removesuffix(PREFIX)}/dags/{DAG_ID}/runs/{quote(row['airflow_run_id'] or '', safe='')}",
        version_link=lambda item: f"{root}/mixtures/{quote(name, safe='')}/{item['version']}",
    )


@router.get("/mixtures/{name}/diff", response_class=HTMLResponse, include_in_schema=False)
def show_diff(request: Request, url: Reader, name: str, older: Version = None, newer: Version = None) -> HTMLResponse:
    """Two versions of a mixture beside each other."""
    return page(request, "diff.html", **views.diff(url, name, older, newer))


@router.get("/mixtures/{name}/{version:int}/what-if", response_class=HTMLResponse, include_in_schema=False)
def show_what_if(request: Request, url: Reader, name: str, version: int) -> HTMLResponse:
    """A version under other settings."""
    found = views.what_if(url, name, version, None)
    (row,) = views.ask(url, "mixture_version", mixture=name, version=version)
    run = {"corpus_uri": row["corpus"], "mixture_name": row["mixture"], "seed": row["seed"]}
    values = {"mixture": row, "settings": found.settings, "error": found.error, "policies": views.policies(), "run": run}
    return page(request, "what_if.html", **values)


@router.get("/mixtures/{name}/{version:int}/picture.png", include_in_schema=False)
def show_picture(name: str, version: int) -> Response:
    """The picture of a version."""
    settings = Settings.load()
    with settings.scratch() as directory:
        path = directory / "picture.png"
        draw_mixture(path, load_record(settings, open_version(settings, name, version).manifest))
        return Response(path.read_bytes(), media_type="image/png")


@router.get("/run", response_class=HTMLResponse, include_in_schema=False)
def show_run(request: Request) -> HTMLResponse:
    """A form for a run, filled in with what the query says. Airflow takes it, from the browser, if the user may start runs."""
    schema = {name: field for name, field in form_schema().items() if name in SIMPLE} | {DRY_RUN: DRY_RUN_SCHEMA}
    kinds = {name: _kind(field) for name, field in schema.items()}
    defaults = RunConfig.model_fields
    values = {name: value for name, value in request.query_params.items() if name in defaults or name == DRY_RUN}
    return page(request, "run.html", fields=schema, kinds=kinds, values=values)


def _kind(field: dict[str, Any]) -> str:
    kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
    (kind,) = (item for item in kinds if item != "null")
    return "number" if kind == "integer" else str(kind)


@router.get("/static/bokeh.min.js", include_in_schema=False)
def bokeh_js() -> FileResponse:
    """What draws the charts."""
    return FileResponse(BOKEH_JS, media_type="text/javascript", headers={"Cache-Control": "private, max-age=86400"})


@router.get("/openapi.json", include_in_schema=False)
def openapi(request: Request) -> JSONResponse:
    """The API's description."""
    return JSONResponse({**request.app.openapi(), "servers": [{"url": request.scope["root_path"]}]})


@router.get("/docs", response_class=HTMLResponse, include_in_schema=False)
def docs(request: Request) -> HTMLResponse:
    """The API, from its own description."""
    return page(request, "api.html", api=request.app.openapi(), queries=ready_queries())


@router.get("/api/queries")
def list_queries() -> list[dict[str, str]]:
    """The queries that are ready, with their parameters."""
    return [{"query": item.name, "parameters": item.usage, "answers": item.answers} for item in ready_queries().values()]


@router.get("/api/queries/{name}")
def answer_query(request: Request, url: Reader, name: str) -> list[dict[str, Any]]:
    """The answer of a ready query; its parameters are those of the URL."""
    return views.ask_by_name(url, name, dict(request.query_params))


@router.get("/api/corpora")
def list_corpora(url: Reader) -> list[dict[str, Any]]:
    """All corpora, those published last first."""
    return views.ask(url, "corpora")


@router.get("/api/corpora/{corpus_id}")
def get_corpus(url: Reader, corpus_id: int) -> dict[str, Any]:
    """A corpus: crawls, quality and clusters by domain, what was set aside."""
    return dict(views.corpus(url, views.corpus_uri(url, corpus_id)))


@router.get("/api/mixtures")
def list_mixtures(url: Reader) -> list[dict[str, Any]]:
    """All mixtures, each with its latest version."""
    return views.ask(url, "mixtures")


@router.get("/api/mixtures/{name}")
def get_mixture(url: Reader, name: str, version: Version = None) -> dict[str, Any]:
    """A version of a mixture: figures, domains, crawls, copies, samples repeated most and nearly left out."""
    return views.mixture(url, name, version)


@router.get("/api/mixtures/{name}/diff")
def get_diff(url: Reader, name: str, older: Version = None, newer: Version = None) -> dict[str, Any]:
    """Two versions beside each other; the last two if none are named."""
    return views.diff(url, name, older, newer)


@router.get("/api/mixtures/{name}/{version:int}/what-if")
def get_what_if(url: Reader, name: str, version: int, wanted: Annotated[views.Settings, Query()]) -> views.WhatIf:
    """A version under other settings, estimated from its roll-up."""
    return views.what_if(url, name, version, wanted)
