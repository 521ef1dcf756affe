"""`cxr embed` and `cxr search --gallery`: the vectors are the model's, a run goes on where it stopped, and
the nearest are those of a comparison with all."""

import json
import os
import shutil
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

import cxr
from cxr.commands.embed import shards
from cxr.core.files import read_csv, read_json, write_json
from cxr.embeddings import vector_shards
from tests.builders import dicom, dicom_bytes, edit_export, noise_images, refused, write_tree

NAMES = ["a.png", "b/IM0001", "b/c/d.JPEG", "b/e.dcm", "f.png"]  # in the order of shards
BROKEN = "b/broken.png"
UNREADABLE = {BROKEN: "not a PNG, JPEG, DICOM, WebP, BMP or TIFF file"}


@pytest.fixture
def source(run, exported_run, monkeypatch):
    """The folder `films` of five radiographs and a broken file, to be embedded in shards of two files, in
    this process."""
    monkeypatch.setenv("PYTHON_CPU_COUNT", "1")
    monkeypatch.setattr(vector_shards, "FILES", 2)
    shutil.copytree(exported_run, "run")
    folder = write_tree(Path("films"), "a.png", "b/c/d.JPEG", "f.png", "b/.hidden.png")
    (folder / "notes.txt").write_text("no image")
    for number, name in enumerate(("b/IM0001", "b/e.dcm")):
        (folder / name).write_bytes(dicom_bytes(dicom(noise_images(1, 30, seed=9 + number)[0])))
    (folder / BROKEN).write_text("no image")
    return folder


def embed(run, *more: str, source: str = "films", out: str = "vectors") -> tuple[int, list[str], list[str]]:
    return run("embed", source, "--out", out, "--model", "run", *more)


def stored(out: str = "vectors") -> tuple[list[str], np.ndarray]:
    """The names and vectors of all shards."""
    names, vectors = [], []
    for path in sorted(Path(out).glob("shard_*.npy")):
        values = np.load(path)
        table = [row for row in read_csv(path.with_suffix(".csv")) if row["row"]]
        assert [int(row["row"]) for row in table] == list(range(len(values)))
        names += [row["name"] for row in table]
        vectors.append(values)
    return names, np.concatenate(vectors)


def expected(names: list[str] = NAMES) -> np.ndarray:
    return cxr.load("run").embed([Path("films", name) for name in names])


def test_every_radiograph_has_the_vector_of_the_model(run, source):
    code, out, err = embed(run)
    assert (code, len(err)) == (0, 1)
    assert out == [f"5 embeddings of {expected().shape[1]} numbers in 3 shards: vectors"]
    assert err[0] == f"1 files cannot be read, the first: {BROKEN}: {UNREADABLE[BROKEN]}"
    names, vectors = stored()
    assert names == NAMES
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected(), atol=1e-6)
    meta = read_json("vectors/embeddings.json")
    model = cxr.load("run").onnx.facts
    assert meta["source"] == f"file://{source.resolve()}"
    assert (meta["classifier_sha256"], meta["unreadable"]) == (model.classifier_sha256, UNREADABLE)
    assert (meta["files"], meta["count"], meta["shards"]) == (6, 5, 3)
    assert not list(Path("vectors").glob("planned*"))


def test_half_precision(run, source):
    embed(run, "--half")
    assert stored()[1].dtype == np.float16
    np.testing.assert_allclose(stored()[1], expected(), atol=1e-3)
    code, _, err = embed(run)
    assert code == 1
    assert err == ["error: vectors/embeddings.json: dtype is float16, not float32; name another --out"]


def test_a_stopped_run_goes_on(run, source, monkeypatch, decoded):
    write = vector_shards.VectorShards.write

    def killed(self, shard, vectors, entries):
        if shard == 1:
            raise KeyboardInterrupt
        write(self, shard, vectors, entries)

    monkeypatch.setattr(vector_shards.VectorShards, "write", killed)
    assert embed(run)[0] == 130
    assert run("search", "films/a.png", "--model", "run", "--gallery", "vectors", "-k", "1")[2] == [
        "error: vectors/embeddings.json: not all radiographs are embedded; run `cxr embed` again, it goes on"
    ]
    monkeypatch.setattr(vector_shards.VectorShards, "write", write)
    decoded.clear()
    code, out, _ = embed(run)
    assert (code, out[0]) == (0, "going on with 2 of 3 shards")
    assert set(decoded) == {*NAMES[2:], BROKEN}
    assert stored()[0] == NAMES
    np.testing.assert_allclose(stored()[1], expected(), atol=1e-6)


def test_changed_and_removed_files_are_embedded_again(run, source):
    embed(run)
    before = {path: path.stat().st_mtime_ns for path in Path("vectors").glob("shard_*.npy")}
    image = np.array(noise_images(1, 40, seed=5)[0])
    Image.fromarray(image).save(source / "f.png")
    os.utime(source / "f.png", (1, 1))
    code, out, _ = embed(run)
    assert (code, out[0]) == (0, "going on with 1 of 3 shards")
    changed = [path.name for path, time in before.items() if path.stat().st_mtime_ns != time]
    assert changed == ["shard_000002.npy"]
    np.testing.assert_allclose(stored()[1], expected(), atol=1e-6)
    for name in ("f.png", "b/e.dcm"):
        (source / name).unlink()
    embed(run)
    assert stored()[0] == NAMES[:3]
    assert read_json("vectors/embeddings.json")["shards"] == 2


def test_two_processes_give_the_same_bytes(run, source, monkeypatch):
    embed(run)
    monkeypatch.setenv("PYTHON_CPU_COUNT", "2")
    assert embed(run, out="by_two")[0] == 0
    for path in Path("vectors").iterdir():
        assert (Path("by_two") / path.name).read_bytes() == path.read_bytes()


def test_an_object_store_is_a_source(run, source):
    memory = fsspec.filesystem("memory")
    memory.put(str(source), "bucket/films", recursive=True)
    try:
        code, _, _ = embed(run, source="memory://bucket/films")
    finally:
        memory.rm("bucket", recursive=True)
    assert code == 0
    assert stored()[0] == NAMES
    np.testing.assert_allclose(stored()[1], expected(), atol=1e-6)


@pytest.mark.parametrize("half", [False, True])
def test_the_nearest_are_those_of_a_comparison_with_all(run, source, half):
    embed(run, *["--half"][:half])
    vectors = expected()
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors @ vectors.T
    queries = [f"films/{name}" for name in NAMES]
    arguments = (*queries, "--model", "run", "--gallery", "vectors", "-k", "4")
    code, out, err = run("search", *arguments, "--json")
    assert (code, err) == (0, [])
    document = json.loads("\n".join(out))
    assert document["cases"] == 5
    for number, result in enumerate(document["images"]):
        order = np.argsort(-cosines[number])[:4]
        assert result["path"] == queries[number]
        assert result["neighbours"][0]["source"] == NAMES[number]
        values = [neighbour["cosine"] for neighbour in result["neighbours"]]
        assert values == pytest.approx(cosines[number][order], abs=2e-3 if half else 2e-5)
        if not half:
            assert [neighbour["source"] for neighbour in result["neighbours"]] == [NAMES[i] for i in order]
    code, out, _ = run("search", *arguments)
    assert out[:2] == ["films/a.png", "    1  cosine 1.000  a.png"]
    assert out[-2] == f"Searched 5 radiographs of file://{source.resolve()}."
    assert not Path("build").exists()


def test_vectors_of_another_model_are_an_error(run, source):
    embed(run)
    edit_export(Path("run"), classifier_sha256="0" * 64)
    search = ("search", "films/a.png", "--model", "run", "--gallery", "vectors")
    assert run(*search)[2] == [
        "error: vectors/embeddings.json: vectors of another model; embed the radiographs again, or name it"
    ]
    code, _, err = embed(run)
    assert code == 1
    assert err[0].startswith("error: vectors/embeddings.json: classifier_sha256 is ")


def test_a_node_with_another_model_is_refused(run, source):
    """As where ORG/NAME is another version in the cache of one node."""
    embed(run)
    edit_export(Path("run"), classifier_sha256="0" * 64)
    with refused("run: another model than where the command runs"):
        shards.ShardEmbedder("films", "run", Path("vectors"))()


def test_mistakes_are_one_line(run, source):
    Path("empty").mkdir()
    for arguments, message in (
        (("nowhere", "--out", "x"), "nowhere: no such folder"),
        (("empty", "--out", "x"), "empty: no PNG, JPEG, DICOM, WebP, BMP or TIFF radiograph below it"),
        (("nothing://there", "--out", "x"), "nothing://there: cannot be read (Protocol not known: nothing)"),
        (("films", "--out", "films"), "--out films: holds other files; name a new folder"),
    ):
        code, out, err = run("embed", *arguments, "--model", "run")
        assert (code, out, len(err)) == (1, [], 1), err
        assert message in err[0]
    embed(run)
    write_tree(Path("others"), "a.png")
    assert "source is file://" in embed(run, source="others")[2][0]
    search = ("search", "films/a.png", "--model", "run", "--gallery")
    assert "5 radiographs, fewer than the 6 to be found" in run(*search, "vectors", "-k", "6")[2][0]
    assert "empty/embeddings.json: no such file" in run(*search, "empty")[2][0]
    assert "--picture" in run(*search, "vectors", "--picture", "x.png")[2][0]
    Path("vectors/shard_000001.npy").write_bytes(b"damaged")
    assert "vectors/shard_000001.npy: missing or damaged" in run(*search, "vectors")[2][0]
    meta = read_json("vectors/embeddings.json")
    write_json("vectors/embeddings.json", meta | {"more": 1})
    assert "has other keys" in run(*search, "vectors")[2][0]


def test_links_and_fifos_as_in_other_commands(run, source):
    (source / "g.png").symlink_to("a.png")
    embed(run)
    assert stored()[0] == [*NAMES, "g.png"]
    (source / "loop").symlink_to(source.resolve())
    code, _, err = embed(run)
    assert (code, len(err)) == (1, 1)
    assert "loop: a link to a folder, which is not followed" in err[0]
    (source / "loop").unlink()
    os.mkfifo(source / "h.png")
    code, _, err = embed(run)
    assert (code, len(err)) == (1, 1)
    assert "h.png: a FIFO, a device or a broken link" in err[0]


def test_the_list_of_files_is_not_in_memory_as_a_whole(run, source, monkeypatch):
    """Of the files of a shard at most."""
    longest = []
    monkeypatch.setattr(shards, "write_csv", lambda path, header, rows: longest.append(len(rows)))
    store = shards.Store(str(source))
    shards.plan_shards(store, vector_shards.VectorShards(Path("vectors"), _meta()))
    assert longest == [2, 2, 2]


def _meta() -> vector_shards.ShardsMeta:
    return vector_shards.ShardsMeta("", "", 16, "plain", 8, "float32", files_per_shard=2)
