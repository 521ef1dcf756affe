"""Data sets of Kaggle come from the mirror or through kagglehub; what is missing is an error of one line.

kagglehub itself runs here, against a local server in place of Kaggle.
"""

import io
import struct
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from kagglesdk import kaggle_env

from cxr.core.dataset import SPLITS
from cxr.data.kaggle import fetch_tree, find_splits
from tests.builders import Answer, Site, files_below, refused

HANDLE = "someone/images/versions/2"
# As Kaggle's chest-xray-pneumonia: wrapped, with a second copy inside and what macOS adds.
QUIRKS = ("wrap/wrap/{}/a/1.png", "wrap/__MACOSX/wrap/{}/a/._1.png", "wrap/{}/a/1.png")
PLAIN = ("{}/a/1.png",)
ROOT = {PLAIN: "", QUIRKS: "wrap"}


def files(patterns: tuple[str, ...]) -> list[str]:
    return [pattern.format(split) for pattern in patterns for split in SPLITS]


def archive(patterns: tuple[str, ...]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name in files(patterns):
            file.writestr(name, f"content of {name}")
    return stream.getvalue()


@pytest.fixture
def mirror(tmp_path, monkeypatch) -> Path:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("CXR_MIRROR", str(tmp_path / "mirror"))
    (tmp_path / "mirror").mkdir()
    return tmp_path / "mirror"


@pytest.fixture
def site(tmp_path, monkeypatch) -> Iterator[Site]:
    """A server in place of Kaggle; kagglehub's cache is tmp_path/cache, and there is no token."""
    for name in ("CXR_MIRROR", "KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "KAGGLE_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Site(("127.0.0.1", 0), Answer) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.LOCAL, address)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


def stop(server: Site) -> None:
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("patterns", ROOT, ids=["plain", "quirks"])
def test_folder_of_the_mirror_is_used_where_it_lies(mirror, patterns):
    for name in files(patterns):
        (mirror / "images" / name).parent.mkdir(parents=True)
        (mirror / "images" / name).touch()
    with fetch_tree(HANDLE) as root:
        assert root == mirror / "images" / ROOT[patterns]
    assert len(files_below(mirror)) == len(files(patterns))


@pytest.mark.parametrize("patterns", ROOT, ids=["plain", "quirks"])
def test_archive_of_the_mirror_is_unpacked_temporarily(mirror, tmp_path, patterns):
    (mirror / "images.zip").write_bytes(archive(patterns))
    with fetch_tree(HANDLE) as root:
        text = (root / "val/a/1.png").read_text()
        assert text == f"content of {Path(ROOT[patterns]) / 'val/a/1.png'}"
        assert "images.zip" in root.parts
    assert files_below(tmp_path) == ["mirror/images.zip"]


def test_damaged_archive_is_an_error(mirror, tmp_path):
    (mirror / "images.zip").write_bytes(archive(PLAIN)[:-20])
    with refused(f"{mirror / 'images.zip'} (from CXR_MIRROR): cannot be unpacked"), fetch_tree(HANDLE):
        pass
    assert files_below(tmp_path) == ["mirror/images.zip"]


def test_an_archive_that_would_fill_the_disk_is_an_error(mirror, tmp_path):
    path = mirror / "images.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open("train/a/1.png", "w") as member:
        for _ in range(30):
            member.write(bytes(1_000_000))
    assert path.stat().st_size < 40_000
    with refused(f"{path} (from CXR_MIRROR): would unpack to 30,000,000 bytes"), fetch_tree(HANDLE):
        pass
    assert files_below(tmp_path) == ["mirror/images.zip"]


def test_an_archive_writes_no_more_than_it_states(mirror, tmp_path):
    """Its headers state a size of 1 byte for 10 million."""
    content, stream = bytes(10_000_000), io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("train/a/1.png", content)
    data = stream.getvalue().replace(struct.pack("<I", len(content)), struct.pack("<I", 1))
    (mirror / "images.zip").write_bytes(data)
    with refused(f"{mirror / 'images.zip'} (from CXR_MIRROR): cannot be unpacked"), fetch_tree(HANDLE):
        pass
    assert files_below(tmp_path) == ["mirror/images.zip"]


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["train", "val"], "no folder in it holds train, val and test"),
        (["a/train", "a/val", "b/test"], "no folder in it holds train, val and test"),
        ([f"{copy}/{split}" for copy in "ab" for split in SPLITS], "a and b both hold train, val and test"),
    ],
    ids=["no test", "scattered", "two copies side by side"],
)
def test_tree_without_one_folder_of_all_splits_is_an_error(tmp_path, folders, message):
    for name in folders:
        (tmp_path / name).mkdir(parents=True)
    with refused(f"{tmp_path}: {message}"):
        find_splits(tmp_path)


def test_splits_are_found_in_either_case(tmp_path):
    for name in ("TRAIN", "Val", "test"):
        (tmp_path / "set" / name).mkdir(parents=True)
    assert find_splits(tmp_path) == tmp_path / "set"


def test_download_is_kept_by_kagglehub(site, tmp_path):
    site.body = archive(QUIRKS)
    with fetch_tree(HANDLE) as root:
        assert root.is_relative_to(tmp_path / "cache")
        assert (root / "test/a/1.png").read_text() == "content of wrap/test/a/1.png"
    stop(site)
    with fetch_tree(HANDLE) as again:  # the version is part of the handle, so no request is needed
        assert again == root


def test_mirror_comes_before_kaggle(site, mirror):
    stop(site)
    (mirror / "images.zip").write_bytes(archive(PLAIN))
    with fetch_tree(HANDLE) as root:
        assert (root / "train/a/1.png").is_file()


@pytest.mark.parametrize("handle", [HANDLE, "someone/images"])
@pytest.mark.parametrize("status", [401, 403])
def test_missing_token_or_terms_are_named(site, tmp_path, handle, status):
    site.status = status
    page = "https://www.kaggle.com/datasets/someone/images"
    with (
        refused(
            f"could not fetch {handle} from Kaggle (status {status}) and CXR_MIRROR is not set",
            f"accept its terms at {page} and put a token of https://www.kaggle.com/settings/api into",
            "KAGGLE_API_TOKEN or ~/.kaggle/access_token, ",
            f"or download {page} elsewhere as images.zip and set CXR_MIRROR to its folder",
        ),
        fetch_tree(handle),
    ):
        pass
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("handle", [HANDLE, "someone/images"])
def test_offline_error_names_the_remedies(site, mirror, handle):
    stop(site)
    with (
        refused(
            f"could not fetch {handle} from Kaggle (",
            f"it is not in CXR_MIRROR={mirror} either; go online, or download https://www.kaggle.com/",
        ),
        fetch_tree(handle),
    ):
        pass


@pytest.mark.parametrize("body", [b"", b"<html>busy</html>"], ids=["empty", "a web page"])
def test_response_that_is_no_archive_is_an_error(site, body):
    site.body = body
    with refused(f"could not fetch {HANDLE} from Kaggle ("), fetch_tree(HANDLE):
        pass


def test_interrupted_download_is_an_error(site):
    whole = archive(PLAIN)
    site.body, site.announced = whole[:100], len(whole)
    with refused(f"could not fetch {HANDLE} from Kaggle ("), fetch_tree(HANDLE):
        pass


def test_unusable_credentials_are_named(site, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home/kaggle.json").write_text("{")
    with refused(f"Invalid Kaggle credentials file at {tmp_path / 'home/kaggle.json'}"), fetch_tree(HANDLE):
        pass
