"""Files that the pages serve: published files, pictures, the scripts that pages need, and the API's description."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal
from urllib.parse import quote

import fastapi_offline
from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, StreamingResponse

from samplemix_core.database.query import ready_queries
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError, ManifestError
from samplemix_core.manifest.catalogue import CROISSANT, MANIFEST, SUMS, version_directory
from samplemix_core.manifest.format import SOURCES
from samplemix_core.pages import views
from samplemix_core.pages.api import Reader
from samplemix_core.pages.charts import BOKEH_JS
from samplemix_core.pages.html import guarded, nonced, page
from samplemix_core.reading.versions import open_version
from samplemix_core.report.evaluation import draw_comparison, draw_frontier
from samplemix_core.report.picture import draw_mixture
from samplemix_core.report.record import load_record

router = APIRouter()


@router.get("/mixtures/{name}/{version:int}/picture.png", include_in_schema=False)
def show_picture(name: str, version: int) -> Response:
    """The picture of a version."""
    deployment = Deployment.load()
    with deployment.scratch() as directory:
        path = directory / "picture.png"
        draw_mixture(path, load_record(deployment, open_version(deployment, name, version).manifest))
        return Response(path.read_bytes(), media_type="image/png")


@router.get("/comparisons/{number:int}/picture.png", include_in_schema=False)
def show_gains(url: Reader, number: int) -> Response:
    """The picture of a comparison."""
    found = views.comparison(url, number)
    with Deployment.load().scratch() as directory:
        path = directory / "picture.png"
        draw_comparison(path, f"{found['title']} and others", found["found"])
        return Response(path.read_bytes(), media_type="image/png")


@router.get("/comparisons/{number:int}/frontier.png", include_in_schema=False)
def show_frontier(url: Reader, number: int) -> Response:
    """The frontier of a comparison."""
    found = views.comparison(url, number)
    with Deployment.load().scratch() as directory:
        path = directory / "picture.png"
        draw_frontier(path, found["title"], found["found"])
        return Response(path.read_bytes(), media_type="image/png")


@router.get("/comparisons/{number:int}/settings/{index:int}", include_in_schema=False)
def show_settings(url: Reader, number: int, index: int) -> JSONResponse:
    """The settings of one of a comparison's mixtures, as a file for a run."""
    contenders = views.comparison(url, number)["found"].contenders
    if index >= len(contenders):
        raise ConfigError(f"Comparison {number} has no mixture {index}.", "See its page.")
    headers = {"Content-Disposition": f'attachment; filename="comparison-{number}-{index}.json"'}
    return JSONResponse(contenders[index].settings, headers=headers)


@router.get("/mixtures/{name}/{version:int}/files", response_class=HTMLResponse, include_in_schema=False)
def show_files(request: Request, name: str, version: int) -> HTMLResponse:
    """The published files of a version."""
    found = open_version(Deployment.load(), name, version)
    link = f"{request.scope['root_path']}/mixtures/{quote(name, safe='')}/{version}/files/"
    parts = [part.model_dump() for part in found.manifest.parts]
    values = {"mixture": name, "version": version, "uri": found.uri, "digest": found.manifest.content_digest, "parts": parts}
    sources = [SOURCES] if found.manifest.sources else []
    files = [MANIFEST, CROISSANT, *sources, *([SUMS] if found.mixtures.store.head(found.key(SUMS)) else [])]
    return page(request, "files.html", **values, files=files, base=link, link=lambda part: f"{link}{part['path']}")


@router.get("/mixtures/{name}/{version:int}/files/{file}", include_in_schema=False)
def download(name: str, version: int, file: str) -> StreamingResponse:
    """A published file of a version."""
    found = open_version(Deployment.load(), name, version)
    if file not in (MANIFEST, CROISSANT, SUMS, *found.manifest.files):
        raise ManifestError(f"Version {version} of {name!r} has no file {file[:100]!r}.", "See its files.")
    stream = found.mixtures.store.open(found.key(file))
    headers = {"Content-Disposition": f'attachment; filename="{name}-{version_directory(version)}-{file}"'}
    return StreamingResponse(_chunks(stream), media_type="application/octet-stream", headers=headers)


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    with stream:
        while chunk := stream.read(2**20):
            yield chunk


_SWAGGER = Path(fastapi_offline.__file__).parent / "static"

STATIC = {
    "bokeh.min.js": (BOKEH_JS, "text/javascript"),
    "swagger-ui-bundle.js": (_SWAGGER / "swagger-ui-bundle.js", "text/javascript"),
    "swagger-ui.css": (_SWAGGER / "swagger-ui.css", "text/css"),
    "favicon.png": (_SWAGGER / "favicon.png", "image/png"),
}
"""Other files that pages need, from the packages that ship them: nothing comes from elsewhere."""


@router.get("/static/{name}", include_in_schema=False)
def static(name: Literal["bokeh.min.js", "swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"]) -> FileResponse:
    """A file that pages need."""
    path, kind = STATIC[name]
    return FileResponse(path, media_type=kind, headers={"Cache-Control": "private, max-age=86400"})


@router.get("/openapi.json", include_in_schema=False)
def openapi(request: Request) -> JSONResponse:
    """The API's description."""
    return JSONResponse({**request.app.openapi(), "servers": [{"url": request.scope["root_path"]}]})


@router.get("/docs", response_class=HTMLResponse, include_in_schema=False)
def docs(request: Request) -> HTMLResponse:
    """The API, from its own description."""
    return page(request, "api.html", api=request.app.openapi(), queries=ready_queries())


@router.get("/swagger", response_class=HTMLResponse, include_in_schema=False)
def swagger(request: Request) -> HTMLResponse:
    """FastAPI's own page of the API, where it can be tried out."""
    root, nonce = request.scope["root_path"], secrets.token_urlsafe(16)
    static = f"{root}/static"
    shown = get_swagger_ui_html(
        openapi_url=f"{root}/openapi.json",
        title="SampleMix API",
        swagger_js_url=f"{static}/swagger-ui-bundle.js",
        swagger_css_url=f"{static}/swagger-ui.css",
        swagger_favicon_url=f"{static}/favicon.png",
    )
    return guarded(nonced(bytes(shown.body).decode(), nonce, scripts=2), nonce)
