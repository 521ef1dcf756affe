"""Typed, checked sections of a YAML tree: dataclasses say what is allowed, one line says what is wrong."""

import math
import re
import types
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from cxr.core.errors import UserError

LARGEST = 1e300


@dataclass(frozen=True)
class Limits:
    """Numbers from `low` to `high`, either end excluded if the matching flag is set."""

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False

    def allow(self, value: float) -> bool:
        over = value > self.low if self.above else value >= self.low
        under = value < self.high if self.below else value <= self.high
        return over and under

    def __str__(self) -> str:
        low = f"above {self.low:g}" if self.above else f"{self.low:g} or more"
        if math.isinf(self.high):
            return low
        high = f"below {self.high:g}" if self.below else f"at most {self.high:g}"
        return f"{low} and {high}"


@dataclass(frozen=True)
class Form:
    """Text that matches `pattern` as a whole; `meaning` says so to people."""

    pattern: str
    meaning: str

    def allow(self, value: str) -> bool:
        return re.fullmatch(self.pattern, value) is not None

    def __str__(self) -> str:
        return self.meaning


def section(cls: Any, tree: Any, prefix: str, path: Path) -> Any:
    """`tree` as an instance of the dataclass `cls`. prefix: the dotted name of the section, "" for the file.

    Raises `UserError` for the first unknown or missing key, wrong type or impossible value.
    """
    names = [field.name for field in fields(cls)]
    if not isinstance(tree, dict):
        raise UserError(f"{path}: {prefix or 'the file'} must be a section with the keys {', '.join(names)}")
    dot = f"{prefix}." if prefix else ""
    for key in tree:
        if key not in names:
            raise UserError(f"{path}: unknown key {dot}{key}; allowed here: {', '.join(names)}")
    for name in names:
        if name not in tree:
            raise UserError(f"{path}: missing key {dot}{name}; `git diff {path}` shows what was removed")
    hints = get_type_hints(cls, include_extras=True)
    return cls(**{name: _value(hints[name], tree[name], dot + name, path) for name in names})


def _value(hint: Any, value: Any, key: str, path: Path) -> Any:
    if is_dataclass(hint):
        return section(hint, value, key, path)
    alternatives = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    for alternative in alternatives:
        found, result = _match(alternative, value)
        if found:
            return result
    allowed = " or ".join(_describe(alternative) for alternative in alternatives)
    raise UserError(f"{path}: {key} is {value!r}; allowed: {allowed}")


def _match(hint: Any, value: Any) -> tuple[bool, Any]:
    """Whether `value` fits `hint`, and the value as that type (an int becomes a float where one is due)."""
    if get_origin(hint) is Annotated:
        base, limits = get_args(hint)
        found, result = _match(base, value)
        return found and limits.allow(result), result
    if get_origin(hint) is Literal:
        return type(value) is str and value in get_args(hint), value
    if get_origin(hint) is list:
        if not isinstance(value, list) or not value:
            return False, value
        (of,) = get_args(hint)
        items = [_match(of, item) for item in value]
        return all(found for found, _ in items), [item for _, item in items]
    if get_origin(hint) is dict:
        of_key, of_value = get_args(hint)
        fits = isinstance(value, dict) and all(
            type(key) is of_key and _match(of_value, item)[0] for key, item in value.items()
        )
        return fits, dict(value) if fits else value
    if hint is float:
        number = type(value) in (int, float) and -LARGEST <= value <= LARGEST  # so not NaN or infinite
        return number, float(value) if number else value
    return type(value) is hint, value


def _describe(hint: Any) -> str:
    if get_origin(hint) is Annotated:
        base, limits = get_args(hint)
        return str(limits) if base is str else f"{_describe(base)} {limits}"
    if get_origin(hint) is Literal:
        return ", ".join(get_args(hint))
    if get_origin(hint) is list:
        (of,) = get_args(hint)
        return "a list of names" if of is str else f"a list, each {_describe(of)}"
    if get_origin(hint) is dict:
        return f"keys, each with {_describe(get_args(hint)[1])}"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[hint]
