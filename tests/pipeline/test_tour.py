"""docs/tour.ipynb runs from its first to its last cell on a small run, and is committed without outputs."""

import json
import re

import nbformat
import pytest
from nbclient import NotebookClient

from tests.builders import ROOT
from tests.repository import Repository

PATH = ROOT / "docs/tour.ipynb"
LARGEST = 100_000  # bytes


def test_it_is_small_valid_and_without_outputs() -> None:
    assert PATH.stat().st_size < LARGEST
    notebook = nbformat.read(PATH, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code" and (cell.outputs or cell.execution_count):
            pytest.fail("docs/tour.ipynb has outputs; clear all of them before you commit it", pytrace=False)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


def test_its_links_and_figures_are_there() -> None:
    text = "\n".join("".join(cell["source"]) for cell in json.loads(PATH.read_text())["cells"])
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (PATH.parent / link).is_file(), link
    for figure in re.findall(r'Image\("([^"]+)"', text):
        assert (ROOT / figure).is_file(), figure


@pytest.mark.long  # starts a kernel: ten seconds
def test_every_cell_runs_and_draws(tiny_run: Repository) -> None:
    notebook = nbformat.read(PATH, as_version=4)
    folder = {"metadata": {"path": str(tiny_run.path / "docs")}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=folder).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output.get("text", "") for output in outputs)
    assert "images of 28 x 28 pixels" in printed
    figures = [output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert len(figures) == 8
    assert min(map(len, figures)) > 5_000  # an empty figure is smaller
    assert tiny_run.run("git", "status", "--porcelain") == ""
