"""`cxr push`: the released classifier on the Hugging Face hub, or in a folder, for `cxr.load` to read.

Radiographs of the data set are left out, so the figures of the model card, too; the only image is synthetic.
"""

import argparse
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxr.core.errors import UserError

if TYPE_CHECKING:  # `cxr --help` does not wait for ONNX Runtime
    from cxr.model import ReleasedModel

# Of the run, beside what `card_text` and `save_example` write.
MODEL_FILES = tuple(
    Path("models", name)
    for name in (
        "classifier.onnx",
        "classifier.safetensors",
        "classifier.json",
        "calibration.json",
        "typicality.safetensors",
    )
)
METRICS_FILES = tuple(Path("metrics", name) for name in ("export.json", "test.json", "reliability.csv"))
EXAMPLE, EXAMPLE_SIZE = "example.png", 224
REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")

USE = """
## Use

`example.png` is a synthetic radiograph, a digital phantom. With the package `cxr`, without PyTorch:

    $ cxr predict --model {name} example.png

    >>> import cxr
    >>> (result,) = cxr.load("{name}").predict(["example.png"])
    >>> result.decision, round(result.probabilities["{decision}"], 3)
    ('{decision}', {probability})

| file | what it holds |
|---|---|
| `classifier.onnx` | from the stored image to calibrated probabilities, for ONNX Runtime |
| `classifier.safetensors`, `classifier.json` | the weights of all members for PyTorch, and the architecture |
| `calibration.json`, `typicality.safetensors` | what the ONNX file has built in, for PyTorch |
| `metrics/` | results on test, with which `cxr validate` compares your radiographs |
"""


def add(commands: Any) -> None:
    command = commands.add_parser(
        "push",
        help="share the model on the Hugging Face hub",
        description="Uploads the released classifier of the run in this folder, with its model card and a "
        "synthetic example, to the Hugging Face hub, where `cxr predict --model ORG/NAME` and cxr.load read "
        "it. Log in by `hf auth login` or HF_TOKEN. A new repository of the hub is public.",
    )
    command.add_argument("name", metavar="ORG/NAME", help="repository of the hub; made if it does not exist")
    command.add_argument(
        "--dry-run", type=Path, metavar="FOLDER", help="write the files into this new folder, upload nothing"
    )
    command.set_defaults(call=call)


def call(arguments: argparse.Namespace) -> None:
    """Raises `UserError` if there is no complete run, if its files do not belong together, if the folder
    exists, or if the hub cannot be reached or refuses."""
    from cxr.model import load

    name, target = arguments.name, arguments.dry_run
    if not REPOSITORY.fullmatch(name):
        raise UserError(f"{name}: not of the form ORG/NAME, such as my-lab/chest-x-ray")
    if target and target.exists():
        raise UserError(f"--dry-run {target}: exists already; name a new folder")
    for path in (*MODEL_FILES, *METRICS_FILES):
        if not path.is_file():
            raise UserError(f"{path}: no such file, and a release needs it; run `dvc repro`, or `dvc pull`")
    model = load()
    check_run(model)
    parent = target.parent if target else None
    if parent:
        parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=".push-") as temporary:
        folder = Path(temporary, "files")
        write_release(folder, name, model)
        if target:
            folder.rename(target)
            files = sorted(path for path in target.rglob("*") if path.is_file())
            print("\n".join(f"{path.stat().st_size:>11,}  {path}" for path in files))
            print(f"Nothing was uploaded. `cxr predict --model {target}` reads it.")
        else:
            print(f"{upload(folder, name, model)}\n`cxr predict --model {name}` reads it.")


def check_run(model: "ReleasedModel") -> None:
    """Raises `UserError` if a file of the run describes another classifier."""
    from cxr.core.files import read_json, sha256

    onnx, weights, export = MODEL_FILES[0], MODEL_FILES[1], METRICS_FILES[0]
    if sha256(weights) != model.onnx.facts.classifier_sha256:
        raise UserError(f"{onnx} was exported from other weights than {weights}; run `dvc repro export`")
    if read_json(export)["sha256"] != model.onnx.sha256:
        raise UserError(f"{export} describes another file than {onnx}; run `dvc repro export`")
    if not model.card:
        raise UserError("reports/model_card.md: missing, or of other weights; run `dvc repro card`")


def write_release(folder: Path, name: str, model: "ReleasedModel") -> None:
    """All files of the hub's repository `name`, into the new `folder`."""
    (folder / "metrics").mkdir(parents=True)
    for path in MODEL_FILES:
        shutil.copy(path, folder / path.name)
    for path in METRICS_FILES:
        shutil.copy(path, folder / path)
    save_example(folder / EXAMPLE)
    text = card_text(name, model, folder / EXAMPLE)
    (folder / "README.md").write_text(text, encoding="utf-8", newline="\n")


def save_example(path: Path) -> None:
    """A synthetic radiograph with a finding, as PNG."""
    from PIL import Image

    from cxr.data.phantom.cohort import make_phantoms

    Image.fromarray(make_phantoms((0, 1), EXAMPLE_SIZE, 0, "test").images[0]).save(path)


def card_text(name: str, model: "ReleasedModel", example: Path) -> str:
    """The model card of the run with its YAML head, without its figures and its links into the repository,
    and with a section about the use of the released files."""
    assert model.card  # check_run
    head, body = re.fullmatch(r"(---\n.*?\n---\n)(.*)", model.card, re.S).groups()  # type: ignore[union-attr]
    body = re.sub(r"^!\[.*\]\((?!https?:).*\)\n+", "", body, flags=re.M)
    body = re.sub(r"\[([^\]]*)\]\((?!https?:|#)[^)]*\)", r"\1", body)
    (result,) = model.predict([example])
    probability = round(result.probabilities[result.decision], 3)
    return (
        head + body.rstrip() + "\n" + USE.format(name=name, decision=result.decision, probability=probability)
    )


def upload(folder: Path, name: str, model: "ReleasedModel") -> str:
    """The address of the commit. Raises `UserError` if the hub cannot be reached or refuses."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars, httpx

    from cxr.core.fetch import one_line

    if not sys.stderr.isatty():
        disable_progress_bars()
    api = HfApi()
    try:
        api.create_repo(name, exist_ok=True)
        message = f"cxr push: weights {model.onnx.facts.classifier_sha256[:12]}"
        return str(api.upload_folder(repo_id=name, folder_path=folder, commit_message=message).commit_url)
    except (OSError, ValueError, httpx.HTTPError) as error:
        raise UserError(
            f"{name}: not uploaded to {api.endpoint} ({one_line(error)}); go online, and log in by "
            "`hf auth login` or HF_TOKEN as one who may write there; --dry-run FOLDER needs no hub"
        ) from None
