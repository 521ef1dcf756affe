"""What a killed stage goes on from belongs to the same data, settings, code and PyTorch."""

import sys
import types

import torch

from cxr.core.resuming import resume_key


def test_key_changes_with_everything_that_determines_the_result(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(b"one")
    keys = [resume_key([1, "a"], [path]), resume_key([2, "a"], [path])]
    path.write_bytes(b"two")
    keys.append(resume_key([1, "a"], [path]))
    assert len(set(keys)) == 3
    path.write_bytes(b"one")
    assert resume_key([1, "a"], [path]) == keys[0]


def test_key_changes_with_the_code_and_with_pytorch(tmp_path, monkeypatch):
    """Any imported module of cxr and of stages counts, no library."""
    path = tmp_path / "code.py"
    path.write_text("one")
    for name, counts in (("cxr.new", True), ("stages.new", True), ("elsewhere", False)):
        module = types.ModuleType(name)
        module.__file__ = str(path)
        monkeypatch.setitem(sys.modules, name, module)
        before = resume_key([1], [])
        path.write_text(f"two of {name}")
        assert (resume_key([1], []) != before) is counts
        monkeypatch.delitem(sys.modules, name)
    before = resume_key([1], [])
    monkeypatch.setattr(torch, "__version__", "0.0")
    assert resume_key([1], []) != before
