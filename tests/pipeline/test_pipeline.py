"""The pipeline as users run it (`dvc repro`, `dvc exp run`, push and pull), in a copy of the repository."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML
from sklearn import metrics as reference

from cxr.core import dataset
from cxr.core.files import read_csv, read_json
from cxr.recipes import apply_recipe
from tests.builders import ROOT
from tests.repository import Repository, copy_of
from tests.stages.test_evaluate import calibration_error

STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
UP_TO_DATE = "Data and pipelines are up to date."
MODEL = ("models/classifier.safetensors", "models/classifier.json")
MODEL += ("models/calibration.json", "models/typicality.safetensors")


def test_second_run_does_nothing(tiny_run: Repository) -> None:
    assert UP_TO_DATE in tiny_run.run("dvc", "repro")
    assert tiny_run.run("git", "status", "--porcelain") == ""


def test_a_change_reruns_no_earlier_stage(tiny_run: Repository, tmp_path: Path) -> None:
    def stages_to_run(changes: str) -> set[str]:
        """The stages that a change of parameters reruns; a dry run assumes that no outputs change."""
        (tmp_path / "change.yaml").write_text(changes)
        apply_recipe(tmp_path / "change.yaml", tiny_run.path / "params.yaml")
        try:
            lines = tiny_run.run("dvc", "repro", "--dry").splitlines()
        finally:
            tiny_run.run("git", "checkout", "--quiet", "params.yaml")
        return {line.split("'")[1] for line in lines if line.startswith("Running stage")}

    assert stages_to_run("split: {seed: 1}") == {"split"}
    assert stages_to_run("calibrate: {threshold: 0.4}") == {"calibrate"}
    assert stages_to_run("evaluate: {bootstrap: 300}") == {"evaluate", "index", "explain", "robustness"}
    assert stages_to_run("index: {metric: l2}") == {"index", "card"}


@pytest.mark.long
def test_a_run_without_dvc_and_its_cache_gives_the_same_bytes(tiny_run: Repository, tmp_path: Path) -> None:
    twin = copy_of(tiny_run, tmp_path / "twin")
    stages = tiny_run.lock()
    assert stages.keys() == STAGES.keys()
    for folder in ("metrics", "plots", "reports"):  # what Git holds of the outputs
        shutil.rmtree(twin.path / folder)
    twin.run_stages(*STAGES)
    for path in outputs(stages):
        for file in sorted((tiny_run.path / path).rglob("*")) or [tiny_run.path / path]:
            again = twin.path / file.relative_to(tiny_run.path)
            assert again.read_bytes() == file.read_bytes(), again


def outputs(stages: dict[str, dict]) -> list[str]:
    return [out["path"] for stage in stages.values() for out in stage["outs"]]


@pytest.mark.long
def test_push_and_pull_restore_a_run(tiny_run: Repository, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    colleague = copy_of(tiny_run, tmp_path / "colleague")
    for repository in (tiny_run, colleague):
        repository.run("dvc", "remote", "add", "--local", "--default", "--force", "storage", str(remote))
    tiny_run.run("dvc", "push")
    colleague.run("dvc", "pull")
    assert UP_TO_DATE in colleague.run("dvc", "repro")
    for path in (*MODEL, "models/index.faiss", "data/images.npy"):
        assert (colleague.path / path).read_bytes() == (tiny_run.path / path).read_bytes()


def test_reviewer_compares_commits_without_a_cache(tiny_run: Repository, tmp_path: Path) -> None:
    reviewer = copy_of(tiny_run, tmp_path / "reviewer")
    assert UP_TO_DATE in reviewer.run("dvc", "repro", "--dry", "--allow-missing")
    difference = reviewer.json("dvc", "metrics", "diff", "HEAD~1", "HEAD")
    assert {"old", "new", "diff"} <= difference["metrics/test.json"]["auc.mean"].keys()
    page = reviewer.run("dvc", "plots", "diff", "HEAD~1", "HEAD").strip().splitlines()[-1]
    html = Path(page.removeprefix("file://")).read_text()
    assert "ROC curve on test" in html
    assert "Learning curve" in html


@pytest.mark.long
def test_test_pixels_reach_neither_classifier_nor_calibration(tiny_run: Repository, tmp_path: Path) -> None:
    twin = copy_of(tiny_run, tmp_path / "twin")
    shutil.copytree(tiny_run.path / "data", twin.path / "data", dirs_exist_ok=True)
    images, labels = np.load(twin.path / dataset.IMAGES), read_csv(twin.path / dataset.LABELS)
    test = np.array([row["split"] == "test" for row in labels])
    noise = np.random.default_rng(0).integers(0, 256, images[test].shape, dtype=np.uint8)
    images[test] = noise
    (twin.path / dataset.IMAGES).unlink()  # it may be a link into the other repository's cache
    np.save(twin.path / dataset.IMAGES, images)
    twin.run_stages("clip-embed", "cluster", "train", "calibrate")
    for path in MODEL:
        assert (twin.path / path).read_bytes() == (tiny_run.path / path).read_bytes(), path


def test_three_classes_go_through_every_stage(three_class_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(three_class_run)
    classes = ("normal", "pneumonia", "tuberculosis")
    assert read_json("models/calibration.json")["threshold"] is None
    table = read_csv("metrics/predictions.csv")
    assert len(table) == 24
    for row in table:
        assert sum(float(row[f"p_{name}"]) for name in classes) == pytest.approx(1, abs=1e-6)
    assert {"auc_ovr_macro", "f1_macro", "accuracy"} <= read_json("metrics/test.json").keys()
    retrieval = read_json("metrics/retrieval_details.json")["gallery"]
    assert set(retrieval["classifier"]) == set(retrieval["encoder"]) == {"overall", *classes}
    assert set(read_json("metrics/report.json")["cases"]) == set(classes)
    assert set(read_json("metrics/shift.json")["pixels"]["val_test"]) == set(classes)
    assert 0 <= read_json("metrics/robustness.json")["all"]["be"] <= 1
    assert set(read_json("metrics/subgroups.json")["subgroups"]["class"]) == set(classes)
    decisions = read_json("metrics/details.json")["test"]["decisions"]
    assert np.sum(decisions["released"]["confusion"], axis=1).tolist() == [4, 4, 4]


def test_published_metrics_follow_from_published_predictions(tiny_run: Repository) -> None:
    table = [row for row in read_csv(tiny_run.path / "metrics/predictions.csv") if row["split"] == "test"]
    report = json.loads((tiny_run.path / "metrics/test.json").read_text())
    details = json.loads((tiny_run.path / "metrics/details.json").read_text())["test"]
    truth = np.array([row["label"] == "pneumonia" for row in table])

    def recompute(prefix: str) -> dict[str, float]:
        p = np.array([float(row[f"{prefix}p_pneumonia"]) for row in table])
        decided = p >= details["threshold"]
        return {
            "auc": reference.roc_auc_score(truth, p),
            "average_precision": reference.average_precision_score(truth, p),
            "accuracy": reference.accuracy_score(truth, decided),
            "accuracy_at_one_half": reference.accuracy_score(truth, p > 0.5),
            "sensitivity": reference.recall_score(truth, decided),
            "specificity": reference.recall_score(~truth, ~decided),
            "precision_pneumonia": reference.precision_score(truth, decided, zero_division=0),
            "f1_pneumonia": reference.f1_score(truth, decided, zero_division=0),
            "f1_macro": reference.f1_score(truth, decided, average="macro", zero_division=0),
            "f1_weighted": reference.f1_score(truth, decided, average="weighted", zero_division=0),
            "nll": reference.log_loss(truth, p),
            "balanced_accuracy": reference.balanced_accuracy_score(truth, decided),
            "mcc": reference.matthews_corrcoef(truth, decided),
            "brier": reference.brier_score_loss(truth, p),
            "ece": calibration_error(p, truth),
        }

    ensemble, members = recompute(""), [recompute("m0_"), recompute("m1_")]
    assert set(report) == {*ensemble, "majority_baseline"}
    assert report["majority_baseline"] == pytest.approx(max(truth.mean(), 1 - truth.mean()), abs=1e-6)
    for name, value in ensemble.items():
        of_members = [member[name] for member in members]
        assert report[name]["ensemble"] == pytest.approx(value, abs=2e-6), name
        assert report[name]["mean"] == pytest.approx(np.mean(of_members), abs=2e-6), name
        assert report[name]["std"] == pytest.approx(np.std(of_members, ddof=1), abs=2e-6), name
        assert report[name]["low"] - 1e-6 <= value <= report[name]["high"] + 1e-6, name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("lr: 0.003", "lr: -1"), "error: params.yaml: train.lr is -1; allowed: a number above 0"),
        (("epochs:", "epoch:"), "error: params.yaml: unknown key train.epoch"),
        (
            ("encoder: pixels", "encoder: clip"),
            "error: params.yaml: clip_embed.encoder is 'clip'; allowed: pixels, a",
        ),
    ],
)
def test_a_mistake_in_params_is_one_line(
    tiny_run: Repository, tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    clone = copy_of(tiny_run, tmp_path / "clone")
    params = clone.path / "params.yaml"
    params.write_text(params.read_text().replace(*change, 1))
    lines = clone.run("dvc", "repro", "--force", "--single-item", "download", code=255).splitlines()
    assert sum(line.startswith(message) for line in lines) == 1
    assert not any("Traceback" in line for line in lines)
    assert not (clone.path / "data/raw/images.npy").exists()
