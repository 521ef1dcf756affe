"""The model in DVC's registry: a version is registered, assigned to a stage, and fetched without a clone."""

import subprocess
from pathlib import Path

import pytest

import cxr
from cxr.core.files import sha256
from tests.repository import Repository, copy_of


@pytest.mark.long  # `dvc` and `gto` a dozen times: twenty seconds
def test_a_version_is_registered_assigned_and_fetched(
    tiny_run: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "cxr")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "cxr@localhost")
    storage, clone = tmp_path / "storage", copy_of(tiny_run, tmp_path / "clone")
    clone.run("dvc", "remote", "add", "--default", "storage", str(storage))
    clone.run("git", "commit", "--quiet", "--all", "--message", "a remote")
    clone.run("dvc", "config", "--local", "cache.dir", str(tiny_run.path / ".dvc/cache"))
    assert "1 file pushed" in clone.run("dvc", "push", "models/classifier.onnx")

    assert "classifier@v1.0.0" in clone.run("gto", "register", "classifier", "--version", "v1.0.0")
    assert "classifier#prod#1" in clone.run(
        "gto", "assign", "classifier", "--version", "v1.0.0", "--stage", "prod"
    )
    assert "v1.0.0" in clone.run("gto", "show")
    clone.run("dvc", "config", "--local", "--unset", "cache.dir")  # from now on it is in the remote alone

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    released = sha256(tiny_run.path / "models/classifier.onnx")
    for choice in (["--stage", "prod"], ["--rev", "v1.0.0"]):
        command = ["dvc", "artifacts", "get", str(clone.path), "classifier", *choice, "--out", "model.onnx"]
        subprocess.run(command, cwd=elsewhere, check=True, capture_output=True)
        assert sha256(elsewhere / "model.onnx") == released
        assert cxr.load(elsewhere / "model.onnx").classes == ["normal", "pneumonia"]
        (elsewhere / "model.onnx").unlink()
    wrong = ["dvc", "artifacts", "get", str(clone.path), "classifier", "--rev", "v9.9.9"]
    done = subprocess.run(wrong, cwd=elsewhere, capture_output=True, text=True)
    assert (done.returncode, [*elsewhere.iterdir()]) == (1, [])
    assert "Unable to find artifact 'classifier @ v9.9.9'" in done.stderr
