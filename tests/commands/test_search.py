"""`cxr search` finds the neighbours that a brute-force search finds, and names their sources."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cxr.commands import figures
from cxr.core import dataset
from cxr.core.dataset import load_dataset
from cxr.core.files import read_csv, read_json, write_json
from cxr.data.radiograph import read_radiograph
from cxr.embeddings import gallery
from cxr.embeddings.gallery import Gallery
from cxr.embeddings.vectors import embed_new
from cxr.inference import onnx_session
from cxr.params import load_params
from tests.builders import (
    dicom,
    dicom_bytes,
    edit_export,
    files_below,
    save_classifier,
    small_classifier,
    write_packed,
    write_params,
)

CPU = torch.device("cpu")
PICTURE = "build/search.png"


@pytest.fixture
def library(run, exported_run):
    """`run` beside a data set and a model; the gallery is built by `build`."""
    write_params(Path(), {"clip_embed.dimensions": 8})
    write_packed({"train": (12, 15), "val": (3, 3), "test": (4, 4)}, ["normal", "pneumonia"])
    save_classifier(small_classifier())  # from which `exported_run` was exported
    shutil.copy(exported_run / onnx_session.PATH, onnx_session.PATH)
    return run


def build(metric: str = "cosine", embedding: str = "classifier") -> np.ndarray:
    """Save a gallery of train. Returns its vectors."""
    data = load_dataset()
    rows = data.rows("train")
    meta = gallery.Meta(embedding, metric, "flat", 0, "", [])
    vectors = embed_new(meta, np.array(data.images[rows]), load_params(), CPU)
    Gallery.build(vectors, rows, embedding, metric, "flat").save()
    return vectors.values


def save_queries() -> list[str]:
    """Test images as PNG and DICOM files of the stored size, as large as stored images."""
    data = load_dataset()
    first, second = data.images[data.rows("test")[:2]]
    Image.fromarray(first).save("first image.png")
    Path("second.dcm").write_bytes(dicom_bytes(dicom(second)))
    return ["first image.png", "second.dcm"]


@pytest.mark.parametrize("embedding", ["classifier", "encoder"])
@pytest.mark.parametrize(("metric", "key"), [("cosine", "cosine"), ("l2", "distance")])
def test_neighbours_are_those_of_a_brute_force_search(library, embedding, metric, key):
    values, queries = build(metric, embedding), save_queries()
    data, table = load_dataset(), read_csv(dataset.LABELS)
    rows = data.rows("train")
    meta = Gallery.load().meta
    images = np.stack([read_radiograph(name, 16, data.reading) for name in queries])
    queries_embedded = embed_new(meta, images, load_params(), CPU).values
    if metric == "cosine":
        normed = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (queries_embedded, values)]
        measured = normed[0] @ normed[1].T
        order = np.argsort(-measured, axis=1)
    else:
        measured = np.linalg.norm(queries_embedded[:, None] - values, axis=2)
        order = np.argsort(measured, axis=1)

    code, out, err = library("search", *queries, "-k", "4", "--json")
    assert (code, err) == (0, [])
    document = json.loads("\n".join(out))
    assert (document["embedding"], document["metric"], document["cases"]) == (embedding, metric, 27)
    assert document["source_sha256"] == meta.source_sha256
    assert document["errors"] == []
    assert [image["path"] for image in document["images"]] == queries
    for image, positions, numbers in zip(document["images"], order, measured, strict=True):
        expected = [rows[position] for position in positions[:4]]
        assert [case["row"] for case in image["neighbours"]] == expected
        assert [case["class"] for case in image["neighbours"]] == [table[row]["class"] for row in expected]
        assert [case["source"] for case in image["neighbours"]] == [table[row]["source"] for row in expected]
        values_printed = [case[key] for case in image["neighbours"]]
        assert values_printed == pytest.approx(numbers[positions[:4]], abs=2e-5)


def test_an_image_of_the_gallery_finds_itself(library):
    build()
    data = load_dataset()
    row = int(data.rows("train")[7])
    Image.fromarray(data.images[row]).save("image.png")
    code, out, err = library("search", "image.png")
    assert (code, err) == (0, [])
    assert out[0] == "image.png"
    source = read_csv(dataset.LABELS)[row]["source"]
    assert out[1].split() == ["1", data.classes[data.labels[row]], "cosine", "1.000", "row", str(row), source]
    assert len(out) == 1 + 5 + 3
    assert out[6] == "Searched 27 images by the classifier's features."
    assert out[7:] == [f"Picture: {PICTURE}", "For research only, not for diagnosis."]


def test_figure_shows_query_and_neighbours(library, monkeypatch):
    build()
    queries, drawn = save_queries(), []
    monkeypatch.setattr(figures, "neighbour_figure", lambda *arguments: drawn.append(arguments))
    _, out, _ = library("search", *queries, "--json", "--picture", "some/where.png")
    document, data = json.loads("\n".join(out)), load_dataset()
    assert document["picture"] == "some/where.png"
    ((path, drawn_queries, classes),) = drawn
    assert (path, classes) == (Path("some/where.png"), data.classes)
    for query, result, row in zip(drawn_queries, document["images"], data.rows("test")[:2], strict=True):
        rows = [neighbour["row"] for neighbour in result["neighbours"]]
        assert query.name == result["path"]
        np.testing.assert_array_equal(query.image, data.images[row])
        np.testing.assert_array_equal(query.seen, read_radiograph(query.name, 16, data.reading))
        np.testing.assert_array_equal(query.neighbours, data.images[rows])
        assert query.classes == [neighbour["class"] for neighbour in result["neighbours"]]
        assert all(f"row {row}" in caption for row, caption in zip(rows, query.captions, strict=True))


def test_large_requests_draw_the_first_images(library, monkeypatch):
    monkeypatch.setattr(figures, "ROWS", 5)
    build()
    data = load_dataset()
    Path("images").mkdir()
    for row in data.rows("test"):
        Image.fromarray(data.images[row]).save(f"images/{row:03}.png")
    code, out, err = library("search", "images", "-k", "6")
    assert (code, err) == (0, [])
    assert f"Picture: {PICTURE} (the first 2 radiographs)" in out
    assert sum(line.endswith(".png") for line in out) == 8


def test_unreadable_images_do_not_hide_the_others(library):
    build()
    queries = save_queries()
    Path("notes.txt").write_text("no radiograph")
    code, out, err = library("search", "notes.txt", *queries)
    assert (code, err) == (1, ["error: notes.txt: not a PNG, JPEG, DICOM, WebP, BMP or TIFF file"])
    assert [line for line in out if not line.startswith(" ")][:2] == queries
    assert Path(PICTURE).is_file()


def test_nothing_readable_writes_nothing(library):
    build()
    before = files_below(Path())
    assert library("search", "none.png") == (1, [], ["error: none.png: no such file"])
    code, out, err = library("search", "none.png", "--json")
    document = json.loads("\n".join(out))
    assert (code, len(err)) == (1, 1)
    assert (document["images"], document["picture"]) == ([], None)
    assert document["errors"] == [{"path": "none.png", "message": "no such file"}]
    assert files_below(Path()) == before


@pytest.mark.parametrize(
    ("missing", "remedy"),
    [
        ("models/index.faiss", "`dvc repro`"),
        ("data/labels.csv", "`dvc repro`"),
        ("data/images.npy", "`dvc pull`"),
        ("models/classifier.onnx", "`dvc repro`"),
    ],
)
def test_missing_parts_are_one_line(library, missing, remedy):
    build()
    queries = save_queries()
    Path(missing).unlink()
    Path("dvc.yaml").touch()
    code, out, err = library("search", *queries)
    assert (code, out, len(err)) == (1, [], 1)
    assert err[0].startswith(f"error: {missing}: no ")
    assert remedy in err[0]


def test_another_model_is_an_error(library):
    build()
    edit_export(Path(), classifier_sha256="0" * 64)
    code, out, err = library("search", *save_queries())
    assert (code, out, len(err)) == (1, [], 1)
    assert "another model" in err[0]
    assert not Path(PICTURE).exists()


def test_rows_of_another_data_set_are_an_error(library):
    build()
    meta = read_json(gallery.META)
    for row in (int(load_dataset().rows("test")[0]), 10**6):
        write_json(gallery.META, meta | {"rows": [*meta["rows"][1:], row]})
        code, out, err = library("search", *save_queries())
        assert (code, out) == (1, [])
        assert err == [
            "error: models/index.json does not belong to data/labels.csv: other rows; run `dvc repro index`"
        ]


def test_mistakes_in_options_are_one_line(library):
    build()
    queries = save_queries()
    assert library("search", *queries, "-k", "28")[2] == [
        "error: models/index.faiss holds 27 radiographs, fewer than the 28 to be found"
    ]
    for picture, reason in (
        ("a.jpg", "not the name of a .png file"),
        (queries[0], "would overwrite a radiograph"),
    ):
        code, out, err = library("search", *queries, "--picture", picture)
        assert (code, out, err) == (
            1,
            [],
            [f"error: --picture {picture}: {reason}" + err[0].split(reason)[1]],
        )
    for k in ("0", "101", "-1", "five", "1.5"):
        code, out, err = library("search", *queries, "-k", k)
        assert (code, out) == (2, [])
        assert err[-1] == "cxr search: error: argument -k: K is 1 to 100"


def test_every_file_is_decoded_once(library, decoded, monkeypatch):
    monkeypatch.setattr(figures, "ROWS", 1)
    build()
    paths = [*save_queries(), "notes.txt"]
    Path("notes.txt").write_text("no radiograph")
    assert library("search", *paths)[0] == 1  # one is drawn, one is not
    assert sorted(decoded) == sorted(paths)


def test_the_gallery_of_a_run_in_another_folder(library, monkeypatch, tmp_path):
    """Its ONNX file gives the features; what PyTorch has to compute needs the folder's params.yaml."""
    build()
    (query, _) = save_queries()
    here = library("search", query, "--json")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    there = library("search", f"../{query}", "--model", "..", "--json")
    documents = [json.loads("\n".join(out)) for _, out, _ in (here, there)]
    assert documents[1]["images"][0]["neighbours"] == documents[0]["images"][0]["neighbours"]
    monkeypatch.chdir("..")
    build("l2")
    monkeypatch.chdir("elsewhere")
    code, out, err = library("search", f"../{query}", "--model", "..")
    assert (code, out) == (1, [])
    assert err == [
        "error: ..: its gallery compares classifier vectors by l2, which its ONNX file does not give; run "
        "`cxr search` in that folder"
    ]
