"""Recipes: named sets of parameters in recipes/*.yaml.

A recipe holds the parameters that differ from recipes/default.yaml, which holds all of them, and a section
`about`: what it is, what it needs, and which results were published for it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.error import YAMLError

from cxr import params
from cxr.core.checked import Section, check_section
from cxr.core.errors import UserError
from cxr.core.files import atomic
from cxr.params import Params, load_params

FOLDER = Path("recipes")
DEFAULT = "default"


class About(Section):
    """weights: pretrained weights that it needs. hardware: that it needs. minutes: of a run on this hardware.
    published: test metrics by name."""

    summary: str
    weights: str
    hardware: str
    minutes: Annotated[float, Field(ge=0)]
    published: dict[str, float]


def yaml() -> YAML:
    """A YAML reader and writer that preserves comments and everything that is not changed."""
    handler = YAML()
    handler.width = 4096
    return handler


def recipe_names() -> list[str]:
    """Raises `UserError` outside of the repository, where there are no recipes."""
    if not FOLDER.is_dir():
        raise UserError(f"{FOLDER}/: no such folder; run from the repository's root")
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def about_recipe(name: str) -> About:
    """Raises `UserError` if there is no such recipe, or if its section `about` is incomplete."""
    path = _path(FOLDER / f"{name}.yaml")
    return check_section(About, _read(path).get("about"), path, "about")


def recipe_values(name: str) -> dict[str, Any]:
    """All parameters of the recipe `name`, by dotted key such as "train.lr"."""
    complete = dict(leaves(_read(_path(FOLDER / f"{DEFAULT}.yaml"))))
    return complete | dict(leaves(_read(_path(FOLDER / f"{name}.yaml"))))


def experiment_flags(name: str, target: Path = params.PATH) -> list[str]:
    """The `-S` flags of `dvc exp run` that turn `target` into the recipe."""
    now = dict(leaves(_read(target)))
    return [
        part
        for key, value in recipe_values(name).items()
        if now.get(key) != value
        for part in ("-S", _flag(key, value))
    ]


def switch_to(name: str, target: Path = params.PATH) -> None:
    """Write the recipe `name` into `target`, replacing all its values."""
    for recipe in (DEFAULT, name):
        apply_recipe(FOLDER / f"{recipe}.yaml", target)


def apply_recipe(recipe: Path, target: Path = params.PATH) -> None:
    """Write the recipe's values into `target`, keeping its comments.

    Raises `UserError`, and leaves `target` unchanged, for an unknown key or a value that is not allowed.
    """
    changes = _read(_path(recipe))
    if not isinstance(changes, dict):
        raise UserError(f"{recipe}: must be sections with keys, as in params.yaml")
    with changing_params({key: value for key, value in changes.items() if key != "about"}, target, recipe):
        pass


@contextmanager
def changing_params(changes: dict[str, Any], target: Path, blame: Path) -> Iterator[Params]:
    """Yield the parameters of `target` with `changes`, sections with keys, which are written into it, with
    its comments as they are, if the block succeeds.

    Raises `UserError`, which names `blame`, for an unknown key or a value that is not allowed.
    """
    handler = yaml()
    tree = handler.load(target)
    _merge(tree, changes)
    with atomic(target) as temporary:
        handler.dump(tree, temporary)
        yield load_params(temporary, blame=blame)


def _path(recipe: Path) -> Path:
    if not recipe.is_file():
        known = ", ".join(sorted(path.stem for path in recipe.parent.glob("*.yaml")))
        raise UserError(f"{recipe}: no such recipe; there are {known}")
    return recipe


def _read(recipe: Path) -> Any:
    try:
        return YAML(typ="safe").load(recipe)  # plain numbers and lists, as the checks and DVC expect
    except YAMLError:
        raise UserError(f"{recipe}: not valid YAML") from None


def leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a tree of sections, by dotted key, without the section `about`."""
    for key, value in tree.items():
        if not prefix and key == "about":
            continue
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _flag(key: str, value: Any) -> str:
    """In the syntax of DVC's parser: lists in brackets, true and false in lower case."""
    if isinstance(value, list):
        return f"{key}=[{','.join(map(str, value))}]"
    return f"{key}={str(value).lower() if isinstance(value, bool) else value}"


def _merge(tree: Any, changes: dict[str, Any]) -> None:
    """What does not fit the tree is inserted too: `load_params` then raises the error for it."""
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            _assign(tree, key, value)


def _assign(tree: Any, key: str, value: Any) -> None:
    """Set a value and keep the comment below it; ruamel has it at a scalar's key or a list's last item."""
    old = tree.get(key)
    comment = None
    if isinstance(old, CommentedSeq):
        comment = old.ca.items.get(len(old) - 1, [None])[0]
    elif key in tree.ca.items:
        comment = tree.ca.items.pop(key)[2]
    if isinstance(value, list):
        tree[key] = CommentedSeq(value)
        if comment:
            tree[key].ca.items[len(value) - 1] = [comment, None, None, None]
    else:
        tree[key] = value
        if comment:
            tree.ca.items[key] = [None, None, comment, None]
