"""Three classes through what reads a run: card, compare, leaderboard, recipe table, service and page.

(The stages themselves: tests/pipeline/test_pipeline.py; `cxr validate`: tests/commands/validate.)
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import sync_playwright

from benchmarks.broken_images import encoded
from cxr.commands.leaderboard import experiments, leaderboard
from cxr.core.files import read_csv, read_json, sha256, write_json
from cxr.inference.predictions import load_predictions, save_predictions
from cxr.recipes import recipe_values
from scripts import recipe_table, workspace
from scripts.running_service import serving
from service.app import create_app
from service.settings import Settings
from tests.builders import ROOT, noise_images
from tests.service.test_page import CHROMIUM, FLAGS

CLASSES = ["normal", "pneumonia", "tuberculosis"]
IMAGE = encoded(noise_images(1, 40)[0], "PNG")


@pytest.fixture
def place(three_class_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what the run leaves in Git, as the working directory."""
    for folder in ("metrics", "plots", "reports"):
        shutil.copytree(three_class_run / folder, tmp_path / folder)
    shutil.copyfile(three_class_run / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_card_has_tables_by_class(place: Path) -> None:
    card = Path("reports/model_card.md").read_text()
    released = read_json("metrics/details.json")["test"]["decisions"]["released"]
    by_class = card.split("| Class | Precision |")[1].split("\n\n")[0]
    for name in CLASSES:
        recall = released["per_class"][name]["recall"]
        cell = f"{recall['value']:.3f} ({recall['low']:.3f} to {recall['high']:.3f})"
        (row,) = [line for line in by_class.splitlines() if line.startswith(f"| {name} |")]
        assert row.split(" | ")[2] == cell
        counts = released["confusion"][CLASSES.index(name)]
        assert f"| {name} | {' | '.join(map(str, counts))} |" in card
        assert f"| {name} | " in card.split("| Class against the rest |")[1].split("\n\n")[0]
    for name in ("macro", "weighted"):
        assert f"| {name} average |" in card
    for name in ("confusion", "roc", "precision_recall", "learning_curve", "subclass_counts"):
        assert f"](../plots/{name}.png)" in card
        assert Path(f"plots/{name}.png").is_file()


def test_compare_has_a_verdict(place: Path, run) -> None:
    for path in place.iterdir():
        if path.name not in ("metrics", "params.yaml"):
            shutil.rmtree(path)
    workspace.call(place, "git", "init", "--quiet", "--initial-branch=main")
    workspace.commit(place, "a run")
    better = load_predictions()
    right = np.eye(3)[better.labels]
    for p in (better.ensemble, better.members):
        p[:] = 0.1 * p + 0.9 * right
    save_predictions(better)
    code, out, err = run("compare", "main")
    assert (code, err) == (0, [])
    assert out[0].startswith("**No verdict: one side has 2 members, ")
    assert "test macro AUC +0." in out[0]
    assert any(line.startswith("| `auc_ovr_macro` |") for line in out)
    assert any(line.startswith("| `balanced_accuracy` |") for line in out)


def test_leaderboard_ranks_by_the_one_vs_rest_auc(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = read_json("metrics/test.json")
    metrics = {
        f"{name}.{key}": value[key]
        for name, value in test.items()
        if name != "majority_baseline"
        for key in ("mean", "ensemble")
    }
    head = {"rev": "main", "Experiment": None, "State": None, **metrics}
    worse = head | {"rev": "aaaaaaa", "Experiment": "worse", "train.lr": 0.1, "auc_ovr_macro.mean": 0.1}
    monkeypatch.setattr("dvc.api.exp_show", lambda: [worse, head])
    lines = leaderboard(experiments())
    assert lines[0].split()[2:4] == ["auc_ovr_macro.mean", "auc_ovr_macro.ensemble"]
    assert lines[1].split()[-6] == f"{test['auc_ovr_macro']['mean']:.4f}"
    assert lines[2].split()[-6] == "0.1000"


def test_recipe_table_has_the_metrics_of_three_classes(
    three_class_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the runs themselves, which the stages of `three_class_run` stand for."""
    name, runs = "efficientnet_two_phase", []
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(recipe_table, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(recipe_table, "RESULTS", tmp_path / "recipes.csv")

    def finished(copy: Path, *command: str) -> None:
        runs.append(command)
        details = {"test": {"members": [members[len(runs) % 2]]}}  # of one member, as in the recipe
        write_json(copy / "metrics/details.json", details)
        spec = read_json(three_class_run / "models/classifier.json")
        spec |= {"backbone": "efficientnet_b0", "input_size": 160, "outputs": CLASSES, "logits": 3}
        spec |= {"output_classes": [0, 1, 2], "mean": [0.5] * 3, "std": [0.2] * 3}
        (copy / "models").mkdir(exist_ok=True)
        (copy / "models/classifier.json").write_text(json.dumps(spec))

    def copied(source: Path, target: Path) -> None:
        target.mkdir(parents=True)
        shutil.copyfile(source / "params.yaml", target / "params.yaml")

    members = read_json(three_class_run / "metrics/details.json")["test"]["members"]
    monkeypatch.setattr(workspace, "copy_tracked", copied)
    monkeypatch.setattr(workspace, "call", finished)
    recipe_table.keep(name, recipe_table.measured(name))
    assert runs == [("dvc", "repro", "evaluate")] * 5
    rows = read_csv(tmp_path / "recipes.csv")
    metrics = ["auc_ovr_macro", "accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "nll"]
    assert [row["metric"] for row in rows] == metrics
    for row in rows:
        values = [members[number % 2][row["metric"]] for number in range(1, 6)]
        assert float(row["mean"]) == pytest.approx(np.mean(values), abs=1e-6)
        assert float(row["std"]) == pytest.approx(np.std(values, ddof=1), abs=1e-6)
    (line,) = [line for line in recipe_table.table().splitlines() if line.startswith(f"| `{name}`")]
    assert f"f1_weighted {float(rows[4]['mean']):.4f} ± " in line
    assert recipe_values(name)["split.method"] == "stratified_train"
    assert "10 % of the source's train, cut anew; not comparable with its own test" in line


def test_service_serves_three_classes(three_class_run: Path) -> None:
    export = read_json(three_class_run / "metrics/export.json")
    assert export["sha256"] == sha256(three_class_run / "models/classifier.onnx")
    assert max(export["max_difference"].values()) <= export["bound"]
    test = read_json(three_class_run / "metrics/test.json")
    settings = Settings.from_environment({"CXR_HOME": str(three_class_run), "CXR_THREADS": "1"})
    with TestClient(create_app(settings), base_url="http://localhost") as service:
        about = service.get("/metadata").json()
        answer = service.post("/predict", files={"file": ("image", IMAGE)}).json()
        similar = service.post("/similar", files={"file": ("image", IMAGE)}).json()
    assert about["classes"] == about["labels"] == CLASSES
    assert about["macro_f1"] == test["f1_macro"]["ensemble"] == about["metrics_summary"]["f1_macro"]["value"]
    assert about["weighted_f1"] == test["f1_weighted"]["ensemble"]
    assert about["operating_point"] == {"rule": "most probable class", "threshold": None, "positive": None}
    assert answer["top_k"] == 3
    assert answer["decision"] == answer["predictions"][0]["label"]
    assert sum(item["confidence"] for item in answer["predictions"]) == pytest.approx(1, abs=1e-5)
    assert {case["label"] for case in similar["cases"]} <= set(CLASSES)


@pytest.fixture
def address(three_class_run: Path) -> Iterator[str]:
    with serving(CXR_HOME=str(three_class_run)) as running:
        yield running.address


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium: apt-get install chromium")
def test_page_shows_three_classes(address: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.goto(address)
        page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": IMAGE})
        page.wait_for_selector("#bars li:nth-child(3)")
        shown = [page.inner_text(f"#bars li:nth-child({n}) span:first-child") for n in (1, 2, 3)]
        assert sorted(shown) == CLASSES
        assert page.inner_text("#decision") == f"Decision: {shown[0]}"
        assert "Test F1 macro" in page.inner_text("#model")
        browser.close()
