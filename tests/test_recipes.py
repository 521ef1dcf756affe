"""A recipe changes the values it names in params.yaml, and nothing else."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from cxr import params
from cxr.recipes import apply
from tests.builders import ROOT, files_below, refused, write_params

RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
TEXT = (ROOT / "params.yaml").read_text()


@pytest.fixture
def target(tmp_path) -> Path:
    return write_params(tmp_path, {})


def recipe(target: Path, text: str) -> Path:
    path = target.parent / "mine.yaml"
    path.write_text(text)
    return path


def leaves(tree: dict, prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in tree.items():
        flat |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_repository_applies(target, path):
    wanted = leaves(YAML(typ="safe").load(path))
    before = leaves(YAML(typ="safe").load(target))
    apply(path, target)
    params.load(target)
    assert leaves(YAML(typ="safe").load(target)) == before | wanted
    assert files_below(target.parent) == ["params.yaml"]


def test_there_is_a_demo_without_download():
    demo = next(path for path in RECIPES if path.stem == "demo")
    assert YAML(typ="safe").load(demo)["download"]["source"] == "phantom"


def test_only_the_lines_of_changed_values_change(target):
    apply(recipe(target, "seed: 7\ntrain:\n  lr: 1e-05\nsplit:\n  ratios:\n    val: 0.1\n"), target)
    lines = zip(TEXT.splitlines(), target.read_text().splitlines(), strict=True)
    assert [new for old, new in lines if old != new] == ["seed: 7", "  lr: 1e-05"]


def test_lists_are_replaced(target):
    apply(recipe(target, "cluster:\n  classes:\n  - pneumonia\n  k: auto\n"), target)
    cluster = params.load(target).cluster
    assert (cluster.classes, cluster.k) == (["pneumonia"], "auto")


def assert_untouched(target: Path) -> None:
    assert target.read_text() == TEXT
    assert files_below(target.parent) == ["mine.yaml", "params.yaml"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train:\n  rate: 0.1\n", "unknown key train.rate; allowed here: members, epochs, batch_size, lr"),
        (
            "split:\n  ratios:\n    tran: 0.1\n",
            "unknown key split.ratios.tran; allowed here: train, val, test",
        ),
        ("trian:\n  lr: 0.1\n", "unknown key trian; allowed here: seed, compute"),
    ],
)
def test_unknown_key_is_refused(target, text, message):
    path = recipe(target, text)
    with refused(f"{path}: {message}"):
        apply(path, target)
    assert_untouched(target)


BAD_VALUES = [
    ("train:\n  lr: -1\n", "train.lr is -1; allowed: a number above 0"),
    ("split:\n  ratios:\n    val: 0.5\n", "split.ratios add up to 1.4"),
    ("train: 5\n", "train must be a section with the keys members"),
]


@pytest.mark.parametrize(("text", "message"), BAD_VALUES)
def test_value_that_is_not_allowed_is_refused(target, text, message):
    with refused(message):
        apply(recipe(target, text), target)
    assert_untouched(target)


@pytest.mark.parametrize(("text", "message"), BAD_VALUES)
def test_refusal_names_the_recipe(target, text, message):
    path = recipe(target, text)
    with refused(f"{path}: {message}"):
        apply(path, target)


@pytest.mark.parametrize(
    "text",
    ["", "- 1\n", "train: [\n", "train:\n  lr: 1\n  lr: 2\n", "train:\n  lr:\n    peak: 1\n"],
    ids=["empty", "list", "invalid", "duplicate", "section for a number"],
)
def test_recipe_that_is_no_tree_is_refused(target, text):
    path = recipe(target, text)
    with refused(str(path)):
        apply(path, target)
    assert_untouched(target)


def test_missing_recipe_names_those_there_are(target):
    path = recipe(target, "seed: 1\n").with_name("yours.yaml")
    with refused(f"{path}: no such recipe; there are mine, params"):
        apply(path, target)
    assert_untouched(target)
