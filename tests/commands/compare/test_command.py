"""`cxr compare` as a reviewer reads it: the verdict first, then the evidence."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxr import cli
from cxr.core.files import read_json, write_json
from cxr.evaluation.statistics import holm
from cxr.inference.predictions import Predictions
from cxr.reports.ledger import PATH, load_ledger
from scripts import workspace
from tests.builders import ROOT, drawn_predictions, write_images, write_run

GOOD, POOR = [3.0, 3.1, 3.0, 2.9], [1.0, 1.1, 0.9, 1.0]


@pytest.fixture
def compared(tmp_path, monkeypatch, capsys):
    """Commit one run to main, leave another in the workspace, and return what the command prints."""
    monkeypatch.chdir(tmp_path)

    def call(a: Predictions, b: Predictions, *arguments: str, changes=None, test=None, code=0) -> str:
        workspace.call(tmp_path, "git", "init", "--quiet", "--initial-branch=main")
        write_run(a)
        workspace.commit(tmp_path, "a run")
        write_run(b, changes)
        if test:
            write_json("metrics/test.json", test)
        monkeypatch.setattr(sys, "argv", ["cxr", "compare", *arguments])
        if code:
            with pytest.raises(SystemExit) as ended:
                cli.main()
            assert ended.value.code == code
        else:
            cli.main()
        streams = capsys.readouterr()
        return streams.err if code else streams.out

    return call


def test_the_first_line_answers_in_one_sentence(compared):
    first, _, val, *_ = compared(drawn_predictions(POOR), drawn_predictions(GOOD, seed=1)).splitlines()
    number = r"[+-]0\.\d{4}"
    evidence = rf"test AUC {number}, 95 % interval {number} to {number}, p < 0\.001"
    assert re.fullmatch(rf"\*\*B is better than A: {evidence}\.\*\* *", first)
    assert val.startswith("On val: AUC better (")


def test_the_report_is_short_enough_for_a_pull_request(compared):
    a, b = drawn_predictions(POOR, images=600), drawn_predictions(GOOD, seed=1, images=600)
    assert compared(a, b, changes={"seed": 4}).count("\n") <= 40


def test_changed_secondary_metrics_follow_the_verdict(compared):
    def shifted(p):  # the same ranking of radiographs, other decisions
        return np.stack([1 - p[..., 1] ** 0.2, p[..., 1] ** 0.2], axis=-1)

    a = drawn_predictions(GOOD)
    lines = compared(a, replace(a, ensemble=shifted(a.ensemble), members=shifted(a.members))).splitlines()
    assert lines[0] == "**No difference in test AUC: A and B rank the radiographs alike.**  "
    assert re.match(r"Other metrics on test: \*\*worse\*\* in `accuracy`.*`specificity`.*  $", lines[1])
    assert "(McNemar's exact test: p < 0.001, about these two ensembles" in "\n".join(lines)


def test_an_inconclusive_verdict_names_what_could_have_been_found(compared):
    b = drawn_predictions([*GOOD[:2], 3.3, 3.2], seed=1)
    first = compared(drawn_predictions(GOOD), b, "--json", "all.json").splitlines()[0]
    assert first.startswith("**Inconclusive, B may be better or worse than A: test AUC ")
    content = read_json("all.json")
    detectable = content["splits"]["test"]["metrics"]["auc"]["detectable"]
    assert f"would have found a difference of {detectable:.4f} with 80 % power; for this one" in first
    assert content["answer"] == first.strip("* ")


def test_table_has_every_metric(compared):
    out = compared(drawn_predictions(POOR), drawn_predictions(GOOD, seed=1))
    assert re.findall(r"^\| `(\w+)`", out, re.MULTILINE) == [
        "auc",
        "accuracy",
        "balanced_accuracy",
        "sensitivity",
        "specificity",
        "brier",
        "nll",
    ]
    assert "`nll` (log loss, lower is better)" in out
    widths = {
        row.count("|") for row in out.splitlines() if row.startswith("| `") or row.startswith("| test,")
    }
    assert widths == {11}


def test_parameters_members_and_design_are_named(compared):
    out = compared(drawn_predictions(POOR), drawn_predictions(GOOD[:3], seed=1), changes={"train.epochs": 7})
    assert "`train.epochs` 36, 7" in out
    assert re.search(
        r"A: `main` \([0-9a-f]{7}\), 4 members, threshold 0.5. B: the workspace, 3 members,", out
    )
    assert "Members with the same seed are paired (3 pairs). 1 member of A without a partner is left" in out
    assert "besides B, at least 1 commit in the history" in out
    assert "Patients are unknown here" in out


def test_members_of_other_seeds_are_unpaired(compared):
    a, b = drawn_predictions(POOR), drawn_predictions(GOOD, seed=1)
    out = compared(a, b, "--json", "all.json", changes={"seed": 7})
    assert "`seed` 0, 7" in out
    assert "The seeds differ, so members are unpaired." in out
    assert read_json("all.json")["design"] == "unpaired"


def test_runs_with_the_same_weights_have_no_training_term(compared):
    """Even with single members: only what follows the networks is compared."""
    Path("dvc.lock").write_text("stages: {train: {outs: [{path: models/classifier.safetensors, md5: abc}]}}")
    a = drawn_predictions(POOR[:1])
    raised = 1 - (1 - a.members) ** 3
    b = replace(a, members=raised, ensemble=raised[0])
    out = compared(a, b, "--json", "all.json")
    content = read_json("all.json")
    assert content["design"] == "same weights"
    assert "Both have the same weights" in out
    assert "No verdict" not in out
    nll = content["splits"]["test"]["metrics"]["nll"]
    assert nll["between_seed_se"] is None
    assert nll["p"] < 0.001


def test_known_patients_need_no_caveat(compared):
    a, b = (
        replace(drawn_predictions(signals, seed=seed), patients=np.arange(300) // 2)
        for seed, signals in enumerate((POOR, GOOD))
    )
    assert "Patients are unknown" not in compared(a, b)


def test_several_candidates_are_adjusted_for_their_number(compared, tmp_path, monkeypatch, capsys):
    def call(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["cxr", "compare", "base", *arguments])
        cli.main()

    compared(drawn_predictions([1.0, 1.1, 0.9, 1.0]), drawn_predictions(GOOD))
    workspace.call(tmp_path, "git", "tag", "base")
    singles = []
    for number, signals in enumerate(([1.25, 1.45, 1.1, 1.3], GOOD)):
        write_run(drawn_predictions(signals, seed=number + 2))
        workspace.commit(tmp_path, f"candidate {number}")
        workspace.call(tmp_path, "git", "tag", f"c{number}")
        call(f"c{number}", "--json", "one.json")
        singles.append(read_json("one.json")["splits"]["test"]["metrics"]["auc"]["p"])
    capsys.readouterr()
    call("c0", "c1", "--json", "all.json")
    out, content = capsys.readouterr().out, read_json("all.json")
    assert out.startswith("**Of 2 candidates against `base`: ")
    assert "`c1`" in out.splitlines()[0].split(" better**")[0]
    assert content["adjusted_p"] == pytest.approx(holm(singles), abs=1e-6)
    assert [each["b"]["name"] for each in content["candidates"]] == ["c0", "c1"]
    with pytest.raises(SystemExit):
        call("c0", "c1", "--sheet", "x.png")
    assert capsys.readouterr().err.startswith("error: --sheet: draws one comparison, and there are 2")


def test_a_reader_that_stops_early_gets_no_stack_trace(compared, tmp_path):
    compared(drawn_predictions(POOR), drawn_predictions(GOOD, seed=1))
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -u -m cxr.cli compare | head -c 20"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
    )
    assert (done.stdout, done.stderr) == (b"**B is better than A", b"")


@pytest.mark.parametrize(("count", "words"), [(1, "1 member"), (2, "2 members")])
def test_too_few_members_give_neither_p_nor_interval(compared, count, words):
    a = drawn_predictions(POOR[:count])
    out = compared(a, drawn_predictions(GOOD, seed=1), "--json", "all.json")
    assert out.startswith(f"**No verdict: one side has {words}, and a p-value needs 3 members on each (test ")
    auc = read_json("all.json")["splits"]["test"]["metrics"]["auc"]
    assert (auc["p"], auc["low"], auc["high"], auc["detectable"]) == (None,) * 4
    assert auc["ensemble"]["low"] > 0
    row = next(line for line in out.splitlines() if line.startswith("| `auc`"))
    number = r"0\.\d{4}"
    empty = r"[| ]+"
    assert re.fullmatch(
        rf"\| `auc` \| {number} \| {number} \| \+{number} {empty} {number} \| {number} \|", row
    )


def test_identical_runs_are_reported_as_identical(compared):
    """As in a pull request that changes documents or tests alone: no tables of equal numbers."""
    out = compared(drawn_predictions(GOOD), drawn_predictions(GOOD), "--json", "all.json")
    assert out.startswith("**The predictions of A and B are identical**")
    assert re.search(
        r"A: `main` \([0-9a-f]{7}\), 4 members, threshold 0.5. B: the workspace, 4 members, thr", out
    )
    assert out.endswith("**Parameters (A, B):** none differs\n")
    assert read_json("all.json")["verdict"] == {"test": "inconclusive", "val": "inconclusive"}


def test_parameters_of_one_side_alone_are_named_too(compared, capsys):
    """A side from before a parameter existed: the parameter may be the change."""
    compared(drawn_predictions(POOR), drawn_predictions(GOOD, seed=1), changes={"train.epochs": 7})
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("\nseed: 0\n", "\nluck: 3\n"))
    cli.main()
    assert "\n**Parameters (A, B):** `train.epochs` 36, 7; only in A: `seed` 0; only in B: `luck` 3\n" in (
        capsys.readouterr().out
    )


def test_the_most_changed_decisions_of_each_direction_are_shown_and_the_others_counted(compared):
    a, b = drawn_predictions(POOR, images=600), drawn_predictions(GOOD, seed=1, images=600)
    out = compared(a, b, "--json", "all.json")
    content = read_json("all.json")["splits"]["test"]
    correct = content["newly_correct"]
    assert len(correct) == content["mcnemar"]["newly_correct"] > 10
    shown = re.findall(r"^\| (\d+) \| newly correct", out, re.MULTILINE)
    assert [int(row) for row in shown] == [flip["row"] for flip in correct[:3]]
    assert f"| and {len(correct) - 3} more | newly correct" in out
    assert f", {len(correct)} are newly correct (McNemar's exact test: " in out


def test_json_has_everything(compared):
    out = compared(
        drawn_predictions(POOR[:3]), drawn_predictions(GOOD, seed=1), "main", "--json", "x/all.json"
    )
    content = read_json("x/all.json")
    assert content["verdict"] == {"test": "better", "val": "better"}
    assert content["b"] == {
        "name": "the workspace",
        "commit": None,
        "members": 4,
        "threshold": 0.5,
        "test": content["b"]["test"],
    }
    auc = content["splits"]["test"]["metrics"]["auc"]
    assert auc["low"] < auc["difference"] < auc["high"]
    parts = auc["between_case_se"] ** 2 + auc["between_seed_se"] ** 2
    assert auc["standard_error"] ** 2 == pytest.approx(parts, rel=0.01)
    assert content["test_set_evaluations"] == {"earlier": 1, "ledger": False}
    assert "A has no ledger of this test set (docs/test_ledger.yaml); besides B, at least 1 commit in" in out
    assert f"AUC {auc['difference']:+.4f}, 95 % interval {auc['low']:+.4f} to {auc['high']:+.4f}, p" in out
    assert all(f"- {caveat}" in out for caveat in content["caveats"])


def test_earlier_evaluations_are_those_of_the_ledger(compared, tmp_path):
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / PATH, PATH)
    out = compared(drawn_predictions(POOR), drawn_predictions(GOOD, seed=1), "--json", "all.json")
    readings = len(load_ledger().readings)
    assert read_json("all.json")["test_set_evaluations"] == {"earlier": readings, "ledger": True}
    assert f"by docs/test_ledger.yaml at A, test was evaluated {readings} times before B." in out
    assert "published test results" not in out


def test_json_of_single_members_has_no_infinity(compared):
    compared(drawn_predictions(POOR[:1]), drawn_predictions(GOOD[:1], seed=1), "--json", "all.json")
    auc = read_json("all.json")["splits"]["test"]["metrics"]["auc"]
    assert (auc["degrees_of_freedom"], auc["between_seed_se"], auc["members_needed"]) == (None, None, None)


def test_images_with_changed_decisions_are_drawn(compared):
    a, b = drawn_predictions(POOR), drawn_predictions(GOOD, seed=1)
    write_images(a)
    compared(a, b, "--sheet", "x/flips.png")
    assert Path("x/flips.png").read_bytes().startswith(b"\x89PNG")


def test_a_sheet_without_its_images_is_an_error_and_nothing_is_written(compared):
    data = drawn_predictions(GOOD)
    error = compared(data, data, "--sheet", "flips.png", "--json", "all.json", code=1)
    assert error.startswith("error: data/images.npy: no data set here")
    assert error.count("\n") == 1
    assert not {"flips.png", "all.json"} & {path.name for path in Path().iterdir()}


@pytest.mark.parametrize("option", ["--json", "--sheet"])
def test_a_file_that_cannot_be_written_is_one_line(compared, option):
    data = drawn_predictions(GOOD)
    write_images(data)
    Path("taken").write_text("a file, no folder")
    error = compared(data, data, option, "taken/file.png", code=1)
    assert error.startswith("error: taken")
    assert "cannot be written" in error
    assert error.count("\n") == 1


def test_metrics_of_another_run_are_a_caveat(compared):
    a, b = drawn_predictions(POOR), drawn_predictions(GOOD, seed=1)
    assert "metrics/test.json" not in compared(a, b)
    out = compared(a, b, test={"auc": {"mean": 0.5}})
    assert "metrics/test.json of the workspace does not have the auc.mean" in out
    assert "metrics/test.json of main" not in out


def test_three_classes_are_compared_by_their_macro_auc(compared):
    out = compared(drawn_predictions(POOR, classes=3), drawn_predictions(GOOD, seed=1, classes=3))
    assert out.startswith("**B is better than A: test macro AUC +")
    assert "sensitivity" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "error: nowhere: no such Git revision here"),
        (["main", "nowhere"], "error: nowhere: no such Git revision here"),
    ],
)
def test_a_mistake_is_one_line(compared, arguments, message):
    data = drawn_predictions(GOOD)
    error = compared(data, data, *arguments, "--json", "all.json", code=1)
    assert error.startswith(message)
    assert error.count("\n") == 1
    assert not Path("all.json").exists()


def test_help_does_not_wait_for_heavy_libraries():
    code = """
import sys
from cxr import cli
sys.argv = ["cxr", "compare", "--help"]
try:
    cli.main()
except SystemExit:
    print([name for name in ("torch", "scipy", "sklearn") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--json FILE" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
