"""Weights come from the mirror, else the library's cache, else the network (here a server on this
machine)."""

import hashlib
import socket
import subprocess
import sys
import threading

import pytest
import torch
from safetensors.torch import save_file

from cxr.core.fetch import Setting, from_hub, from_mirror, from_url, nearest, stated_hash
from cxr.models.weights import read_state, reading
from tests.builders import ROOT, Answer, Site, files_below, refused
from tests.hub import COMMIT, serving_hub

X = Setting("clip_embed.encoder", "x")
BODY = b"weights"
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def served():
    """Starts servers of this machine and stops them after the test."""
    servers = []

    def serve(kind, handler):
        server = kind(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return server

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def unreachable():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    return f"http://127.0.0.1:{port}"  # nothing listens there any more


@pytest.fixture
def site(served):
    server = served(Site, Answer)
    server.body = BODY
    return server


@pytest.fixture(autouse=True)
def no_files(tmp_path, monkeypatch):
    """An empty mirror and an empty cache."""
    (tmp_path / "mirror").mkdir()
    monkeypatch.setenv("CXR_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def hub(monkeypatch):
    with serving_hub(monkeypatch) as server:
        server.files |= {"config.json": b"{}", "pytorch_model.bin": BODY, "tf_model.h5": b"large"}
        yield server


def from_tiny(revision=COMMIT):
    setting = Setting("clip_embed.encoder", "acme/tiny")
    return from_hub(setting, "acme/tiny", revision, ["model.safetensors", "pytorch_model.bin"], ["*.json"])


def test_url_mirror_then_cache_then_network(tmp_path, site):
    url = site.url.replace("tiny.npz", "tiny.pth")
    mirrored, cached = tmp_path / "mirror/tiny.pth", tmp_path / "cache/tiny.pth"
    assert from_url(X, url, SHA256, tmp_path / "cache") == cached
    assert cached.read_bytes() == BODY
    site.status = 500
    assert from_url(X, url, SHA256[:8], tmp_path / "cache") == cached
    mirrored.write_bytes(BODY)
    assert from_url(X, url, SHA256[:8], tmp_path / "cache") == mirrored


def test_wrong_hash_is_not_kept(tmp_path, site):
    with refused("clip_embed.encoder is x", site.url, "invalid hash"):
        from_url(X, site.url, "0" * 8, tmp_path / "cache")
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("place", ["mirror", "cache"])
def test_wrong_hash_of_a_file_that_is_here_is_an_error(tmp_path, site, place):
    path = tmp_path / place / "tiny.npz"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"other weights")
    with refused(f"{path} has sha256", f"not {SHA256[:8]}...; replace it by"):
        from_url(X, site.url, SHA256[:8], tmp_path / "cache")


def test_hash_in_the_name_of_a_published_file():
    assert stated_hash("https://download.pytorch.org/models/resnet18-f37072fd.pth") == "f37072fd"
    assert stated_hash("https://example.org/resnet18-v2.pth") == ""


def test_unreachable_url_is_an_error(tmp_path, unreachable, monkeypatch):
    with refused(
        "clip_embed.encoder is x", "Connection refused", "not in CXR_MIRROR=", "go online, or download w.pth"
    ):
        from_url(X, f"{unreachable}/w.pth", "", tmp_path / "cache")
    monkeypatch.delenv("CXR_MIRROR")
    with refused("CXR_MIRROR is not set"):
        from_url(X, f"{unreachable}/w.pth", "", tmp_path / "cache")
    assert files_below(tmp_path) == []


def test_silent_server_is_a_timeout(tmp_path, monkeypatch):
    monkeypatch.setattr("cxr.core.fetch.TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener, refused("timed out"):
        from_url(X, f"http://127.0.0.1:{listener.getsockname()[1]}/w.pth", "", tmp_path / "cache")
    assert socket.getdefaulttimeout() is None


def test_only_the_needed_files_come_from_the_hub(hub):
    path = from_tiny()
    assert path.read_bytes() == BODY
    assert sorted(file.name for file in path.parent.iterdir()) == ["config.json", "pytorch_model.bin"]


@pytest.mark.parametrize("revision", [COMMIT, "main", None])
def test_hubs_cache_needs_no_network(hub, unreachable, monkeypatch, revision):
    path = from_tiny(revision)
    before = len(hub.requests)
    assert from_tiny(revision) == path
    assert len(hub.requests) == before
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", unreachable)
    assert from_tiny(revision) == path


def test_hub_prefers_the_first_format(hub):
    hub.files["model.safetensors"] = b"safe"
    assert from_tiny().read_bytes() == b"safe"
    assert not any("pytorch_model.bin" in path for path in hub.requests)


def test_mirror_comes_before_the_hub(tmp_path, hub):
    for folder in ("tiny", "acme/tiny"):
        file = tmp_path / "mirror" / folder / "pytorch_model.bin"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"mirrored")
        assert from_tiny() == file
    assert hub.requests == []


def test_another_commit_in_the_mirror_is_an_error(tmp_path):
    """`hf download` records the commit of each file."""
    folder = tmp_path / "mirror/acme/tiny"
    record = folder / ".cache/huggingface/download/pytorch_model.bin.metadata"
    record.parent.mkdir(parents=True)
    (folder / "pytorch_model.bin").write_bytes(BODY)
    record.write_text(f"{COMMIT}\ntag\n0\n")
    assert from_tiny() == folder / "pytorch_model.bin"
    with refused(f"{folder} holds commit {COMMIT} where clip_embed.revision asks for {COMMIT[::-1]}"):
        from_tiny(COMMIT[::-1])


def test_repository_without_weights_is_an_error(hub):
    del hub.files["pytorch_model.bin"]
    with refused("acme/tiny on the Hugging Face hub has none of model.safetensors, pytorch_model.bin"):
        from_tiny()


def test_unknown_repository_is_an_error(hub):
    with refused("params.yaml: clip_embed.encoder is acme/none", "404", "check its name"):
        from_hub(Setting("clip_embed.encoder", "acme/none"), "acme/none", COMMIT, ["model.safetensors"])


def test_unreachable_hub_is_an_error_at_once(unreachable, monkeypatch, capfd):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", unreachable)
    with refused(
        "params.yaml: clip_embed.encoder is acme/tiny",
        "Connection refused",
        "go online",
        f"`hf download acme/tiny --revision {COMMIT} --local-dir FOLDER/acme/tiny`",
        "CXR_MIRROR",
    ):
        from_tiny()
    assert capfd.readouterr() == ("", "")


def test_error_names_the_offline_mode_of_the_user(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with refused("clip_embed.encoder is acme/tiny", "HF_HUB_OFFLINE"):
        from_tiny()


def test_nearest_names():
    assert nearest("resnet19", ["vgg16", "resnet18", "resnet101", "alexnet"]).startswith("resnet18")
    assert nearest("?", ["b", "a"]) == "a, b"


def test_pixels_starts_without_pytorch():
    code = "import sys, stages.clip_embed; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n", done.stderr


def chosen(name="own.pth"):
    return Setting("model.weights", f"file:{name}")


def test_users_file_comes_from_the_mirror_alone(tmp_path, monkeypatch):
    path = tmp_path / "mirror/own.pth"
    with refused(
        "model.weights is file:own.pth", f"CXR_MIRROR={path.parent} has no file own.pth; put it there"
    ):
        from_mirror(chosen(), "own.pth", SHA256)
    path.write_bytes(BODY)
    assert from_mirror(chosen(), "own.pth", SHA256) == path
    assert from_mirror(chosen(), "own.pth", SHA256.upper()) == path
    monkeypatch.delenv("CXR_MIRROR")
    with refused("model.weights is file:own.pth", "CXR_MIRROR is not set", "the folder that holds own.pth"):
        from_mirror(chosen(), "own.pth", SHA256)


def test_users_file_needs_its_whole_hash(tmp_path):
    path = tmp_path / "mirror/own.pth"
    path.write_bytes(BODY)
    with refused("model.weights_sha256 is none", f"`sha256sum {path}` gives {SHA256}"):
        from_mirror(chosen(), "own.pth", "none")
    for other in (SHA256[:8], hashlib.sha256(b"other weights").hexdigest()):
        with refused(f"{path} has sha256 {SHA256}, where model.weights_sha256 is {other}"):
            from_mirror(chosen(), "own.pth", other)


@pytest.mark.parametrize("content", [{}, [torch.ones(1)], {"state_dict": {"x": torch.ones(1)}}, {"x": 1}])
def test_file_without_plain_tensors_is_an_error(tmp_path, content):
    torch.save(content, tmp_path / "own.pth")
    path = tmp_path / "own.pth"
    with refused(f"{path} cannot be used", "no plain dictionary of tensors"), reading(chosen(), path):
        read_state(path)


def test_both_formats_hold_the_same_tensors(tmp_path):
    state = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(7)}
    torch.save(state, tmp_path / "own.pth")
    save_file(state, tmp_path / "own.safetensors")
    for path in (tmp_path / "own.pth", tmp_path / "own.safetensors"):
        read = read_state(path)
        assert read.keys() == state.keys()
        assert all(torch.equal(read[key], state[key]) for key in state)
