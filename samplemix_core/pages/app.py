"""SampleMix's pages, and the same as JSON from api.py: an application that Airflow puts behind its login. It is read-only.

Errors are shown with their remedy, as pages or as JSON.
"""

import json
from collections.abc import Callable
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from samplemix_core.config.form import DRY_RUN, DRY_RUN_SCHEMA, form_schema
from samplemix_core.database.query import ask
from samplemix_core.database.samples import SampleFilter
from samplemix_core.deployment import Deployment
from samplemix_core.errors import SampleMixError
from samplemix_core.frozen import json_types
from samplemix_core.pages import api, charts, files, samples, views
from samplemix_core.pages.api import Reader, Row, Shard, Version, Words
from samplemix_core.pages.html import PREFIX, Hardened, page, query
from samplemix_core.policies.policy import POLICIES
from samplemix_core.quality.rubric import DEFAULT_RUBRIC
from samplemix_core.report.why import explain

DAG_ID = "samplemix_corpus_run"

router = APIRouter()


def make_app(may_read: Callable[..., None]) -> FastAPI:
    """Return the application; `may_read` is a dependency of every route, and raises if the caller may not read."""
    app = FastAPI(
        title="SampleMix",
        description="What SampleMix's pages show, as JSON. Everything is read only.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    for routes in (router, files.router, api.router):
        app.include_router(routes, dependencies=[Depends(may_read)])
    app.add_exception_handler(SampleMixError, _say)
    app.add_middleware(Hardened)
    return app


async def _say(request: Request, error: Exception) -> Response:
    """Answer with what went wrong and what to do, as a page or as JSON."""
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
    links = {"mixture_link": _mixture_link(request), "corpus_link": lambda row: f"{root}/corpora/{row['corpus_id']}"}
    return page(request, "home.html", **views.home(url), **links)


def _mixture_link(request: Request) -> Callable[[dict[str, Any]], str]:
    base = f"{request.scope['root_path']}/mixtures"
    return lambda row: f"{base}/{quote(row['mixture'], safe='')}/{row['version']}"


@router.get("/corpora/{corpus_id}", response_class=HTMLResponse, include_in_schema=False)
def show_corpus(request: Request, url: Reader, corpus_id: int) -> HTMLResponse:
    """A corpus and its crawls."""
    uri = views.corpus_uri(url, corpus_id)
    values = {"corpus": uri, "corpus_id": corpus_id, **views.corpus(url, uri)}
    return page(request, "corpus.html", **values, mixture_link=_mixture_link(request))


@router.get("/corpora/{corpus_id}/quality", response_class=HTMLResponse, include_in_schema=False)
def show_audits(request: Request, url: Reader, corpus_id: int) -> HTMLResponse:
    """What quality models were found to measure on a corpus."""
    uri = views.corpus_uri(url, corpus_id)
    text = f"{request.scope['root_path']}/api/corpora/{corpus_id}/text"
    values = {"corpus": uri, "corpus_id": corpus_id, **views.audits(url, uri)}
    return page(
        request, "audit.html", **values, text_link=lambda row: f"{text}?{query({'shard': row['shard'], 'row': row['row']})}"
    )


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
        charts=views.charts(url, row, found["copies"]),
        largest=max([1e-9, *(max(domain["source_share"], domain["mixture_share"]) for domain in found["domains"])]),
        run_link=f"{root.removesuffix(PREFIX)}/dags/{DAG_ID}/runs/{quote(row['airflow_run_id'] or '', safe='')}",
        sample_link=_sample_link(request, name, row["version"]),
        examples=_examples(f"{root}/mixtures/{quote(name, safe='')}/{row['version']}/samples"),
        version_link=lambda item: f"{root}/mixtures/{quote(name, safe='')}/{item['version']}",
    )


@router.get("/mixtures/{name}/diff", response_class=HTMLResponse, include_in_schema=False)
def show_diff(request: Request, url: Reader, name: str, older: Version = None, newer: Version = None) -> HTMLResponse:
    """Two versions of a mixture side by side."""
    return page(request, "diff.html", **views.diff(url, name, older, newer))


_LONGEST_SETTING = 2_000
"""Characters of constraints that a link carries."""


@router.get("/mixtures/{name}/{version:int}/what-if", response_class=HTMLResponse, include_in_schema=False)
def show_what_if(request: Request, url: Reader, name: str, version: int) -> HTMLResponse:
    """A version under other settings."""
    found = views.what_if_form(url, name, version)
    (row,) = ask(url, "mixture_version", mixture=name, version=version)
    run = {"corpus_uri": row["corpus"], "mixture_name": row["mixture"], "seed": row["seed"]}
    constraints = found.settings.constraints.model_dump(mode="json", exclude_defaults=True)
    # What is excluded can be long, and isn't in the sums anyway.
    shown = {key: value for key, value in constraints.items() if key not in ("exclude", "include")}
    carried = json.dumps(constraints)
    if constraints and len(carried) <= _LONGEST_SETTING:
        run["constraints"] = carried
    titles = {"language": ("Languages", "language"), "content_type": ("Content types", "content type")}
    tables = [("domains", "Domains", "domain"), *((label, *titles[label]) for label in found.labels)]
    own = {found.settings.policy.name: views.without_sliders(found.settings.policy)}
    policies = [views.sliders(kind, found.settings.policy) for kind in POLICIES.values()]
    values = {"mixture": row, "settings": found.settings, "error": found.error, "policies": policies, "run": run, "own": own}
    values |= {"constraints": json.dumps(shown) if shown else "", "tables": tables}
    values["left"] = bool(constraints) and "constraints" not in run
    return page(request, "what_if.html", **values)


@router.get("/mixtures/{name}/{version:int}/clusters", response_class=HTMLResponse, include_in_schema=False)
def show_clusters(
    request: Request,
    url: Reader,
    name: str,
    version: int,
    colour: Literal["main_domain", "quality", "diversity", "mean_copies"] = "main_domain",
) -> HTMLResponse:
    """The clusters of a version: a map, and what each is about."""
    clusters = ask(url, "clusters", mixture=name, version=version)
    nearest = f"{request.scope['root_path']}/mixtures/{quote(name, safe='')}/{version}/samples?order=distance&cluster="
    values = {"mixture": name, "version": version, "clusters": clusters, "colour": colour, "colours": charts.COLOURS}
    links = {"cluster": lambda row: f"{nearest}{row['cluster']}"}
    return page(request, "clusters.html", **values, map=charts.cluster_map(clusters, colour, nearest), links=links)


@router.get("/mixtures/{name}/{version:int}/map", response_class=HTMLResponse, include_in_schema=False)
def show_map(request: Request, url: Reader, name: str, version: int) -> HTMLResponse:
    """The documents of a version on a map."""
    (row,) = ask(url, "mixture_version", mixture=name, version=version)
    values = {"mixture": name, "version": version, "corpus_id": row["corpus_id"], "chart": charts.document_map()}
    values |= {
        "colours": charts.CATEGORIES | charts.NUMBERS,
        "categories": list(charts.CATEGORIES),
        "numbers": list(charts.NUMBERS),
    }
    return page(request, "map.html", **values, palette=charts.PALETTE, other=charts.OTHERS, ramp=charts.RAMP)


@router.get("/mixtures/{name}/{version:int}/near-duplicates", response_class=HTMLResponse, include_in_schema=False)
def show_alike(request: Request, url: Reader, name: str, version: int) -> HTMLResponse:
    """The near-duplicates that a version left out."""
    link = _sample_link(request, name, version)
    values = {"mixture": name, "version": version, **views.alike(url, name, version)}
    examples = {"example_link": lambda row: link({"shard": row["example_shard"], "row": row["example_row"]})}
    return page(request, "alike.html", **values, link=link, **examples)


@router.get("/mixtures/{name}/{version:int}/contamination", response_class=HTMLResponse, include_in_schema=False)
def show_contamination(request: Request, url: Reader, name: str, version: int) -> HTMLResponse:
    """The benchmarks that a version keeps out."""
    values = {"mixture": name, "version": version, **views.contamination(url, name, version)}
    return page(request, "contamination.html", **values, link=_sample_link(request, name, version))


@router.get("/mixtures/{name}/{version:int}/samples", response_class=HTMLResponse, include_in_schema=False)
def show_samples(request: Request, url: Reader, name: str, version: int, wanted: Annotated[SampleFilter, Query()]) -> HTMLResponse:
    """Samples of a version, and the documents that it left out."""
    values: dict[str, Any] = {"mixture": name, "version": version, "wanted": wanted.model_dump(exclude={"after"})}
    values |= {"found": samples.find(url, name, version, wanted), "choices": views.choices(url, name, version)}
    return page(request, "samples.html", **values, link=_sample_link(request, name, version))


@router.get("/mixtures/{name}/{version:int}/search", response_class=HTMLResponse, include_in_schema=False)
def show_search(
    request: Request, url: Reader, name: str, version: int, shard: Shard = "", words: Words = "", row: Row = 0
) -> HTMLResponse:
    """Documents of a shard with certain words."""
    found = samples.search(Deployment.load(), url, name, version, shard, words, row) if words.strip() and shard else None
    values = {"mixture": name, "version": version, "shard": shard, "words": words, "row": row, "found": found}
    return page(request, "search.html", **values, link=_sample_link(request, name, version))


@router.get("/mixtures/{name}/{version:int}/sample", response_class=HTMLResponse, include_in_schema=False)
def show_sample(request: Request, url: Reader, name: str, version: int, shard: Shard, row: Row) -> HTMLResponse:
    """A document, and why it has its copies."""
    why = explain(Deployment.load(), url, name, version, shard, row)
    values = {"mixture": name, "version": version, "corpus_id": why.corpus_id, "shard": shard, "row": row, "why": why}
    return page(request, "sample.html", **values, rubric=DEFAULT_RUBRIC.dimensions, link=_sample_link(request, name, version))


def _examples(samples: str) -> dict[str, Callable[[dict[str, Any]], str]]:
    """Links from a funnel's counts to the documents behind them."""

    def left_out(row: dict[str, Any]) -> str:
        return f"{samples}?{query({'order': 'place', 'domain': row['domain'], 'copies_to': 0})}"

    def taken(row: dict[str, Any]) -> str:
        return f"{samples}?{query({'domain': row['domain']})}"

    return {"duplicates": left_out, "passed_over": left_out, "samples": taken, "copies": taken}


def _sample_link(request: Request, name: str, version: int) -> Callable[[dict[str, Any]], str]:
    base = f"{request.scope['root_path']}/mixtures/{quote(name, safe='')}/{version}/sample"
    return lambda row: f"{base}?{query({'shard': row['shard'], 'row': row['row']})}"


@router.get("/comparisons", response_class=HTMLResponse, include_in_schema=False)
def show_comparisons(request: Request, url: Reader) -> HTMLResponse:
    """All comparisons of mixtures."""
    base = f"{request.scope['root_path']}/comparisons"
    link = {"comparison_link": lambda row: f"{base}/{row['comparison']}"}
    return page(request, "comparisons.html", comparisons=ask(url, "comparisons"), **link)


@router.get("/comparisons/{number:int}", response_class=HTMLResponse, include_in_schema=False)
def show_comparison(request: Request, url: Reader, number: int) -> HTMLResponse:
    """A comparison of mixtures."""
    found = views.comparison(url, number)
    base = f"{request.scope['root_path']}/comparisons/{number}/settings"
    mixture = None if found["version"] is None else _mixture_link(request)(found)
    links = {"mixture_link": mixture, "settings_link": lambda row: f"{base}/{row['index']}"}
    return page(request, "comparison.html", **found, **links, colours=_VERDICTS)


_VERDICTS = {"better": "--after", "worse": "--warn", "open": "--before"}
"""Colours of the style sheet."""


@router.get("/runs/{run_id:path}", response_class=HTMLResponse, include_in_schema=False)
def show_made(request: Request, url: Reader, run_id: str) -> HTMLResponse:
    """What an Airflow run made, and what it cost."""
    values = {
        "run_id": run_id,
        "mixtures": ask(url, "run_mixtures", run=run_id),
        "costs": ask(url, "run_costs", run=run_id),
    }
    return page(request, "made.html", **values, link=_mixture_link(request))


@router.get("/run", response_class=HTMLResponse, include_in_schema=False)
def show_run(request: Request) -> HTMLResponse:
    """A form for a run, filled in from the query. The browser sends it to Airflow, which takes it if the user may start runs."""
    given = request.query_params
    # Groups of settings are only shown if something is in them, as JSON.
    schema = {name: field for name, field in form_schema().items() if "properties" not in field or name in given}
    schema |= {DRY_RUN: DRY_RUN_SCHEMA}
    kinds = {name: "json" if "properties" in field else _kind(field) for name, field in schema.items()}
    values = {name: value for name, value in given.items() if name in schema}
    return page(request, "run.html", fields=schema, kinds=kinds, values=values)


def _kind(field: dict[str, Any]) -> str:
    kinds = {"number" if kind == "integer" else kind for kind in json_types(field)} - {"null"}
    return kinds.pop() if len(kinds) == 1 else "string"
