"""Sections of a YAML file, checked by pydantic: an error is one line with what is wrong and what is
allowed."""

from collections.abc import Iterator
from difflib import get_close_matches
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, Self, TypeGuard, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from cxr.core.errors import UserError


class Section(BaseModel):
    """Strict: no key is missing or unknown, text is not read as a number, nor a bool as an integer, and
    numbers are finite. An integer becomes a float where the type is float."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def replace(self, **changes: Any) -> Self:
        """A copy with other values. Raises `pydantic.ValidationError` if they are not allowed."""
        return self.model_validate(dict(self) | changes)


AnySection = TypeVar("AnySection", bound=Section)


def check_section(model: type[AnySection], tree: Any, path: Path, *prefix: str) -> AnySection:
    """`tree` as a `model`. path: the file that an error names. prefix: the sections of that file that contain
    the tree.

    Raises `UserError` for the first unknown key, else the first missing one, else the first value that is not
    allowed, in the order of the model's fields.
    """
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        # A misspelt key is both unknown and missing; the unknown name is more helpful.
        first = min(details, key=lambda detail: _RANK.get(detail["type"], 2))
        text = _describe(first, model, tree, path, prefix)
    raise UserError(f"{path}: {text}")


# pydantic's names of errors
_UNKNOWN, _NO_NAME, _MISSING, _NO_SECTION = "extra_forbidden", "invalid_key", "missing", "model_type"
_RANK = {_UNKNOWN: 0, _NO_NAME: 0, _MISSING: 1}


def _describe(
    error: ErrorDetails, model: type[Section], tree: Any, path: Path, prefix: tuple[str, ...]
) -> str:
    kind, loc = error["type"], error["loc"]
    sections = _sections(model, loc)
    inner, names = sections[-1], ", ".join(sections[-1].model_fields)
    if kind in (_UNKNOWN, _NO_NAME):
        suggestion = _suggestion(str(loc[-1]), model, inner, prefix)
        return f"unknown key {_dotted(*prefix, *loc)};{suggestion} allowed here: {names}"
    if kind == _MISSING:
        return f"missing key {_dotted(*prefix, *loc)}; `git diff {path}` shows what was removed"
    if kind == _NO_SECTION:
        return f"{_dotted(*prefix, *loc) or 'the file'} must be a section with the keys {names}"
    # After the field's name, `loc` has items of a list, or pydantic's names of alternatives.
    keys = loc[: len(sections)]
    allowed = _allowed(inner.model_json_schema()["properties"][keys[-1]])
    return f"{_dotted(*prefix, *keys)} is {reduce(getitem, keys, tree)!r}; allowed: {allowed}"


def _sections(model: type[Section], loc: tuple[int | str, ...]) -> list[type[Section]]:
    """The nested sections that contain `loc`, outermost first."""
    sections = [model]
    for name in loc:
        field = sections[-1].model_fields.get(str(name))
        if field is None or not _is_section(field.annotation):
            break
        sections.append(field.annotation)
    return sections


def _is_section(annotation: Any) -> TypeGuard[type[Section]]:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _dotted(*parts: int | str) -> str:
    """The parts of a key joined by dots; one that is not printable, such as a line break, is quoted."""
    return ".".join(text if (text := str(part)).isprintable() else repr(text) for part in parts)


def _suggestion(name: str, model: type[Section], inner: type[Section], prefix: tuple[str, ...]) -> str:
    """Which key `name` may be meant for: that key of another section, else a similar one of `inner`."""
    elsewhere = [_dotted(*keys) for keys in _keys(model, prefix) if keys[-1] == name]
    candidates = elsewhere or get_close_matches(name, inner.model_fields, n=1)
    return f" did you mean {' or '.join(candidates)}?" if candidates else ""


def _keys(model: type[Section], prefix: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """All keys, of sections too, each after the sections that contain it."""
    for name, field in model.model_fields.items():
        yield (*prefix, name)
        if _is_section(field.annotation):
            yield from _keys(field.annotation, (*prefix, name))


_BOUNDS = {
    "minimum": "{} or more",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
}


def _allowed(schema: dict[str, Any]) -> str:
    """The values that a JSON schema allows, in words. For a pattern this is its `patternErrorMessage`, which
    editors show too."""
    if "anyOf" in schema:
        return " or ".join(map(_allowed, schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return ", ".join(schema.get("enum", [schema.get("const")]))
    match schema["type"]:
        case "boolean":
            return "true or false"
        case "string":
            return str(schema.get("patternErrorMessage", "text"))
        case "array":
            items = _allowed(schema["items"])
            return "a list of names" if items == "text" else f"a list, each {items}"
        case "object":
            return f"keys, each with {_allowed(schema['additionalProperties'])}"
    kind = "a whole number" if schema["type"] == "integer" else "a number"
    limits = [text.format(schema[key]) for key, text in _BOUNDS.items() if key in schema]
    return " ".join([kind, " and ".join(limits)]).strip()
