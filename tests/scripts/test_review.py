"""`make review`, in a repository whose checks are quick, and the workflow that calls it."""

import os
import re
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from cxr.core.files import read_json
from scripts import review, workspace
from tests.builders import ROOT, drawn_predictions, files_below, refused, write_images, write_run

WORKFLOW = ROOT / ".github/workflows/review.yml"
MAKEFILE = "lint test fresh test-long demo:\n\t@echo $@ is fine\n"
PIPELINE = """\
stages:
  split:
    cmd: mkdir -p data && cp ../images/* data/
    outs:
    - data/images.npy
    - data/labels.csv
metrics:
- metrics/test.json
"""


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    """A run on main, and a better one with fewer epochs on the current branch. There are no radiographs."""
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    workspace.call(folder, "git", "init", "--quiet", "--initial-branch=main")
    workspace.call(folder, "dvc", "init", "--quiet")
    Path("Makefile").write_text(MAKEFILE)
    Path("dvc.yaml").write_text(PIPELINE)
    write_run(drawn_predictions([1.0, 1.1, 0.9]))
    workspace.commit(folder, "a run")
    workspace.call(folder, "git", "checkout", "--quiet", "-b", "change")
    write_run(drawn_predictions([3.0, 3.1, 2.9], seed=1), {"train.epochs": 7})
    workspace.commit(folder, "another run")
    return folder


@pytest.fixture
def reviewed(repository, monkeypatch, capsys):
    """Run the script and return its summary; it has to end with `code`."""

    def call(*arguments: str, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["review", *arguments])
        if code:
            with pytest.raises(SystemExit) as ended:
                review.main()
            assert ended.value.code == code
        else:
            review.main()
        text = Path("build/review/summary.md").read_text()
        printed = capsys.readouterr().out
        assert printed.count(" test AUC ") == text.count(" test AUC ") <= 1  # no report is repeated
        assert outcomes(printed) == outcomes(text)
        return text

    return call


def outcomes(summary: str) -> dict[str, str]:
    return dict(re.findall(r"^\| ([\w-]+) \| `.*` \| (.*) \|$", summary, re.MULTILINE))


def test_all_steps_as_in_a_pull_request(reviewed, repository, monkeypatch):
    """The base is an unnamed commit, the pipeline provides the radiographs, the summary goes to the page."""
    images = repository.parent / "images"
    write_images(drawn_predictions([1.0]))
    Path("data").rename(images)
    page = repository.parent / "page.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    page.write_text("summary of an earlier step\n")

    summary = reviewed("HEAD^1")

    assert page.read_text() == "summary of an earlier step\n" + summary
    assert outcomes(summary) == dict.fromkeys(review.STEPS, "passed")
    assert "**B is better than A: test AUC +" in summary
    assert re.search(r"^\| \d+ \| newly correct \| ", summary, re.MULTILINE)
    assert "\n![Contact sheet](flips.png)\n" in summary
    assert re.search(r"^\| params.yaml +\| train.epochs +\| 36 +\| 7 +\|$", summary, re.MULTILINE)
    assert re.search(r"^\| metrics/test.json +\| auc.mean ", summary, re.MULTILINE)
    assert files_below(review.FOLDER) == ["compare.json", "flips.png", "summary.md"]
    assert read_json("build/review/compare.json")["verdict"]["test"] == "better"


def test_one_failure_stops_no_other_step_and_fails_the_review(reviewed):
    Path("Makefile").write_text(MAKEFILE.replace("lint test", "lint") + "test:\n\t@seq 100; exit 3\n")
    summary = reviewed("--steps", "demo", "test", "lint", code=1)
    assert outcomes(summary) == {"lint": "passed", "test": "**failed** (exit code 2)", "demo": "passed"}
    (tail,) = re.findall(r"^````\n((?:.*\n)*?)````$", summary, re.MULTILINE)
    assert len(tail.splitlines()) == review.TAIL
    assert "\n100\n" in tail
    assert "\n12\n" not in tail


def test_a_review_without_images_has_no_figures_and_gives_the_reason(reviewed):
    review.FOLDER.mkdir(parents=True)
    (review.FOLDER / "flips.png").write_text("of an earlier review")
    summary = reviewed("main", "--steps", "compare", "images", "sheet")
    by_step = outcomes(summary)
    assert by_step["compare"] == "passed"
    assert re.fullmatch("left out: .*split.*", by_step["images"])
    assert by_step["sheet"].startswith("left out: error: data/images.npy: no data set here")
    assert files_below(review.FOLDER) == ["compare.json", "summary.md"]


def test_runs_that_cannot_be_compared_fail_the_review(reviewed, repository):
    write_run(drawn_predictions([3.0, 3.1]), {"split.seed": 5})
    workspace.commit(repository, "other radiographs")
    summary = reviewed("--steps", "compare", code=1)
    assert outcomes(summary) == {"compare": "**failed** (exit code 1)"}
    assert "\nerror: params.yaml: split.seed is " in summary


@pytest.mark.parametrize(
    ("arguments", "path", "parts"),
    [
        (["nowhere"], os.environ["PATH"], ["nowhere: no such Git revision here"]),
        (["--steps", "lint"], "", ["make: no such program", "source .venv/bin/activate"]),
    ],
)
def test_a_mistake_is_one_line(repository, monkeypatch, arguments, path, parts):
    monkeypatch.setattr(sys, "argv", ["review", *arguments])
    monkeypatch.setenv("PATH", path)
    with refused(*parts):
        review.main()
    assert not Path("build/review/summary.md").exists()


def test_workflow_calls_the_script_only():
    workflow = YAML(typ="safe").load(WORKFLOW)
    (job,) = workflow["jobs"].values()
    steps = job["steps"]
    assert [step["run"] for step in steps if "run" in step] == ["make review BASE=HEAD^1 PYTHON=python"]
    actions = [step["uses"].split("@") for step in steps if "uses" in step]
    assert [name for name, _ in actions] == [
        "actions/checkout",
        "actions/setup-python",
        "actions/upload-artifact",
    ]
    assert all(re.fullmatch("[0-9a-f]{40}", revision) for _, revision in actions)
    checkout, python, *_, upload = steps
    assert checkout["with"]["fetch-depth"] == 0
    assert python["with"]["python-version"] == "3.11"  # text: the number 3.10 would be 3.1
    assert (upload["if"], Path(upload["with"]["path"])) == ("${{ !cancelled() }}", review.FOLDER)
    assert job["timeout-minutes"] == 90


def test_workflow_gives_forks_no_permissions():
    workflow = YAML(typ="safe").load(WORKFLOW)
    assert set(workflow) == {"name", "on", "permissions", "concurrency", "jobs"}
    assert set(workflow["on"]) == {"pull_request"}
    assert workflow["permissions"] == {"contents": "read"}
    assert set(workflow["jobs"]["review"]) == {"runs-on", "timeout-minutes", "steps"}
    expressions = set(re.findall(r"\$\{\{ *(.*?) *\}\}", WORKFLOW.read_text()))
    assert expressions == {"github.ref", "!cancelled()"}
    (checkout, *_) = workflow["jobs"]["review"]["steps"]
    assert checkout["with"]["persist-credentials"] is False


def test_make_and_ci_name_existing_steps():
    assert "python -m scripts.review $(BASE)" in (ROOT / "Makefile").read_text()
    (names,) = re.findall(r'make review STEPS="(.*)"', (ROOT / ".ci/run").read_text())
    assert set(names.split()) <= set(review.STEPS)
