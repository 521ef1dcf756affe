"""The README says what is there: its results come from the metrics files, its commands and paths exist."""

import re

import pytest

from scripts import readme
from tests.builders import ROOT

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_results_are_those_of_the_metrics_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert readme.BEGIN + readme.results() + readme.END in TEXT


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"(?:    |`)make ([a-z-]+)", TEXT)) <= targets


def test_links_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", TEXT) if not link.startswith("http")]
    assert links
    assert all((ROOT / link).is_file() for link in links)


@pytest.mark.parametrize("key", sorted(set(re.findall(r"-S ([a-z_.]+)=", TEXT))))
def test_parameters_exist(key: str) -> None:
    from cxr.params import load_params

    section, name = key.split(".")
    assert hasattr(getattr(load_params(ROOT / "params.yaml"), section), name)
