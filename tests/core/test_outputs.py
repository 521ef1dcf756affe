"""A missing output is one line that says which command gets it, in each state of a clone."""

from pathlib import Path

import pytest

from cxr.core.outputs import CACHE, missing_output

MODEL = Path("models/classifier.safetensors")
MD5 = "0123456789abcdef0123456789abcdef"
LOCK = f"""\
schema: '2.0'
stages:
  train:
    cmd: python -m stages.train
    outs:
    - path: models/classifier.json
      hash: md5
      md5: ffffffffffffffffffffffffffffffff
      size: 4
    - path: {MODEL}
      hash: md5
      md5: {MD5}
      size: 3
"""


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").touch()
    return tmp_path


def message() -> str:
    return str(missing_output(MODEL, "model"))


def test_before_the_first_run(clone: Path) -> None:
    assert message() == f"{MODEL}: no model here; build it with `dvc repro`, or fetch it with `dvc pull`"


def test_dvc_lock_names_a_model_of_another_machine(clone: Path) -> None:
    Path("dvc.lock").write_text(LOCK)
    assert f"{MODEL}: no model here, and DVC's cache lacks the one that dvc.lock names; " in message()
    for command in ("`dvc repro`", "`rm dvc.lock`", "`dvc pull`"):
        assert command in message()
    assert "`dvc checkout`" not in message()  # it would fail
    assert "\n" not in message()


def test_the_cache_has_it(clone: Path) -> None:
    Path("dvc.lock").write_text(LOCK)
    cached = clone / CACHE / MD5[:2] / MD5[2:]
    cached.parent.mkdir(parents=True)
    cached.touch()
    assert message() == f"{MODEL}: no model here, but DVC's cache has it: `dvc checkout` restores it"


def test_from_a_subfolder(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (clone / "docs/deep").mkdir(parents=True)
    monkeypatch.chdir(clone / "docs/deep")
    assert message() == f"{MODEL}: no model here; run from the repository's root, after `cd ../..`"


def test_of_another_root(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("home")
    assert str(missing_output(MODEL, "model", home)).startswith(f"{home / MODEL}: no model here; build it")
