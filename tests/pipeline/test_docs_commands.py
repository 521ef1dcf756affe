"""The commands of docs/experiments.md, docs/prediction.md and docs/validate.md run, in this order, in a small
copy of the pipeline; docs/walkthrough.md has a test of its own.

Long: a dozen experiments. Not run here: commands that need published weights or another data set
(tests/pipeline/test_clip.py, tests/data/ and others run these on stand-ins), a cluster or a server.
"""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr.core.files import read_csv
from tests.builders import ROOT, dicom, dicom_bytes
from tests.repository import Repository
from tests.scripts.test_docs_commands import commands_in
from tests.sweeps import experiments_in

pytestmark = pytest.mark.long

PAGES = ("experiments", "prediction", "validate")
ELSEWHERE = (
    "openai/clip",
    "chest_xray_",
    "medgemma",
    "vit_large",
    "RAY_ADDRESS",
    "make serve",
    "docker",
    "curl",
    "../shared/data/films",
    "cxr validate chest_xray/test",
)
SMALL = " ".join(
    f"-S {change}"
    for change in (
        "download.source=phantom",
        "phantom.images=240",
        "train.members=1",
        "train.epochs=1",
        "evaluate.bootstrap=200",
        "compute.workers=1",
    )
)
# For what takes long, or asks for what a fresh clone has: the same in small.
SHORTER = {
    "cxr recipe small_cnn |": f"(cxr recipe small_cnn; echo {SMALL}) |",
    "echo -S train.lr": f"echo {SMALL} -S train.lr",
    "cxr recipe --apply resnet18": "cxr recipe --apply resnet18 && git checkout --quiet params.yaml",
    "git commit --all": "git commit --allow-empty --all",  # the same results: nothing to commit
    "make repro": "dvc repro",  # as the Makefile has it, without the environment
    "range(0,5)": "range(0,1)",
    "train.lr=0.001,0.003": "train.lr=0.001",
    "--trials 30": "--trials 1",
    "int(interval(10,40))": "int(interval(1,2))",
    "cxr sweep": "git commit --quiet --allow-empty --all --message 'all that was applied' && cxr sweep",
    "baseline rate other": "baseline rate main",
}


def prepare(folder: Path) -> None:
    """The files that the commands name."""
    images = np.load(folder / "data/images.npy", mmap_mode="r")
    table = read_csv(folder / "data/labels.csv")
    test = [row for row, each in enumerate(table) if each["split"] == "test"]
    picture = Image.fromarray(images[test[0]])
    (folder / "more").mkdir()
    picture.save(folder / "chest.png")
    picture.save(folder / "more/another.jpeg")
    (folder / "study.dcm").write_bytes(dicom_bytes(dicom(images[test[1]])))
    lines = ["path,label"]
    for row in test:
        for top in ("archive", "my_radiographs", "radiographs"):
            path = folder / top / table[row]["class"] / f"{row}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[row]).save(path)
        lines.append(f"{path.relative_to(folder)},{table[row]['class']}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def repository(tiny_run: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    copy = Repository(tmp_path_factory.mktemp("docs") / "repository")
    shutil.copytree(tiny_run.path, copy.path, symlinks=True)
    copy.run("git", "config", "user.name", "reader")
    copy.run("git", "config", "user.email", "reader@localhost")
    prepare(copy.path)
    return copy


@pytest.fixture(scope="module")
def printed(repository: Repository) -> dict[str, str]:
    """What each command printed, by its text without the comment."""
    done = {}
    for page in PAGES:
        for line in commands_in((ROOT / f"docs/{page}.md").read_text(encoding="utf-8")):
            if not any(word in line for word in ELSEWHERE):
                command = re.sub(r"\s+# .*", "", line).strip()
                shell = command
                for long, short in SHORTER.items():
                    shell = shell.replace(long, short)
                # The reader waits for what the page starts in the background.
                waiting = " && while dvc queue status | grep -Eq 'Running|Queued'; do sleep 1; done"
                shell += waiting if "queue start" in shell else ""
                done[command] = repository.run("bash", "-o", "pipefail", "-c", shell)
    return done


def test_every_page_is_followed(printed: dict[str, str]) -> None:
    for start in ("dvc metrics diff", "cxr compare", "cxr sweep --trials", "cxr predict", "cxr validate"):
        assert any(command.startswith(start) for command in printed)


def test_a_recipe_with_one_change_has_the_change(printed: dict[str, str], repository: Repository) -> None:
    (command,) = (each for each in printed if "echo -S" in each)
    found = re.findall(r"\[([a-z]+-[a-z]+)\]|Ran experiment\(s\): (\S+)", printed[command])
    (name,) = {max(each) for each in found}
    reference = experiments_in(repository.path)[name]
    parameters = repository.run("git", "show", f"{reference}:params.yaml")
    assert re.search(r"^ +lr: (0\.0001|1e-0?4)\b", parameters, re.MULTILINE)
    assert "backbone: small_cnn" in parameters
