"""README.md, the pages it leads to and docs/architecture.md agree with the repository: results are those of
the metrics files, commands, paths and names exist, an edit reruns the stages that are listed."""

import ast
import json
import re
import shutil
from fnmatch import fnmatch
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from scripts import readme
from tests.builders import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / f"docs/{name}.md" for name in ("experiments", "prediction", "sharing", "pipeline", "windows")]
TEXT = "\n".join([README, *(page.read_text(encoding="utf-8") for page in PAGES)])
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]


def test_results_are_those_of_the_metrics_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    if readme.BEGIN + readme.results() + readme.END not in README:
        pytest.fail("README.md: its results are not those of metrics/; run `make readme`", pytrace=False)


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"(?:    |`)make ([a-z-]+)", TEXT)) <= targets


def test_experiments_leave_the_working_tree_alone() -> None:
    """Without --temp or --queue the parameters of one experiment stay for the next."""
    lines = [line for line in TEXT.splitlines() if line.startswith("    dvc exp run ")]
    assert len(lines) > 8
    assert not [line for line in lines if line.split()[3] not in ("--temp", "--queue")]


def test_the_readme_is_short_and_leads_to_the_pages() -> None:
    assert len(README.splitlines()) <= 150
    assert all(f"docs/{page.name})" in README for page in PAGES)


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))], ids=lambda page: page.stem
)
def test_links_have_targets(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not link.startswith("http"):
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            assert target.exists(), link
            if anchor:
                headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), flags=re.MULTILINE)
                assert anchor in {
                    re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings
                }, link


def test_outputs_of_the_stages_are_those_of_dvc_yaml() -> None:
    text = TEXT.split("# The pipeline\n")[1]
    rows = re.findall(r"^\| `([a-z-]+)` \| .* \| (.+) \|$", text, flags=re.MULTILINE)
    assert [name for name, _ in rows] == list(STAGES)
    for name, cell in rows:
        entries = [out for kind in ("outs", "metrics", "plots") for out in STAGES[name].get(kind, [])]
        outs = {next(iter(out)) if isinstance(out, dict) else out for out in entries}
        patterns = [pattern.rstrip("/") for pattern in re.findall(r"`([^`]+)`", cell)]
        assert all(any(fnmatch(out, pattern) for pattern in patterns) for out in outs), name
        assert all(any(fnmatch(out, pattern) for out in outs) for pattern in patterns), name


@pytest.mark.parametrize("key", sorted(set(re.findall(r"-S ([a-z_.]+)=", TEXT))))
def test_parameters_exist(key: str) -> None:
    from cxr.params import load_params

    section, name = key.split(".")
    assert hasattr(getattr(load_params(ROOT / "params.yaml"), section), name)


@pytest.mark.parametrize("reference", sorted(set(re.findall(r"`([\w/]+\.py(?:: [\w.]+)?)`", ARCHITECTURE))))
def test_files_and_names_of_the_architecture_exist(reference: str) -> None:
    file, _, name = reference.partition(": ")
    paths = [folder / file for folder in (ROOT, ROOT / "cxr") if (folder / file).is_file()]
    assert paths
    body = ast.parse(paths[0].read_text()).body
    for part in name.split(".") if name else []:
        definitions = [node for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
        (definition,) = [node for node in definitions if node.name == part]
        body = definition.body


def test_an_edit_in_a_room_reruns_the_stages_listed() -> None:
    rows = dict(re.findall(r"^\| `cxr/([a-z]+)/` \| ([^;|]+)", ARCHITECTURE, flags=re.MULTILINE))
    rooms = {path.parent.name for path in ROOT.glob("cxr/*/__init__.py")} - {"commands"}
    assert set(rows) == rooms
    for room, listed in rows.items():
        stages = set(STAGES) if listed.strip() == "every stage" else set(listed.strip().split(", "))
        assert stages == {stage for stage in STAGES if f"cxr/{room}" in STAGES[stage]["deps"]}, room


# Published by others, or of a comparison that no metrics file holds; each with its source in the sentence.
QUOTED_NUMBERS = {"857", "883", "9247", "9359"}


def test_numbers_in_the_readme_are_generated():
    """Outside of the generated block no result is typed by hand."""
    before, rest = TEXT.split(readme.BEGIN)
    outside = before + rest.split(readme.END)[1]
    prose = re.sub(r"https?://\S+|`[^`]*`|^    .*$", "", outside, flags=re.MULTILINE)
    found = set(re.findall(r"(?<![\w.])0?\.(\d{2,})(?![\w.])", prose))
    assert found <= QUOTED_NUMBERS


def test_numbers_in_the_card_are_generated():
    """Its template has no result typed by hand: text between tags has no decimal fraction."""
    template = (ROOT / "stages/model_card.md.j2").read_text(encoding="utf-8")
    prose = re.sub(r"{%.*?%}|{{.*?}}|https?://\S+", "", template, flags=re.DOTALL)
    assert re.findall(r"\d*\.\d{2,}", prose) == []


def test_a_changed_metric_is_a_changed_readme(tmp_path, monkeypatch):
    """Every result in the block follows its metrics file."""
    for name in ("metrics", "docs"):
        (tmp_path / name).mkdir()
    for path in ("test", "data", "retrieval_details", "details"):
        shutil.copy(ROOT / f"metrics/{path}.json", tmp_path / "metrics")
    shutil.copy(ROOT / "docs/test_ledger.yaml", tmp_path / "docs")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    before = readme.results()
    details = json.loads(Path("metrics/details.json").read_text())
    details["test"]["calibration"]["temperature"]["ece_at_prevalence"]["value"] = 0.1234
    details["test"]["variability"]["auc"]["between_seed_sd"] = 0.5678
    Path("metrics/details.json").write_text(json.dumps(details))
    after = readme.results()
    assert ("0.1234" in after, "0.5678" in after) == (True, True)
    assert ("0.1234" in before, "0.5678" in before) == (False, False)
