"""Every source is checked before a byte is stored: by md5 and counts, or image by image."""

import hashlib
import io
import socket
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import medmnist
import numpy as np
import pytest
from PIL import Image

from cxr.data import manifest
from cxr.data.manifest import load_manifest
from cxr.data.medmnist import read_medmnist, unpack
from cxr.data.own_folder import read_folder
from cxr.data.radiograph import read_radiograph
from stages import download
from tests.builders import (
    Answer,
    Site,
    dicom,
    dicom_bytes,
    files_below,
    noise_images,
    refused,
    settings,
    write_params,
    write_tree,
)

COUNTS = {"train": 6, "val": 3, "test": 4}
NAMES = {"0": "normal", "1": "pneumonia"}


def arrays(size: int = 28) -> dict[str, np.ndarray]:
    """A PneumoniaMNIST of 13 images."""
    content = {}
    for seed, (split, count) in enumerate(COUNTS.items()):
        content[f"{split}_images"] = noise_images(count, size, seed)
        content[f"{split}_labels"] = (np.arange(count)[:, None] % 2).astype(np.uint8)
    return content


def npz(content: dict[str, np.ndarray]) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **content)
    return stream.getvalue()


BODY = npz(arrays())


@pytest.fixture
def site() -> Iterator[Site]:
    with Site(("127.0.0.1", 0), Answer) as server:
        server.body = BODY
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def unreachable() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    return f"http://127.0.0.1:{port}/records/tiny.npz?download=1"  # no longer in use


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Make medmnist's index point at a tiny edition; temporary files then lie in tmp_path/temporary."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.delenv("CXR_MIRROR", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    def publish(url: str, body: bytes = BODY) -> None:
        entry = {"url": url, "MD5": hashlib.md5(body).hexdigest(), "n_samples": COUNTS, "label": NAMES}
        monkeypatch.setitem(medmnist.INFO, "pneumoniamnist", medmnist.INFO["pneumoniamnist"] | entry)

    return publish


@pytest.fixture
def mirror(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    monkeypatch.setenv("CXR_MIRROR", str(folder))
    return folder


def assert_complete(data: manifest.Raw) -> None:
    expected = arrays()
    np.testing.assert_array_equal(data.images, np.concatenate([expected[f"{s}_images"] for s in COUNTS]))
    assert data.splits == ["train"] * 6 + ["val"] * 3 + ["test"] * 4
    assert data.classes[:6] == ["normal", "pneumonia"] * 3
    assert data.sources[6] == "tiny.npz/val/0"
    assert set(data.patients) == {""}


def test_download_is_read_and_not_kept(tmp_path, site, published):
    published(site.url)
    assert_complete(read_medmnist("pneumoniamnist", 28))
    assert files_below(tmp_path) == []


def test_mirror_comes_before_the_network(published, mirror, unreachable):
    published(unreachable)
    (mirror / "tiny.npz").write_bytes(BODY)
    assert_complete(read_medmnist("pneumoniamnist", 28))


def test_what_the_mirror_lacks_comes_from_the_network(tmp_path, site, published, mirror):
    published(site.url)
    assert_complete(read_medmnist("pneumoniamnist", 28))
    assert files_below(tmp_path) == []  # the mirror belongs to the user: nothing is put there


def table(path: Path, *rows: str, header: str = "split,index,patient") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_a_table_names_the_patients_of_images(published, mirror, unreachable, tmp_path):
    published(unreachable)
    (mirror / "tiny.npz").write_bytes(BODY)
    named = table(tmp_path / "patients.csv", "val,1,b", "train,5,a", "train,0, a ", "test,3,b", "test,0,")
    data = read_medmnist("pneumoniamnist", 28, named)
    assert data.patients == ["a", "", "", "", "", "a", "", "b", "", "", "", "", "b"]
    assert_complete(replace(data, patients=[""] * 13))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["train,0,a", "val,1,b", "train,0,a"], "line 4: a second row of train 0"),
        (["train,6,a"], "train 6 is no image of the data set"),
        (["train,00,a"], "train 00 is no image"),
        (["third,0,a"], "third 0 is no image"),
        (["train,0"], "names no patient"),
        (["train,0, "], "names no patient"),
        ([], "needs rows, and the columns split, index and patient"),
    ],
)
def test_a_table_of_other_images_is_refused(published, mirror, unreachable, tmp_path, rows, message):
    published(unreachable)
    (mirror / "tiny.npz").write_bytes(BODY)
    named = table(tmp_path / "patients.csv", *rows)
    with refused(str(named), message):
        read_medmnist("pneumoniamnist", 28, named)


def test_a_table_needs_its_columns_and_to_be_there(published, mirror, unreachable, tmp_path):
    published(unreachable)
    (mirror / "tiny.npz").write_bytes(BODY)
    with refused("needs rows, and the columns split, index and patient"):
        read_medmnist(
            "pneumoniamnist", 28, table(tmp_path / "patients.csv", "train,a", header="split,patient")
        )
    with refused(f"params.yaml: download.patients: {tmp_path}/absent.csv: no such file"):
        read_medmnist("pneumoniamnist", 28, tmp_path / "absent.csv")
    (tmp_path / "patients.csv").write_bytes(BODY)
    with refused("patients.csv: not a CSV table"):
        read_medmnist("pneumoniamnist", 28, tmp_path / "patients.csv")


def test_wrong_md5_in_the_mirror_is_an_error(site, published, mirror):
    published(site.url)  # the network has the right file, but a wrong one in the mirror is never skipped
    altered = BODY[:-1] + b"x"
    (mirror / "tiny.npz").write_bytes(altered)
    actual, expected = hashlib.md5(altered).hexdigest(), hashlib.md5(BODY).hexdigest()
    with refused(f"{mirror / 'tiny.npz'} (from CXR_MIRROR) has md5 {actual}, not {expected}; replace it"):
        read_medmnist("pneumoniamnist", 28)
    assert (mirror / "tiny.npz").read_bytes() == altered


def test_wrong_md5_from_the_network_is_an_error(tmp_path, site, published):
    published(site.url)
    site.body = BODY[:-1] + b"x"
    with refused(f"tiny.npz from {site.url} has md5", "nothing was kept"):
        read_medmnist("pneumoniamnist", 28)
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("sent", [0, 1000])
def test_interrupted_download_is_an_error(tmp_path, site, published, sent):
    published(site.url)
    site.body, site.announced = BODY[:sent], len(BODY)
    with refused(f"could not reach {site.url}", "CXR_MIRROR is not set"):
        read_medmnist("pneumoniamnist", 28)
    assert files_below(tmp_path) == []


def test_file_that_is_gone_is_an_error(site, published):
    published(site.url)
    site.status = 404
    with refused(f"could not reach {site.url} (Not Found)"):
        read_medmnist("pneumoniamnist", 28)


def test_offline_error_names_the_address_and_both_remedies(tmp_path, published, unreachable):
    published(unreachable)
    remedies = "go online, or download tiny.npz elsewhere and set CXR_MIRROR to its folder"
    with refused(f"could not reach {unreachable} (", "CXR_MIRROR is not set", remedies):
        read_medmnist("pneumoniamnist", 28)
    assert files_below(tmp_path) == []


def test_offline_error_names_the_mirror_that_was_searched(published, mirror, unreachable):
    published(unreachable)
    with refused(f"it is not in CXR_MIRROR={mirror} either"):
        read_medmnist("pneumoniamnist", 28)


def test_truncated_npz_is_an_error(tmp_path, site, published):
    site.body = BODY[:-200]
    published(site.url, site.body)  # even under the right md5
    with refused("tiny.npz: not a readable npz file"):
        read_medmnist("pneumoniamnist", 28)
    assert files_below(tmp_path) == []


def test_unknown_edition_is_an_error():
    with refused("params.yaml: download.size is 32; pneumoniamnist has 28, 64, 128 and 224"):
        read_medmnist("pneumoniamnist", 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"train_images": noise_images(5, 28)},
            "train_images holds uint8 (5, 28, 28), not uint8 (6, 28, 28)",
        ),
        ({"val_images": noise_images(3, 27)}, "val_images holds uint8 (3, 27, 27), not uint8 (3, 28, 28)"),
        ({"test_images": np.zeros((4, 28, 28))}, "test_images holds float64 (4, 28, 28), not uint8"),
        ({"test_images": None}, "test_images holds nothing"),
        ({"train_labels": None}, "train_labels are missing"),
        ({"val_labels": np.array([[0], [1]])}, "val_labels do not fit 3 images of 2 classes"),
        ({"val_labels": np.array([[0], [1], [2]])}, "val_labels do not fit 3 images of 2 classes"),
    ],
    ids=["count", "size", "type", "no images", "no labels", "few labels", "third class"],
)
def test_altered_copy_is_an_error(change, message):
    altered = {key: value for key, value in (arrays() | change).items() if value is not None}
    with refused("copy.npz: ", message):
        unpack(altered, 28, COUNTS, NAMES, "copy.npz")


@pytest.mark.parametrize("images", [60, 100, 240, 500])
def test_synthetic_radiographs_are_split_and_imbalanced_like_pneumoniamnist(images):
    data = download.make_synthetic(settings("phantom", images=images), 16)
    assert len(data.images) == len(data.classes) == len(data.patients) == images
    for split, fraction, normal in (("train", 0.804, 0.258), ("val", 0.089, 0.258), ("test", 0.107, 0.375)):
        classes = [name for name, s in zip(data.classes, data.splits, strict=True) if s == split]
        assert abs(len(classes) - fraction * images) <= 1
        assert abs(classes.count("normal") - normal * len(classes)) <= 1


def test_synthetic_patients_have_one_split_and_opacities_are_where_they_are_ill():
    data = download.make_synthetic(settings("phantom", images=100), 16)
    of_patient: dict[str, set[str]] = {}
    for patient, split in zip(data.patients, data.splits, strict=True):
        of_patient.setdefault(patient, set()).add(split)
    assert all(len(splits) == 1 for splits in of_patient.values())
    assert len({image.tobytes() for image in data.images}) == 100
    brightest = data.opacities.max(axis=(1, 2))
    normal = np.array(data.classes) == "normal"
    assert brightest[normal].max() == 0
    assert (brightest[~normal] > 0).mean() > 0.8


def test_too_large_synthetic_radiographs_are_an_error():
    with refused("params.yaml: download.size is 1024; source phantom has at most 512"):
        download.make_synthetic(settings("phantom", images=60), 1024)


FLAT = ("sick/b.png", "sick/a.JPG", "normal/deep/er/c.jpeg", "normal/d.PNG")
SPLIT = tuple(f"{split}/{name}/{i}.png" for split in COUNTS for name in ("normal", "sick") for i in range(2))


def test_flat_folder_is_read_in_the_order_of_its_paths(tmp_path):
    root = write_tree(tmp_path, *FLAT)
    (root / "sick" / "notes.txt").write_text("not an image")
    (root / "sick" / "._a.JPG").write_bytes(b"what macOS leaves beside a file")
    data = read_folder(root, 16)
    assert data.sources == ["normal/d.PNG", "normal/deep/er/c.jpeg", "sick/a.JPG", "sick/b.png"]
    assert data.classes == ["normal", "normal", "sick", "sick"]
    assert set(data.splits) == set(data.patients) == {""}
    for source, image in zip(data.sources, data.images, strict=True):
        np.testing.assert_array_equal(image, read_radiograph(root / source, 16))


def test_folder_with_splits_keeps_them(tmp_path):
    data = read_folder(write_tree(tmp_path, *SPLIT), 16)
    assert data.splits == ["train"] * 4 + ["val"] * 4 + ["test"] * 4
    assert data.classes == ["normal", "normal", "sick", "sick"] * 3
    assert data.sources == [f"{split}/{name.split('/', 1)[1]}" for split in COUNTS for name in SPLIT[:4]]


def test_splits_may_be_named_in_either_case(tmp_path):
    data = read_folder(write_tree(tmp_path, *(f"{name[0].upper()}{name[1:]}" for name in SPLIT)), 16)
    assert data.splits == ["train"] * 4 + ["val"] * 4 + ["test"] * 4
    assert data.sources[0] == "Train/normal/0.png"
    if not (tmp_path / "train").exists():  # on a case-sensitive file system
        (tmp_path / "train").mkdir()
        with refused(f"{tmp_path}: has both Train and train; join them"):
            read_folder(tmp_path, 16)


@pytest.mark.parametrize("stray", [".cache", "__MACOSX", "notes"])
def test_stray_folder_beside_splits_does_not_make_splits_classes(tmp_path, stray):
    root = write_tree(tmp_path, *SPLIT)
    (root / stray).mkdir()
    if stray != "notes":
        assert set(read_folder(root, 16).classes) == {"normal", "sick"}
    else:
        with refused(f"{root}: has {stray} beside train, val and test"):
            read_folder(root, 16)


def test_dicom_files_of_a_folder_are_read(tmp_path):
    root = write_tree(tmp_path, *FLAT)
    image = noise_images(1, 40)[0]
    (root / "sick/c.DCM").write_bytes(dicom_bytes(dicom(image)))
    Image.fromarray(image).save(tmp_path / "same.png")
    data = read_folder(root, 16)
    assert data.sources == ["normal/d.PNG", "normal/deep/er/c.jpeg", "sick/a.JPG", "sick/b.png", "sick/c.DCM"]
    np.testing.assert_array_equal(data.images[-1], read_radiograph(tmp_path / "same.png", 16))


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "from Excel"])
def test_patients_come_from_their_table(tmp_path, mark):
    root = write_tree(tmp_path, *FLAT)
    table = f"{mark}file,patient\nsick/a.JPG,p 1\nsick/b.png,p 1\nnormal/d.PNG,p2\n"
    (root / "patients.csv").write_text(table, encoding="utf-8")
    assert read_folder(root, 16).patients == ["p2", "", "p 1", "p 1"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("sick/a.png", "sick/b.png"), "has only the class 'sick'; a classifier needs two"),
        (("a.png",), "has no PNG, JPEG, DICOM, WebP, BMP or TIFF in class folders"),
        (SPLIT[:8], "has train, val but no test; all three, or none"),
        (SPLIT[:10], "test: has no radiographs of sick; every split needs each class"),
        (SPLIT[4:], "has test, val but no train"),
    ],
    ids=["one class", "no class", "no test", "class missing in test", "no train"],
)
def test_incomplete_folder_is_an_error(tmp_path, names, message):
    write_tree(tmp_path, *names)
    with refused(str(tmp_path), message):
        read_folder(tmp_path, 16)


def test_split_without_an_image_is_an_error(tmp_path):
    write_tree(tmp_path, *(name for name in SPLIT if not name.startswith("val")))
    (tmp_path / "val").mkdir()
    with refused(f"{tmp_path / 'val'}: has no radiographs of normal, sick; every split needs each class"):
        read_folder(tmp_path, 16)


def test_missing_folder_is_an_error(tmp_path):
    with refused(f"params.yaml: download.folder is '{tmp_path}/none', which is not a folder"):
        read_folder(tmp_path / "none", 16)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,patient\nsick/z.png,1\n", "names 'sick/z.png', which is not a radiograph below"),
        ("image,patient\nsick/b.png,1\n", "needs the columns file and patient"),
        ("", "needs the columns file and patient"),
    ],
)
def test_unusable_patients_are_an_error(tmp_path, table, message):
    root = write_tree(tmp_path, *FLAT)
    (root / "patients.csv").write_text(table)
    with refused(f"{root / 'patients.csv'}: {message}"):
        read_folder(root, 16)


def test_stage_stores_every_image_or_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path, {"download.source": "folder", "download.folder": "own", "download.size": 16})
    write_tree(tmp_path / "own", "normal/a.png", "sick/b.png")
    before = files_below(tmp_path)
    (tmp_path / "own/sick/c.jpg").write_bytes(b"no image")
    with refused("c.jpg: not a PNG, JPEG, DICOM, WebP, BMP or TIFF file"):
        download.main()
    (tmp_path / "own/sick/c.jpg").unlink()
    assert files_below(tmp_path) == before

    download.main()

    stored, expected = load_manifest(), read_folder(Path("own"), 16)
    np.testing.assert_array_equal(stored.images, expected.images)
    assert (stored.classes, stored.sources) == (expected.classes, expected.sources)
    np.testing.assert_array_equal(stored.images[1], read_radiograph("own/sick/b.png", 16))
