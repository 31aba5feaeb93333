"""Pages: answers of ready queries and charts, put into HTML templates. Names from a corpus are shown as text."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TEMPLATES = Path(__file__).parent / "templates"

Row = Mapping[str, Any]

_SHARES = ("_share", "share_taken", "share_of_main_domain")
_EXACT_BELOW = 1000


PREFIX = "/samplemix"
"""Path of the pages below Airflow's own."""


def page(request: Request, template: str, **values: Any) -> HTMLResponse:
    """Render a page, with the headers of guarded()."""
    root, nonce = str(request.scope.get("root_path", "")).rstrip("/"), secrets.token_urlsafe(16)
    return guarded(render(template, root, nonce=nonce, airflow=root.removesuffix(PREFIX), **values), nonce)


def guarded(body: str, nonce: str) -> HTMLResponse:
    """A page that isn't cached, that other sites can't frame, and that runs only scripts with the nonce."""
    headers = {"Cache-Control": "no-store", "X-Frame-Options": "SAMEORIGIN", "Content-Security-Policy": POLICY.format(nonce=nonce)}
    return HTMLResponse(body, headers=headers)


# Charts and bars are placed by inline styles, which can't run anything.
POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; frame-ancestors 'self'; base-uri 'none'"
)
HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'self'",
}
"""Headers of every answer: browsers don't guess its type, and without a policy of its own it may load and run nothing."""


class Hardened:
    """Adds HEADERS to an application's answers, unless they have others with that name."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back."""

        async def hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(item for item in HEADERS.items() if item[0] not in there)]
            await send(message)

        await self._app(scope, receive, hardened)


def render(template: str, root: str, **values: Any) -> str:
    """Render a page; `root` is the path that all pages are below, without a trailing slash."""
    return _environment().get_template(template).render(root=root, **values)


def nonced(html: str, nonce: str, scripts: int = 1) -> Markup:
    """Give a library's first scripts the page's nonce: names from a corpus, whatever they look like, come after them."""
    return Markup(str(html).replace("<script", f'<script nonce="{nonce}"', scripts))  # noqa: S704 the library's own HTML


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {"cell": cell, "label": label, "short": short, "percent": percent, "duration": duration, "query": query}
    environment.filters["nonced"] = nonced
    environment.tests["moment"] = lambda value: isinstance(value, datetime)
    environment.tests["number"] = lambda value: isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    return environment


def query(values: Mapping[str, Any]) -> str:
    """Values as the query of a link."""
    return urlencode({name: value for name, value in values.items() if value is not None})


def label(column: str) -> str:
    """A column's name for people."""
    return _LABELS.get(column, column.replace("_", " "))


_LABELS = {"n_tokens": "tokens", "passed_over": "not taken"}
"""Columns whose own names say too little to people."""


def short(value: float | None) -> str:
    """A count of three digits or so: 1.2 M."""
    if value is None:
        return ""
    number = float(value)
    for limit, unit in ((1e12, " T"), (1e9, " B"), (1e6, " M"), (1e4, " k")):
        if abs(number) >= limit:
            return f"{number / (1e3 if unit == ' k' else limit):,.3g}{unit}" if unit != " k" else f"{number / 1e3:,.0f} k"
    return f"{number:,.0f}"


def percent(value: float | None) -> str:
    """A share as a percentage."""
    return "" if value is None else f"{float(value):.1%}"


def duration(seconds: float | None) -> str:
    """Seconds in the two largest units that aren't zero."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(float(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    said = [f"{count} {unit}" for count, unit in parts if count][:2]
    return " ".join(said) or "0 s"


def cell(value: Any, column: str = "") -> str | Markup:
    """A table's value as text, by its type and column: a share, a count, a measure, a time, a yes or no."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, int | float | Decimal):
        number = float(value)
        if column.endswith(_SHARES):
            return percent(number)
        if isinstance(value, int) or (isinstance(value, Decimal) and value == value.to_integral_value()):
            return f"{int(value):,}"
        return f"{number:,.3f}" if abs(number) < _EXACT_BELOW else f"{number:,.0f}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return str(value)


def columns_of(rows: Sequence[Row]) -> list[str]:
    """The names of the columns of an answer."""
    return list(rows[0]) if rows else []
