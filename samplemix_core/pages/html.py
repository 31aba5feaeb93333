"""Pages: answers of ready queries and charts, put into HTML templates. Whatever a corpus calls things is shown as text."""

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

TEMPLATES = Path(__file__).parent / "templates"

Row = Mapping[str, Any]

_SHARES = ("_share", "share_taken", "share_of_main_domain")
_EXACT_BELOW = 1000


PREFIX = "/samplemix"
"""Where the pages are below Airflow's own."""


def page(request: Request, template: str, **values: Any) -> HTMLResponse:
    """A rendered page, which nobody keeps and nobody else frames."""
    root = str(request.scope.get("root_path", "")).rstrip("/")
    body = render(template, root, airflow=root.removesuffix(PREFIX), **values)
    headers = {"Cache-Control": "no-store", "X-Frame-Options": "SAMEORIGIN", "Referrer-Policy": "same-origin"}
    return HTMLResponse(body, headers=headers)


def render(template: str, root: str, **values: Any) -> str:
    """A page; `root` is the path below which all pages are, without a slash at its end."""
    return _environment().get_template(template).render(root=root, **values)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {"cell": cell, "label": label, "short": short, "percent": percent, "duration": duration, "query": query}
    environment.tests["moment"] = lambda value: isinstance(value, datetime)
    environment.tests["number"] = lambda value: isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    return environment


def query(values: Mapping[str, Any]) -> str:
    """Values as the query of a link."""
    return urlencode({name: value for name, value in values.items() if value is not None})


def label(column: str) -> str:
    """A column's name for people."""
    return column.replace("_", " ")


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
    """A share of one."""
    return "" if value is None else f"{float(value):.1%}"


def duration(seconds: float | None) -> str:
    """Seconds as the two largest units that say it."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(float(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    said = [f"{count} {unit}" for count, unit in parts if count][:2]
    return " ".join(said) or "0 s"


def cell(value: Any, column: str = "") -> str | Markup:
    """A value of a table by what its column is: a share, a count, a measure, a time, a yes."""
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
    return str(value)


def columns_of(rows: Sequence[Row]) -> list[str]:
    """The names of the columns of an answer."""
    return list(rows[0]) if rows else []
