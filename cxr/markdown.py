"""Tables, pictures and numbers as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Tree = Mapping[str, Any]


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines]


def picture(name: str, title: str) -> str:
    return f"![{title}](../plots/{name}.png)"


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def span(found: Tree, low: str, high: str) -> str:
    return f"{number(found[low])} to {number(found[high])}"


def with_interval(found: Tree | None) -> str:
    return f"{number(found['value'])} ({span(found, 'low', 'high')})" if found else ""


def estimate(found: Tree, name: str) -> str:
    return f"{number(found[name])} ({span(found, name + '_low', name + '_high')})"
