"""Training gives the same bytes whatever runs beside it, and does not read test."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cxr.core import dataset
from cxr.core.dataset import load_dataset
from cxr.core.files import read_csv
from cxr.models import classifier
from cxr.models.classifier import Classifier, load_classifier, predict
from stages import train
from tests.builders import noise_images, refused, write_packed, write_params

CPU = torch.device("cpu")
BARE = {"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": False}


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """Run the stage in an empty folder, with changes to params.yaml, on processors with bf16 or without."""
    monkeypatch.chdir(tmp_path)
    write_packed({"train": (20, 30), "val": (6, 6), "test": (6, 6)}, ["normal", "sick"])
    rows = [(row, "x", 0) for row in load_dataset().rows("train")]
    dataset.write_csv("data/subclasses.csv", ("row", "subclass", "conflicting"), rows)

    def run(bf16=True, **changes):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: BARE | {"avx512_bf16": bf16})
        quick = {"compute.device": "cpu", "compute.workers": 1}
        quick |= {"train.members": 1, "train.epochs": 2, "train.batch_size": 16}
        write_params(tmp_path, quick | {key.replace("__", "."): value for key, value in changes.items()})
        train.main()
        return [
            (tmp_path / "models" / name).read_bytes() for name in ("classifier.safetensors", "history.csv")
        ]

    return run


def test_training_resumes_on_other_workers_but_not_in_another_precision(stage, monkeypatch):
    class KeyIsKnownError(Exception):
        pass

    def stop(*arguments):
        raise KeyIsKnownError(arguments[-1])

    monkeypatch.setattr(train, "MemberTask", stop)

    def key(*arguments, **changes):
        with pytest.raises(KeyIsKnownError) as caught:
            stage(*arguments, **changes)
        return str(caught.value)

    plain = key(train__precision="auto")
    assert key(train__precision="auto", compute__workers=3) == plain
    assert key(bf16=False, train__precision="auto") != plain
    for section, value in (
        *(("compute__threads", 2), ("seed", 5), ("train__lr", 0.5), ("train__select", "val_auc")),
        *(("finetune__lr", 0.5), ("augment__noise", 0.5), ("imbalance__strategy", "focal")),
        ("model__dropout", 0.5),
    ):
        assert key(train__precision="auto", **{section: value}) != plain, section
    for name, old, new in (("labels.csv", b"train/0/1,", b"train/0/x,"), ("subclasses.csv", b",x,", b",y,")):
        path = Path("data", name)
        before = path.read_bytes()
        path.write_bytes(before.replace(old, new, 1))
        assert key(train__precision="auto") != plain, name
        path.write_bytes(before)
    assert key(train__precision="auto") == plain


def test_chosen_precision_is_trained_in_and_recorded(stage, capsys):
    of_precision = {}
    for precision in ("bf16", "float32"):
        of_precision[precision] = stage(train__precision=precision)
        assert "no bf16 instructions" not in capsys.readouterr().out
    assert of_precision["bf16"] != of_precision["float32"]
    for bf16, chosen in ((True, "bf16"), (False, "float32")):
        assert stage(bf16, train__precision="auto") == of_precision[chosen]
        assert load_classifier().spec.precision == chosen
        said = capsys.readouterr().out
        assert f"trained in {chosen}" in said
        assert "no bf16 instructions" not in said
    assert stage(bf16=False, train__precision="bf16") == of_precision["bf16"]
    assert "no bf16 instructions here: train.precision auto would choose float32" in capsys.readouterr().out


def test_stage_releases_members_that_do_not_depend_on_test(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_packed({"train": (20, 30), "val": (6, 6), "test": (6, 6)}, ["normal", "sick"])
    data = load_dataset()
    rows = [(row, f"{data.classes[data.labels[row]]}_{row % 2}", 0) for row in data.rows("train")]
    dataset.write_csv("data/subclasses.csv", ("row", "subclass", "conflicting"), rows)
    changes = {"members": 2, "epochs": 2, "batch_size": 16, "precision": "float32"}
    changes = {f"train.{key}": value for key, value in changes.items()} | {"imbalance.strategy": "both"}
    write_params(tmp_path, changes | {"compute.workers": 1, "compute.device": "cpu"})
    train.main()
    outputs = ("classifier.json", "classifier.safetensors", "history.csv")
    first = [(tmp_path / "models" / name).read_bytes() for name in outputs]

    images = np.array(data.images)
    images[data.rows("test")] = noise_images(12, seed=9)
    dataset.write_npy(dataset.IMAGES, images)
    train.main()

    assert [(tmp_path / "models" / name).read_bytes() for name in outputs] == first
    model = load_classifier()
    assert model.spec.outputs == ["normal_0", "normal_1", "sick_0", "sick_1"]
    assert model.spec.output_classes == [0, 0, 1, 1]
    state = load_file(classifier.WEIGHTS)
    assert not torch.equal(state["members.0.head.weight"], state["members.1.head.weight"])
    history = read_csv("models/history.csv")
    assert [(row["member"], row["epoch"]) for row in history] == [*zip("0011", "1212", strict=True)]
    assert [row["released"] for row in history] == ["0", "1", "0", "1"]
    alone = Classifier(replace(model.spec, members=1, tta="none"), [model.members[1]])
    val = data.rows("val")
    p = predict(alone, images[val], CPU).mean[np.arange(12), data.labels[val]]
    assert float(history[-1]["val_nll"]) == pytest.approx(-np.log(p).mean(), rel=1e-4)
    assert float(history[-1]["val_accuracy"]) == pytest.approx(np.mean(p > 0.5))


def test_subclasses_of_other_images_are_an_error_of_the_stage(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_packed({"train": (20, 30), "val": (6, 6), "test": (6, 6)}, ["normal", "sick"])
    rows = [(row, "x", 0) for row in load_dataset().rows("train")]
    dataset.write_csv("data/subclasses.csv", ("row", "subclass", "conflicting"), rows[::-1])
    write_params(tmp_path, {"compute.threads": 1, "compute.device": "cpu"})
    with refused(
        "data/subclasses.csv: its column row does not list the training images", "`dvc repro cluster`"
    ):
        train.main()


@pytest.mark.long
def test_number_of_workers_changes_no_byte(stage):
    assert stage(compute__workers=2, train__members=3) == stage(compute__workers=1, train__members=3)
