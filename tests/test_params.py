"""params.yaml is loaded as checked, typed sections, and every mistake in it is an error of one line."""

import io
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from cxr import recipes
from cxr.params import Params, load_params
from cxr.recipes import apply_recipe
from tests.builders import ROOT, refused, write_params

TEXT = (ROOT / "params.yaml").read_text()
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
EVALUATE = TEXT.split("evaluate:\n")[1].split("\n\n")[0]


def edited(folder: Path, old: str, new: str) -> Path:
    assert TEXT.count(old) == 1
    path = folder / "params.yaml"
    path.write_text(TEXT.replace(old, new))
    return path


@pytest.mark.parametrize("recipe", [None, *RECIPES], ids=lambda path: path.stem if path else "as committed")
def test_sections_are_the_tree_of_the_file(tmp_path, recipe):
    """Why cxr/params.py is a dep of no stage: `load_params` returns the values of the YAML file or raises an
    error, so no code in it can change what a stage gets."""
    path = write_params(tmp_path, {})
    if recipe:
        apply_recipe(recipe, path)
    assert load_params(path).model_dump() == YAML(typ="safe").load(path)


def test_sections_can_be_pickled_and_are_immutable():
    params = load_params(ROOT / "params.yaml")
    assert pickle.loads(pickle.dumps(params)) == params
    with pytest.raises(ValidationError, match="frozen"):
        params.train.lr = 1.0


def test_repr_of_sections_distinguishes_every_value():
    """`cxr.core.resuming.resume_key` hashes it."""
    params = load_params(ROOT / "params.yaml")
    changed = params.replace(train=params.train.replace(lr=0.0030000000000000005))
    assert repr(load_params(ROOT / "params.yaml")) == repr(params) != repr(changed)
    for section in Params.model_fields:
        assert repr(getattr(params, section)) in repr(params)


def test_copy_is_checked_like_a_file():
    train = load_params(ROOT / "params.yaml").train
    assert train.replace(lr=1, epochs=3).model_dump() == train.model_dump() | {"lr": 1.0, "epochs": 3}
    for changes in ({"lr": -1}, {"lrr": 1.0}):
        with pytest.raises(ValidationError):
            train.replace(**changes)


def test_edge_values_are_allowed(tmp_path):
    path = write_params(
        tmp_path,
        {"seed": 2**32 - 1, "augment.flip": 1, "augment.rotation": 180, "train.weight_decay": 0}
        | {"cluster.k": "auto", "cluster.classes": ["normal"], "calibrate.threshold": 0.5},
    )
    params = load_params(path)
    assert params.seed == 2**32 - 1
    assert (params.augment.flip, params.augment.rotation, params.train.weight_decay) == (1, 180, 0)
    assert (params.cluster.k, params.cluster.classes, params.calibrate.threshold) == ("auto", ["normal"], 0.5)


@pytest.mark.parametrize(
    ("written", "value"),
    [("1e-05", 1e-5), ("1e-5", 1e-5), ("1.0E-5", 1e-5), ("2", 2.0), (".5", 0.5)],
    ids=["as DVC writes it", "without the zero", "capital E", "whole number", "no leading zero"],
)
def test_number_arrives_as_float(tmp_path, written, value):
    lr = load_params(edited(tmp_path, "lr: 0.003", f"lr: {written}")).train.lr
    assert type(lr) is float
    assert lr == value


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("model.weights", "file:a/b", "none, imagenet or file:<name>"),
        ("model.weights_sha256", "383ea", "none, or 64 hexadecimal digits"),
        ("imbalance.class_weights", [1.0, -1.0], "balanced, inverse or a list, each a number above 0"),
        ("imbalance.class_weights", [], "balanced, inverse or a list"),
        ("finetune.trainable", [1], "all, head or a list of names"),
        ("train.lr", -1, "a number above 0"),
        ("train.lr", 0, "a number above 0"),
        ("train.lr", math.nan, "a number above 0"),
        ("train.lr", math.inf, "a number above 0"),
        ("train.lr", "fast", "a number above 0"),
        ("train.lr", 10**400, "a number above 0"),
        ("train.lr", {"peak": 1}, "a number above 0"),
        ("train.lr", True, "a number above 0"),
        ("train.lr", None, "a number above 0"),
        ("train.lr", [0.1], "a number above 0"),
        ("train.lr", "1\n2", "a number above 0"),
        ("train.epochs", 0, "a whole number 1 or more"),
        ("train.epochs", True, "a whole number 1 or more"),
        ("train.epochs", 3.0, "a whole number 1 or more"),
        ("train.batch_size", 1, "a whole number 2 or more"),
        ("train.members", 101, "a whole number 1 or more and at most 100"),
        ("train.precision", "fp16", "auto, bf16, float32"),
        ("train.label_smoothing", 1, "a number 0 or more and below 1"),
        ("train.weight_decay", -0.1, "a number 0 or more"),
        ("model.backbone", "ResNet 19", "compact_cnn, small_cnn, resnet18_28, a classifier of torchvision"),
        ("model.dropout", 1.0, "a number 0 or more and below 1"),
        ("split.by_patient", 1, "true or false"),
        ("split.by_patient", "yes", "true or false"),
        ("augment.flip", 1.01, "a number 0 or more and at most 1"),
        ("augment.rotation", -5, "a number 0 or more and at most 180"),
        ("augment.scale", 1, "a number 0 or more and below 1"),
        ("clip_embed.encoder", "vit", "pixels"),
        ("clip_embed.dimensions", 0, "a whole number 2 or more and at most 4096"),
        (
            "download.source",
            "kaggle",
            "pneumoniamnist, chest_xray_pneumonia, chest_xray_3class, folder, table, phantom or "
            "medmnist:<name>, such as medmnist:organamnist",
        ),
        (
            "download.source",
            "medmnist: breastmnist",
            "phantom or medmnist:<name>, such as medmnist:organamnist",
        ),
        ("download.size", 8, "a whole number 16 or more and at most 1024"),
        ("download.folder", 7, "text"),
        ("table.layout", "padchest", "own, nih, chexpert, vindr, mimic"),
        ("table.columns.path", 7, "text"),
        ("table.views", [], "all or a list of names"),
        ("table.labels", "some", "any or a list of names"),
        ("table.others", "ignore", "leave_out, negative"),
        ("table.uncertain", "negative", "ignore, ones, zeros"),
        ("table.max_broken", 1, "a number 0 or more and below 1"),
        ("phantom.images", 59, "a whole number 60 or more"),
        ("split.method", "random", "published, stratified, stratified_train"),
        ("split.ratios.val", 0, "a number above 0 and below 1"),
        ("split.by_patient", 0, "true or false"),
        ("model.weights_sha256", "a" * 64 + "\n", "none, or 64 hexadecimal digits"),
        ("cluster.classes", "minority", "majority, all or a list of names"),
        ("cluster.classes", [], "majority, all or a list of names"),
        ("cluster.classes", ["normal", 3], "majority, all or a list of names"),
        ("cluster.k", 1, "a whole number 2 or more and at most 100 or auto"),
        ("cluster.k", "many", "a whole number 2 or more and at most 100 or auto"),
        ("cluster.k_max", "auto", "a whole number 2 or more and at most 100"),
        (
            "imbalance.strategy",
            "oversample",
            "none, class_weights, sampler, focal, logit_adjustment, decompose, both",
        ),
        ("calibrate.threshold", 1, "a number above 0 and below 1 or youden, sensitivity, specificity"),
        ("calibrate.threshold", "accuracy", "youden, sensitivity, specificity"),
        ("calibrate.target", 0, "a number above 0 and at most 1"),
        ("calibrate.target", 1.01, "a number above 0 and at most 1"),
        ("evaluate.prevalence", 0, "a number above 0 and below 1 or train, uniform"),
        ("evaluate.prevalence", "test", "train, uniform"),
        ("evaluate.bootstrap", 99, "a whole number 100 or more"),
        ("compute.device", "tpu", "auto, cpu, cuda"),
        ("compute.threads", 0, "a whole number 1 or more"),
        ("compute.workers", 0, "a whole number 1 or more and at most 256 or auto"),
        ("seed", -1, "a whole number 0 or more"),
        ("seed", 2**32, "at most 4294967295"),
    ],
)
def test_impossible_value_is_an_error(tmp_path, key, value, allowed):
    path = write_params(tmp_path, {key: value})
    with refused(f"{path}: {key} is {value!r}; allowed: ", allowed):
        load_params(path)


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("  lr: 0.003", "  learning_rate: 0.003", ("unknown key train.learning_rate", "lr, weight_decay")),
        ("    train: 0.7", "    tran: 0.7", ("unknown key split.ratios.tran", "train, val, test")),
        ("seed: 0\n\ncompute", "sead: 0\n\ncompute", ("unknown key sead", "seed, compute, download")),
        ("  lr: 0.003", "  lrr: 0.003", ("unknown key train.lrr; did you mean lr? allowed here: members, ",)),
        (
            "    val: 0.1",
            "    vall: 0.1",
            ("unknown key split.ratios.vall; did you mean val? allowed here: tr",),
        ),
        (
            "seed: 0\n\ncompute",
            "lr: 1\n\ncompute",
            ("key lr; did you mean train.lr or finetune.lr? allowed",),
        ),
        ("  lr: 0.003", "  zzz: 0.003", ("unknown key train.zzz; allowed here: members, ",)),
        ("  lr: 0.003", "  lr: 0.003\n  1: 2", ("unknown key train.1; allowed here: members, ",)),
        ("  lr: 0.003", '  lr: 0.003\n  "a\\nb": 2', ("unknown key train.'a\\nb'; allowed here: members, ",)),
        ("  dropout: 0.3\n", "", ("missing key model.dropout", "git diff")),
        ("    val: 0.1\n", "", ("missing key split.ratios.val",)),
        ("calibrate:\n", "calibrate: 3\nx:\n", ("unknown key x",)),
        (EVALUATE, "", ("evaluate must be a section with the keys bootstrap, prevalence",)),
        (
            "  ratios:\n    train: 0.7\n    val: 0.1\n    test: 0.2\n",
            "  ratios: 1\n",
            ("split.ratios must be",),
        ),
        ("    train: 0.7", "    train: 0.8", ("split.ratios add up to 1.1", "must add up to 1")),
        ("    train: 0.7", "    train: 0.6", ("split.ratios add up to 0.9", "must add up to 1")),
        ("  lr: 0.003", "  lr: 0.003\n  lr: 0.1", ("not valid YAML in line",)),
        ("  lr: 0.003", "  lr: [0.003", ("not valid YAML in line",)),
        ("  lr: 0.003", "\tlr: 0.003", ("not valid YAML in line",)),
    ],
    ids=[
        *("unknown", "unknown nested", "unknown at the top"),
        *("similar", "similar nested", "of another section"),
        *("none is similar", "number as key", "two lines", "missing", "missing nested", "stray section"),
        *(
            "empty section",
            "number for a section",
            "ratios above",
            "ratios below",
            "duplicate key",
            "unclosed list",
            "tab",
        ),
    ],
)
def test_broken_tree_is_an_error(tmp_path, old, new, parts):
    path = edited(tmp_path, old, new)
    with refused(str(path), *parts):
        load_params(path)


def test_first_mistake_is_reported(tmp_path):
    """Unknown keys first, then missing keys, then values; of each kind the first in the file."""
    tree = recipes.yaml().load(TEXT)
    path = tmp_path / "params.yaml"

    def assert_reported(message: str) -> None:
        recipes.yaml().dump(tree, path)
        with refused(f"{path}: {message}"):
            load_params(path)

    tree["seed"], tree["report"]["cases"] = -1, -1
    assert_reported("seed is -1")
    del tree["index"]["kind"], tree["report"]["writer"]
    assert_reported("missing key index.kind")
    tree["report"]["casess"] = tree["report"]["another"] = 1
    assert_reported("unknown key report.casess")
    tree["index"]["another"] = 1
    assert_reported("unknown key index.another")


def test_invalid_yaml_names_the_line(tmp_path):
    line = TEXT[: TEXT.index("  lr: 0.003")].count("\n") + 2  # the second of two equal keys
    with refused(f"not valid YAML in line {line};"):
        load_params(edited(tmp_path, "  lr: 0.003", "  lr: 0.003\n  lr: 0.1"))


@pytest.mark.parametrize("content", [b"", b"- 1\n", b"text\n"], ids=["empty", "list", "text"])
def test_file_that_is_no_mapping_is_an_error(tmp_path, content):
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with refused(f"{path}: the file must be a section with the keys seed, compute"):
        load_params(path)


def test_bytes_that_are_no_text_are_an_error(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_bytes(b"seed: \xff\xfe")
    with refused(f"{path}: not valid YAML"):
        load_params(path)


def test_missing_file_is_an_error(tmp_path):
    with refused(f"{tmp_path / 'params.yaml'}: no such file", "repository's root"):
        load_params(tmp_path / "params.yaml")


def test_ratios_may_have_rounding_errors(tmp_path):
    thirds: dict[str, Any] = {f"split.ratios.{name}": 0.3333333 for name in ("train", "val")}
    assert (
        load_params(write_params(tmp_path, thirds | {"split.ratios.test": 0.3333334})).split.ratios.val
        == 0.3333333
    )


def test_file_survives_a_round_trip_unchanged():
    # Otherwise `dvc exp run -S` would rewrite lines that nobody changed.
    handler, stream = recipes.yaml(), io.StringIO()
    handler.dump(handler.load(TEXT), stream)
    assert stream.getvalue() == TEXT


def test_changing_one_value_changes_one_line(tmp_path):
    lines = write_params(tmp_path, {"train.lr": 1e-5}).read_text().splitlines()
    changed = [(a, b) for a, b in zip(TEXT.splitlines(), lines, strict=True) if a != b]
    assert changed == [("  lr: 0.003", "  lr: 1e-05")]
