"""A recipe changes the values it names in params.yaml, and nothing else."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from dvc.utils.hydra import apply_overrides
from ruamel.yaml import YAML
from sklearn.metrics import classification_report

from cxr import cli
from cxr.params import load_params
from cxr.recipes import about_recipe, apply_recipe, experiment_flags, switch_to
from scripts import recipe_table
from tests.builders import ROOT, files_below, refused, write_params

RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
TEXT = (ROOT / "params.yaml").read_text()


@pytest.fixture
def target(tmp_path) -> Path:
    return write_params(tmp_path, {})


def recipe(target: Path, text: str) -> Path:
    path = target.parent / "custom.yaml"
    path.write_text(text)
    return path


def leaves(tree: dict, prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in tree.items():
        flat |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return {key: value for key, value in flat.items() if not key.startswith("about.")}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_repository_applies(target, path):
    wanted = leaves(YAML(typ="safe").load(path))
    before = leaves(YAML(typ="safe").load(target))
    apply_recipe(path, target)
    load_params(target)
    assert leaves(YAML(typ="safe").load(target)) == before | wanted
    assert files_below(target.parent) == ["params.yaml"]


def test_default_recipe_is_what_is_committed(target, monkeypatch):
    monkeypatch.chdir(ROOT)
    default = next(path for path in RECIPES if path.stem == "default")
    assert leaves(YAML(typ="safe").load(default)) == leaves(YAML(typ="safe").load(ROOT / "params.yaml"))
    assert experiment_flags("default", target) == []


@pytest.mark.parametrize("name", recipe_table.STAND_INS)
def test_stand_ins_of_the_table_are_valid_parameters(target, name, monkeypatch):
    monkeypatch.chdir(ROOT)
    run = recipe_table.STAND_INS[name]
    switch_to(run.recipe, target)
    recipe_table.assign(target, run.changes)
    load_params(target)
    written = leaves(YAML(typ="safe").load(target))
    assert {key: written[key] for key in run.changes} == run.changes


@pytest.mark.parametrize("name", [path.stem for path in RECIPES])
def test_recipe_states_its_needs(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    about = about_recipe(name)
    assert about.summary
    assert about.minutes > 0


@pytest.mark.parametrize("name", ["maxvit_decomposition", "resnet18", "small_cnn"])
def test_published_figures_agree_with_each_other(name, monkeypatch):
    """All of them follow, to the digits published, from the numbers of correct test radiographs."""
    monkeypatch.chdir(ROOT)
    published = about_recipe(name).published
    sick = round(published["sensitivity"] * 390)
    healthy = round(published["accuracy"] * 624) - sick
    truth = np.repeat([0, 0, 1, 1], [healthy, 234 - healthy, 390 - sick, sick])
    decided = np.repeat([0, 1, 0, 1], [healthy, 234 - healthy, 390 - sick, sick])
    assert_agree(published, truth, decided, ["normal", "pneumonia"])


def test_published_figures_of_three_classes_follow_from_the_confusion_matrix(monkeypatch):
    monkeypatch.chdir(ROOT)
    table = np.array([[572, 107, 48], [10, 455, 3], [259, 0, 593]])
    truth, decided = (np.repeat(part.ravel(), table.ravel()) for part in np.indices((3, 3)))
    names = ["normal", "pneumonia", "tuberculosis"]
    assert_agree(about_recipe("efficientnet_two_phase").published, truth, decided, names)


def assert_agree(published, truth, decided, names):
    report = classification_report(truth, decided, target_names=names, output_dict=True)
    keys = {"f1": "f1-score"}
    for name, value in published.items():
        metric, _, part = name.partition("_")
        if name == "auc":
            continue
        if name in ("sensitivity", "specificity"):
            expected = report[names[name == "sensitivity"]]["recall"]
        elif name == "accuracy":
            expected = report["accuracy"]
        else:
            group = part if part in names else f"{part} avg"
            expected = report[group][keys.get(metric, metric)]
        assert value == pytest.approx(expected, abs=0.0006), name


@pytest.mark.parametrize("name", [path.stem for path in RECIPES])
def test_switching_there_and_back_keeps_every_comment(target, monkeypatch, name):
    monkeypatch.chdir(ROOT)
    switch_to(name, target)
    comments = [line for line in TEXT.splitlines() if "#" in line]
    assert [line for line in target.read_text().splitlines() if "#" in line] == comments
    switch_to("default", target)
    assert target.read_text() == TEXT


@pytest.mark.parametrize("name", [path.stem for path in RECIPES])
def test_flags_do_what_apply_does(target, monkeypatch, name):
    """With DVC's own parser of `-S` and its own function that changes the file."""
    monkeypatch.chdir(ROOT)
    given = experiment_flags(name, target)
    assert given[::2] == ["-S"] * (len(given) // 2)
    changed = target.parent / "changed.yaml"
    changed.write_text(TEXT)
    apply_overrides(changed, given[1::2])
    switch_to(name, target)
    assert leaves(YAML(typ="safe").load(changed)) == leaves(YAML(typ="safe").load(target))


def test_recipe_leaves_nothing_of_the_one_before(target, monkeypatch):
    monkeypatch.chdir(ROOT)
    switch_to("small_cnn", target)
    expected = leaves(YAML(typ="safe").load(target))
    switch_to("maxvit_decomposition", target)
    apply_overrides(target, experiment_flags("small_cnn", target)[1::2])
    assert leaves(YAML(typ="safe").load(target)) == expected
    switch_to("maxvit_decomposition", target)
    switch_to("small_cnn", target)
    assert leaves(YAML(typ="safe").load(target)) == expected


def test_there_is_a_demo_without_download():
    demo = next(path for path in RECIPES if path.stem == "demo")
    assert YAML(typ="safe").load(demo)["download"]["source"] == "phantom"


def test_only_the_lines_of_changed_values_change(target):
    apply_recipe(recipe(target, "seed: 7\ntrain:\n  lr: 1e-05\nsplit:\n  ratios:\n    val: 0.1\n"), target)
    lines = zip(TEXT.splitlines(), target.read_text().splitlines(), strict=True)
    assert [new for old, new in lines if old != new] == ["seed: 7", "  lr: 1e-05"]


def test_lists_are_replaced(target):
    apply_recipe(recipe(target, "cluster:\n  classes:\n  - pneumonia\n  k: auto\n"), target)
    cluster = load_params(target).cluster
    assert (cluster.classes, cluster.k) == (["pneumonia"], "auto")


def assert_untouched(target: Path) -> None:
    assert target.read_text() == TEXT
    assert files_below(target.parent) == ["custom.yaml", "params.yaml"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "train:\n  rate: 0.1\n",
            "unknown key train.rate; allowed here: members, processes, trainable, epochs, batch_size",
        ),
        (
            "split:\n  ratios:\n    tran: 0.1\n",
            "unknown key split.ratios.tran; did you mean train? allowed here: train, val, test",
        ),
        ("trian:\n  lr: 0.1\n", "unknown key trian; did you mean train? allowed here: seed, compute"),
    ],
)
def test_unknown_key_is_an_error(target, text, message):
    path = recipe(target, text)
    with refused(f"{path}: {message}"):
        apply_recipe(path, target)
    assert_untouched(target)


BAD_VALUES = [
    ("train:\n  lr: -1\n", "train.lr is -1; allowed: a number above 0"),
    ("split:\n  ratios:\n    val: 0.5\n", "split.ratios add up to 1.4"),
    ("train: 5\n", "train must be a section with the keys members"),
]


@pytest.mark.parametrize(("text", "message"), BAD_VALUES)
def test_value_that_is_not_allowed_is_an_error(target, text, message):
    with refused(message):
        apply_recipe(recipe(target, text), target)
    assert_untouched(target)


@pytest.mark.parametrize(("text", "message"), BAD_VALUES)
def test_error_names_the_recipe(target, text, message):
    path = recipe(target, text)
    with refused(f"{path}: {message}"):
        apply_recipe(path, target)


@pytest.mark.parametrize(
    "text",
    ["", "- 1\n", "train: [\n", "train:\n  lr: 1\n  lr: 2\n", "train:\n  lr:\n    peak: 1\n"],
    ids=["empty", "list", "invalid", "duplicate", "section for a number"],
)
def test_recipe_that_is_no_tree_is_an_error(target, text):
    path = recipe(target, text)
    with refused(str(path)):
        apply_recipe(path, target)
    assert_untouched(target)


def test_error_for_a_missing_recipe_lists_the_recipes(target):
    path = recipe(target, "seed: 1\n").with_name("yours.yaml")
    with refused(f"{path}: no such recipe; there are custom, params"):
        apply_recipe(path, target)
    assert_untouched(target)


def command(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["cxr", "recipe", *arguments])
    code = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, *capsys.readouterr()


@pytest.mark.parametrize("name", [path.stem for path in RECIPES])
@pytest.mark.parametrize("reader", ["xargs printf '%s\\n'", "eval \"printf '%s\\n' $(cat)\""])
def test_command_prints_flags_for_a_shell(tmp_path, monkeypatch, capsys, name, reader):
    """As in `cxr recipe NAME | xargs dvc exp run`, and pasted into a command: one argument for each value, of
    which some have spaces or brackets."""
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    monkeypatch.chdir(tmp_path)
    write_params(
        tmp_path, {"table.negative": "healthy", "cluster.classes": "all", "train.trainable": ["head"]}
    )
    code, out, _ = command(monkeypatch, capsys, name)
    assert code == 0
    words = subprocess.run(["sh", "-c", reader], input=out, capture_output=True, text=True, check=True).stdout
    assert words.split("\n")[:-1] == experiment_flags(name)
    assert "table.negative=No Finding" in experiment_flags(name)


def test_command_lists_what_each_needs(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    _, out, _ = command(monkeypatch, capsys, "--list")
    for path in RECIPES:
        assert re.search(rf"^{path.stem} .*\n +weights: .*minutes$", out, re.MULTILINE)


def test_command_writes_params(target, monkeypatch, capsys):
    (target.parent / "recipes").symlink_to(ROOT / "recipes")
    monkeypatch.chdir(target.parent)
    assert command(monkeypatch, capsys, "--apply", "small_cnn")[0] == 0
    assert load_params().model.backbone == "small_cnn"


@pytest.mark.parametrize(
    ("arguments", "message"), [([], "name a recipe: default, demo"), (["smal"], "no such recipe")]
)
def test_errors_of_the_command_list_the_recipes(monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(ROOT)
    code, out, err = command(monkeypatch, capsys, *arguments)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert message in err
    assert "small_cnn" in err
    assert err.count("\n") == 1
