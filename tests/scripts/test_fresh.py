"""`make fresh` names each stale stage with what changed, and is silent about files that are not here."""

import sys
from pathlib import Path

from scripts import fresh
from scripts.fresh import stale
from tests.repository import Repository, copy_of


def test_reasons_are_what_changed_not_what_is_absent():
    status = {
        "download": [{"changed deps": {"data/folder": "modified"}}],
        "split": [
            {"changed deps": {"data/raw/images.npy": "deleted"}},
            {"changed outs": {"a": "not in cache"}},
        ],
        "train": [
            {
                "changed deps": {
                    "data/images.npy": "deleted",
                    "params.yaml": {"train.lr": "modified", "seed": "new"},
                }
            }
        ],
        "card": ["changed command", {"changed outs": {"reports/model_card.md": "modified"}}],
    }
    assert list(stale(status)) == [
        "download: data/folder",
        "train: train.lr in params.yaml, seed in params.yaml",
        "card: changed command, reports/model_card.md, which it wrote",
    ]


def test_in_a_clone_without_data(tiny_run: Repository, tmp_path: Path) -> None:
    clone = copy_of(tiny_run, tmp_path / "clone")
    command = (sys.executable, "-m", "scripts.fresh")
    assert clone.run(*command).strip() == fresh.UP_TO_DATE
    with (clone.path / "stages/card.py").open("a") as file:
        file.write("\n")
    params = clone.path / "params.yaml"
    params.write_text(params.read_text().replace("bootstrap: 200", "bootstrap: 201"))
    lines = clone.run(*command, code=1).splitlines()
    assert "card: stages/card.py" in lines
    assert "robustness: evaluate in params.yaml" in lines
    assert not [line for line in lines if line.startswith(("download", "train"))]
    assert lines[-1] == "error: 5 stages are stale; run `dvc repro` and commit what it writes"
