"""Stage shift: its report is that of `compare_splits` on the embeddings without test-time augmentation."""

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from cxr.core import dataset
from cxr.core.dataset import load_dataset
from cxr.core.files import read_csv, read_json
from cxr.evaluation.shift import compare_splits, drawn_rows
from cxr.models.classifier import load_classifier, predict
from stages import shift
from tests.builders import save_classifier, small_classifier, write_packed, write_params


def test_report_and_what_is_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_packed({"train": (20, 30), "val": (12, 14), "test": (15, 25)}, ["normal", "sick"])
    save_classifier(small_classifier(tta="flip"))
    write_params(tmp_path, {"compute.threads": 1, "compute.device": "cpu"})
    shift.main()
    data = load_dataset()
    drawn = drawn_rows(data)
    model = load_classifier().with_tta("none")
    embeddings = predict(model, data.images[drawn], torch.device("cpu")).embeddings
    hashes = [row["sha256"] for row in read_csv(dataset.LABELS)]  # these images have no patients
    with threadpool_limits(1):
        expected = compare_splits(data, drawn, embeddings, np.array(hashes)[drawn])
    report = read_json("metrics/shift.json")
    assert set(report) == {"pixels", "embeddings"}
    for space, pairs in expected.items():
        for pair, classes in pairs.items():
            for name, result in classes.items():
                assert report[space][pair][name]["auc"] == pytest.approx(result["auc"], abs=1e-6)
    value = report["pixels"]["train_test"]["sick"]["auc"]
    assert "AUC of train against test by pixels: normal " in (printed := capsys.readouterr().out)
    assert f"sick {value:.3f}" in printed


def test_patients_are_groups_and_an_image_without_one_is_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_packed({"train": (5, 5), "val": (3, 3), "test": (3, 3)}, ["normal", "sick"])
    save_classifier(small_classifier())
    write_params(tmp_path, {"compute.threads": 1, "compute.device": "cpu"})
    lines = dataset.LABELS.read_text().splitlines()
    known = [f"{line}patient {number // 3}" if number > 9 else line for number, line in enumerate(lines)]
    dataset.LABELS.write_text("\n".join(known) + "\n")
    compared = []
    monkeypatch.setattr(shift, "compare_splits", lambda *arguments: compared.append(arguments) or {})
    shift.main()
    ((_, drawn, _, groups),) = compared
    table = read_csv(dataset.LABELS)
    assert groups.tolist() == [table[row]["group"] or table[row]["sha256"] for row in drawn]
    assert sum(group.startswith("patient") for group in groups) == 22 - 9
