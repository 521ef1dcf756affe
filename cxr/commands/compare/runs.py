"""What a run committed to Git: predictions, test metrics and parameters, read without DVC's cache."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cxr import params, recipes
from cxr.core.errors import UserError
from cxr.data.provenance import MEDMNIST
from cxr.inference import predictions
from cxr.inference.predictions import Predictions, parse_predictions
from cxr.reports import ledger

TEST = Path("metrics/test.json")
DETAILS = Path("metrics/details.json")
LOCK = Path("dvc.lock")
WEIGHTS = "models/classifier.safetensors"


@dataclass(frozen=True)
class Run:
    """name: as the user gave it, or "the workspace". commit: the full hash; None for the workspace. params:
    values by dotted key. test: the content of metrics/test.json. threshold: of the released decision, None
    for the most probable class. stated: whether metrics/details.json names it; if not, the threshold is None.
    weights: the hash of the networks in dvc.lock, None if it is unknown."""

    name: str
    commit: str | None
    predictions: Predictions
    params: dict[str, Any]
    test: dict[str, Any]
    threshold: float | None = None
    stated: bool = True
    weights: str | None = None


@dataclass(frozen=True)
class EvaluationsOnTest:
    """earlier: readings of test before B. ledger: whether the ledger at A counts them; if not, they are the
    commits that published test results, a lower bound."""

    earlier: int
    ledger: bool


def read_run(revision: str | None) -> Run:
    """A revision of the repository in the working directory, bare or not; None: the working tree.

    Raises `UserError` if there is no such revision, or no readable result of the pipeline at it.
    """
    name = revision or "the workspace"
    commit = resolve(revision) if revision else None

    def content(path: Path) -> bytes:
        return _at(commit, path, name) if commit else _here(path)

    def optional(path: Path) -> bytes:
        try:
            return content(path)
        except UserError:
            return b""

    threshold, stated = _threshold(optional(DETAILS))
    return Run(
        name,
        commit,
        _predictions(content(predictions.PATH), name),
        _params(content(params.PATH), name),
        _test(content(TEST), name),
        threshold,
        stated,
        _weights(optional(LOCK)),
    )


def resolve(revision: str) -> str:
    """The full hash of the commit. revision: a Git revision, or the name of a DVC experiment.

    Raises `UserError` outside of a Git repository, if there is no such commit, or if several experiments have
    this name.
    """
    inside = _git("rev-parse", "--git-dir")
    if inside.returncode:
        raise UserError(f"{Path.cwd()}: not in a Git repository ({_reason(inside)}); go to your clone's root")
    commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if commit.returncode == 0:
        return commit.stdout.decode().strip()
    experiments = _experiments(revision)
    if len(experiments) > 1:
        raise UserError(
            f"{revision}: the name of {len(experiments)} experiments; name the commit of one of them "
            f"({', '.join(each[:7] for each in experiments)})"
        )
    if not experiments:
        raise UserError(
            f"{revision}: no such Git revision here, and no DVC experiment of this name; see `git log "
            "--oneline`, `git branch --all` and `dvc exp list --all-commits`"
        )
    return experiments[0]


def _experiments(name: str) -> list[str]:
    """The commits of the DVC experiments called `name`. DVC keeps them as refs/exps/<2>/<38>/<name>, with the
    digits of the commit on which the experiment was run."""
    listed = _git("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps/")
    refs = [line.split(" ", 1) for line in listed.stdout.decode().splitlines()]
    return [commit for commit, ref in refs if ref.count("/") == 4 and ref.rsplit("/", 1)[1] == name]


def changed_params(a: Run, b: Run) -> dict[str, tuple[Any, Any]]:
    """The parameters that differ, by dotted key; None is the value of one that a side does not have."""
    keys = dict.fromkeys([*a.params, *b.params])
    pairs = {key: (a.params.get(key), b.params.get(key)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def evaluations_on_test(a: Run, b: Run) -> EvaluationsOnTest:
    """Test-set evaluations before B: the readings in the ledger at A, or, if it has none of its test set, the
    commits in the history of either side that changed the predictions, without the one that added B's.

    Raises `UserError` if the ledger at A cannot be read.
    """
    readings = _readings(a)
    if readings is not None:
        return EvaluationsOnTest(readings, ledger=True)
    ends = [run.commit or resolve("HEAD") for run in (a, b)]
    path = predictions.PATH.as_posix()
    history = _git("rev-list", "--count", "--full-history", "--no-merges", *ends, "--", f":(top){path}")
    committed = b.commit is not None or (
        _git("hash-object", "--", path).stdout
        == _git("rev-parse", "--quiet", "--verify", f"HEAD:{path}").stdout
    )
    return EvaluationsOnTest(int(history.stdout) - committed, ledger=False)


def _readings(run: Run) -> int | None:
    """The number of readings in the ledger at a revision; None if it has no ledger of its test set."""
    shown = _git("show", f"{run.commit or 'HEAD'}:{ledger.PATH.as_posix()}")
    if shown.returncode:
        return None
    try:
        found = ledger.parse_ledger(shown.stdout.decode("utf-8", errors="replace"))
    except UserError as error:
        raise UserError(f"{error} (at {run.name})") from None
    source = str(run.params.get("download.source")).removeprefix(MEDMNIST)
    return len(found.readings) if found.test_set == source else None


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", *arguments], capture_output=True)
    except FileNotFoundError:
        raise UserError("git: no such program; install Git to compare revisions") from None


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    """The first line of Git's error message."""
    return (done.stderr.decode(errors="replace").strip().splitlines() or ["git gives no reason"])[0]


def _at(commit: str, path: Path, name: str) -> bytes:
    shown = _git("show", f"{commit}:{path.as_posix()}")
    if shown.returncode:
        raise UserError(
            f"{path}: cannot be read at {name} ({_reason(shown)}); name a revision at which the pipeline has "
            "run"
        )
    return shown.stdout


def _here(path: Path) -> bytes:
    if not path.is_file():
        raise UserError(
            f"{path}: no such file in the workspace; run `dvc repro` in the repository's root, or name two "
            "revisions"
        )
    return path.read_bytes()


def _predictions(content: bytes, name: str) -> Predictions:
    try:
        parsed = parse_predictions(content.decode("utf-8"))
    except ValueError:  # UnicodeDecodeError is one
        raise _broken(predictions.PATH, name) from None
    if not (np.isfinite(parsed.ensemble).all() and np.isfinite(parsed.members).all()):
        raise _broken(predictions.PATH, name)
    return parsed


def _params(content: bytes, name: str) -> dict[str, Any]:
    # Not cxr.params: an older revision may well have other parameters than this one.
    try:
        tree = YAML(typ="safe").load(content)
    except YAMLError:
        tree = None
    if not isinstance(tree, dict):
        raise _broken(params.PATH, name)
    return dict(recipes.leaves(tree))


def _test(content: bytes, name: str) -> dict[str, Any]:
    try:
        tree = json.loads(content)
    except ValueError:
        tree = None
    if not isinstance(tree, dict):
        raise _broken(TEST, name)
    return tree


def _threshold(content: bytes) -> tuple[float | None, bool]:
    """The released threshold, and whether it is stated: runs of early versions do not state it."""
    try:
        found = json.loads(content)["test"]["threshold"]
    except (ValueError, LookupError, TypeError):
        return None, False
    return (None if found is None else float(found)), True


def _weights(content: bytes) -> str | None:
    try:
        stages = YAML(typ="safe").load(content)["stages"]
        return next(str(out["md5"]) for out in stages["train"]["outs"] if out["path"] == WEIGHTS)
    except (YAMLError, LookupError, TypeError, StopIteration):
        return None


def _broken(path: Path, name: str) -> UserError:
    return UserError(f"{path}: at {name} it is not a file that this pipeline wrote; run `dvc repro` there")
