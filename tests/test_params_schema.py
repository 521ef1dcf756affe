"""params.schema.json agrees with the models in cxr/params.py, and accepts and rejects the same files."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from ruamel.yaml import YAML

from cxr.recipes import apply_recipe
from scripts import params_schema
from tests.builders import ROOT, write_params

RECIPES = sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml"))
TEXT = (ROOT / "params.yaml").read_text()
SCHEMA = json.loads((ROOT / params_schema.SCHEMA).read_text())


def valid(path: Path) -> bool:
    return jsonschema_rs.Draft202012Validator(SCHEMA).is_valid(YAML(typ="safe").load(path))


def test_committed_file_is_the_generated_one(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert params_schema.text() == params_schema.SCHEMA.read_text(), "run `python -m scripts.params_schema`"


def test_command_writes_the_same_bytes(tmp_path, monkeypatch):
    write_params(tmp_path, {"train.lr": 0.5})  # values are no part of it
    monkeypatch.chdir(tmp_path)
    params_schema.main()
    assert params_schema.SCHEMA.read_bytes() == (ROOT / params_schema.SCHEMA).read_bytes()


def test_params_name_the_schema_for_editors():
    assert TEXT.splitlines()[0] == f"# yaml-language-server: $schema={params_schema.SCHEMA}"
    jsonschema_rs.meta.validate(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_keys_and_their_order_are_those_of_the_file():
    def keys(schema: dict[str, Any], tree: dict[str, Any]) -> None:
        assert list(schema["properties"]) == schema["required"] == list(tree)
        assert schema["additionalProperties"] is False
        for name, value in tree.items():
            if isinstance(value, dict):
                keys(schema["properties"][name], value)

    keys(SCHEMA, YAML(typ="safe").load(TEXT))


def test_comments_are_the_descriptions():
    descriptions = params_schema.comments(TEXT)
    lines = [line for line in TEXT.splitlines() if line.lstrip().startswith("#")]
    head = TEXT.split("\n\n")[0].splitlines()
    assert sum(comment.count("\n") + 1 for comment in descriptions.values()) == len(lines) - len(head)
    train = SCHEMA["properties"]["train"]["properties"]
    assert train["lr"]["description"].startswith("learning rate: peak of the one-cycle schedule")
    assert train["schedule"]["description"].startswith("one_cycle, cosine, plateau (multiplied by ")
    assert "description" not in train["epochs"]  # has no comment in params.yaml
    assert "description" not in SCHEMA["properties"]["compute"]  # only its first key has a comment
    assert descriptions[("split", "by_patient")].startswith("stratified and stratified_train: keep")


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_valid(tmp_path, name):
    path = write_params(tmp_path, {})
    assert valid(path)
    apply_recipe(ROOT / "recipes" / f"{name}.yaml", path)
    assert valid(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train.lr", 1e-05),
        ("train.lr", 1),
        ("cluster.k", "auto"),
        ("cluster.classes", ["normal"]),
        ("imbalance.class_weights", [1, 0.5]),
        ("calibrate.threshold", 0.5),
        ("model.backbone", "timm:resnet18.a1_in1k"),
    ],
)
def test_allowed_value_is_valid(tmp_path, key, value):
    assert valid(write_params(tmp_path, {key: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train.lr", 0),
        ("train.lr", "1e-3 "),
        ("train.lr", True),
        ("train.lrr", 0.1),
        ("trian", {}),
        ("train", {}),
        ("train.precision", "fp16"),
        ("train.epochs", 1.5),
        ("train.epochs", 0),
        ("train.members", 101),
        ("cluster.k", "many"),
        ("cluster.classes", []),
        ("imbalance.class_weights", [1.0, 0]),
        ("model.dropout", 1),
        ("model.weights", "file:a/b"),
        ("model.weights", "imagenet2"),
        ("split.by_patient", "yes"),
    ],
)
def test_impossible_value_is_not_valid(tmp_path, key, value):
    assert not valid(write_params(tmp_path, {key: value}))
