"""Markdown from Jinja2 templates, and the format of numbers in it."""

import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, UndefinedError

from cxr.core.errors import UserError

Tree = Mapping[str, Any]


class Missing(StrictUndefined):
    """An undefined name is an error in a formatted number as well."""

    def __format__(self, spec: str) -> str:
        return str(self)


def render_template(template: Path, **facts: object) -> str:
    """`template` with `facts` filled in.

    Raises `UserError` if it uses a name or key that `facts` do not have.
    """
    environment = Environment(
        undefined=Missing, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"number": number, "percent": percent, "estimate": with_interval, "cell": cell}
    try:
        return environment.from_string(template.read_text(encoding="utf-8")).render(facts)
    except (UndefinedError, KeyError) as error:
        raise UserError(f"{template.name}: {error}; the metrics are of other code, run `dvc repro`") from None


def number(value: float | None, digits: int = 3) -> str:
    return "n/a" if value is None else f"{value:,.{digits}f}"


def percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def with_interval(result: Tree | None, name: str = "value", digits: int = 3) -> str:
    """`name` of `result` with its interval, whose ends have the keys low and high, or <name>_low and
    <name>_high."""
    if not result:
        return "n/a"
    prefix = f"{name}_" if f"{name}_low" in result else ""
    value, low, high = (number(result[key], digits) for key in (name, f"{prefix}low", f"{prefix}high"))
    return f"{value} ({low} to {high})"


def cell(text: str) -> str:
    """`text` verbatim in a table's cell: Markdown, images and HTML of a model are escaped."""
    safe = re.sub(r"([\\`*_\[\]|#~])", r"\\\1", html.escape(text.strip(), quote=False))
    return "<br>".join(safe.splitlines()) or "(empty)"
