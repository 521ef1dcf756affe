"""The ledger of test holds every reading that Git knows of, with the figures of the files it names, and its
mistakes are one line."""

import json
import subprocess

import pytest

from cxr.reports.ledger import Ledger, Reading, load_ledger, parse_ledger
from tests.builders import ROOT, refused

TEST = "metrics/test.json"
# AUC, accuracy at one half and at the released threshold; older files have the second line of names.
FIGURES = (
    ("auc", "accuracy_at_one_half", "accuracy"),
    ("auc", "accuracy", "accuracy_at_threshold"),
)
ROW = """
  - date: {date}
    commit: "0123456"
    kind: default
    run: the first
    auc: 0.9
    decision: {decision}
    source: metrics/test.json"""


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    return load_ledger(ROOT / "docs/test_ledger.yaml")


@pytest.fixture(scope="module")
def history(ledger: Ledger) -> None:
    """Skips unless this is a clone with the whole history."""
    known = git("cat-file", "-e", next(row.commit for row in ledger.readings if row.commit) or "")
    if known.returncode or git("rev-parse", "--is-shallow-repository").stdout.strip() == "true":
        pytest.skip("needs the whole history of Git: `git fetch --unshallow`")


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)


def figures(text: str) -> tuple[float, ...]:
    """Of a metrics/test.json: the means over members."""
    tree = json.loads(text)
    names = next(names for names in FIGURES if set(names) <= set(tree))
    return tuple(tree[name]["mean"] for name in names)


def agree(row: Reading, measured: tuple[float, ...]) -> bool:
    """Whether the row has the figures, to four decimals."""
    return (row.auc, row.accuracy, row.accuracy_at_threshold) == pytest.approx(measured, abs=5.1e-5)


def with_rows(*rows: tuple[str, str]) -> str:
    return "test_set: phantom\nreadings:" + "".join(ROW.format(date=d, decision=e) for d, e in rows)


def test_the_released_default_has_its_row(ledger: Ledger) -> None:
    last = [row for row in ledger.readings if row.kind == "default"][-1]
    if not agree(last, figures((ROOT / TEST).read_text())):
        pytest.fail(
            f"{TEST}: test was read, and the last row of kind default has other figures; add a row to "
            "docs/test_ledger.yaml (`pydoc scripts.test_ledger` says how)",
            pytrace=False,
        )


@pytest.mark.usefixtures("history")
def test_every_committed_version_of_the_metrics_has_its_row(ledger: Ledger) -> None:
    commits = git("log", "--format=%h", "--full-history", "--no-merges", "--", TEST).stdout.split()
    shown = {commit: git("show", f"{commit}:{TEST}").stdout for commit in commits}
    versions = {text: commit for commit, text in shown.items() if text}  # a commit may have removed it
    assert len(versions) >= 8
    for text, commit in versions.items():
        assert any(agree(row, figures(text)) for row in ledger.readings if row.kind == "default"), commit


@pytest.mark.usefixtures("history")
def test_rows_have_the_figures_of_the_metrics_at_their_commit(ledger: Ledger) -> None:
    rows = [row for row in ledger.readings if row.commit and row.source == TEST]
    assert len(rows) >= 8
    for row in rows:
        assert agree(row, figures(git("show", f"{row.commit}:{TEST}").stdout)), row.commit


@pytest.mark.usefixtures("history")
def test_commits_of_the_rows_exist(ledger: Ledger) -> None:
    for commit in {row.commit for row in ledger.readings if row.commit}:
        assert git("cat-file", "-e", f"{commit}^{{commit}}").returncode == 0, commit


def test_defaults_have_all_their_figures(ledger: Ledger) -> None:
    for row in ledger.readings:
        if row.kind == "default":
            assert None not in (row.auc, row.accuracy, row.accuracy_at_threshold), row.run


def test_readings_and_decisions_are_counted() -> None:
    found = parse_ledger(with_rows(("2026-01-01", "none"), ("2026-01-01", "Kept"), ("2026-01-02", "none")))
    assert (found.test_set, len(found.readings), found.decisions) == ("phantom", 3, 1)
    assert [row.auc for row in found.readings] == [0.9] * 3
    assert found.readings[0].accuracy is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("auc: 0.9", "auc: 98.1", "readings.1.auc is 98.1; allowed: a number 0 or more and at most 1"),
        ('"0123456"', "1234567", "readings.1.commit is 1234567; allowed: the first 7 digits of a commit in"),
        ("kind: default", "kind: defalt", "readings.1.kind is 'defalt'; allowed: default, candidate, recipe"),
        ("decision: none", "decison: none", "unknown key readings.1.decison; did you mean decision?"),
        ("    decision: none\n", "", "missing key readings.1.decision"),
        ("2026-01-01", "yesterday", "readings.1.date is 'yesterday'; allowed: a date such as"),
        ("test_set: phantom", "", "missing key test_set"),
        ("readings:", "readings: [", "not YAML"),
    ],
)
def test_a_mistake_is_one_line(old: str, new: str, message: str) -> None:
    text = with_rows(("2026-01-01", "none"))
    assert old in text
    with refused(f"docs/test_ledger.yaml: {message}"):
        parse_ledger(text.replace(old, new))


def test_rows_are_in_the_order_of_their_dates() -> None:
    with refused("readings.2.date is 2026-01-01, before 2026-01-02 in the row above", "at the end"):
        parse_ledger(with_rows(("2026-01-02", "none"), ("2026-01-01", "none")))


def test_a_ledger_that_is_missing_is_one_line(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with refused("docs/test_ledger.yaml: no such file", "git checkout docs/test_ledger.yaml"):
        load_ledger()
