"""Recipes: named sets of parameters in recipes/*.yaml, each a part of params.yaml's tree."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cxr import params
from cxr.errors import UserError
from cxr.files import atomic


def yaml() -> YAML:
    """Reads and writes params.yaml so that comments and everything not changed stay as they are."""
    handler = YAML()
    handler.width = 4096
    return handler


def apply(recipe: Path, target: Path = params.PATH) -> None:
    """Write the recipe's values into `target`, keeping its comments.

    Raises `UserError`, and leaves `target` as it was, if the recipe has a key that params.yaml does not
    have, or a value that it does not allow.
    """
    if not recipe.is_file():
        known = ", ".join(sorted(path.stem for path in recipe.parent.glob("*.yaml")))
        raise UserError(f"{recipe}: no such recipe; there are {known}")
    handler = yaml()
    tree = handler.load(target)
    try:
        changes = handler.load(recipe)
    except YAMLError:
        raise UserError(f"{recipe}: not valid YAML") from None
    _merge(tree, changes, "", recipe)
    with atomic(target) as temporary:
        handler.dump(tree, temporary)
        params.load(temporary, blame=recipe)


def _merge(tree: Any, changes: Any, prefix: str, recipe: Path) -> None:
    if not isinstance(changes, dict):
        where = prefix.rstrip(".") or "the file"
        raise UserError(f"{recipe}: {where} must be a section with the keys {', '.join(tree)}")
    for key, value in changes.items():
        if key not in tree:
            raise UserError(f"{recipe}: unknown key {prefix}{key}; allowed here: {', '.join(tree)}")
        if isinstance(tree[key], dict):
            _merge(tree[key], value, f"{prefix}{key}.", recipe)
        else:
            tree[key] = value
