"""Write params.schema.json, by which editors complete and check params.yaml.

    python -m scripts.params_schema

Types and limits are those of `cxr.params`; a key's description is the comment above it in params.yaml.
"""

import json
import re
from pathlib import Path
from typing import Any

from cxr.params import PATH, Params

SCHEMA = Path("params.schema.json")
KEY = re.compile(r"( *)([a-z_0-9]+):")


def main() -> None:
    SCHEMA.write_text(text(), encoding="utf-8")


def text() -> str:
    """JSON Schema, draft 2020-12. Stricter than it can say: `load` takes 3.0 for no integer, and checks that
    the ratios add up to 1."""
    schema = Params.model_json_schema()
    schema = _plain(schema, schema.pop("$defs"))
    for keys, comment in comments(PATH.read_text(encoding="utf-8")).items():
        node = schema
        for key in keys:
            node = node["properties"][key]
        node["description"] = comment
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "params.yaml"} | schema
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _plain(node: Any, definitions: dict[str, Any]) -> Any:
    """Without references, since each section has descriptions of its own, and without what pydantic takes
    from Python: titles are names of attributes, descriptions docstrings."""
    if isinstance(node, list):
        return [_plain(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _plain(definitions[node["$ref"].split("/")[-1]], definitions)
    kept = {key: value for key, value in node.items() if key not in ("title", "description")}
    return {key: _plain(value, definitions) for key, value in kept.items()}


def comments(yaml: str) -> dict[tuple[str, ...], str]:
    """By key with its sections: the comment lines directly above it, as indented as it is. yaml: nested
    sections in block style, as params.yaml is written."""
    found: dict[tuple[str, ...], str] = {}
    path: list[tuple[int, str]] = []  # indentation and name of each section around the line
    above: list[str] = []
    for line in yaml.splitlines():
        if line.lstrip().startswith("# "):
            above.append(line.lstrip()[2:])
            continue
        if match := KEY.match(line):
            indent = len(match[1])
            path = [*((depth, name) for depth, name in path if depth < indent), (indent, match[2])]
            if above:
                found[tuple(name for _, name in path)] = "\n".join(above)
        above = []
    return found


if __name__ == "__main__":
    main()
