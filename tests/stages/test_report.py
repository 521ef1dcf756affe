"""The stage report: content and order of its page, its lines and its metrics."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr.core import dataset
from cxr.core.dataset import load_dataset
from cxr.core.files import read_json
from cxr.evaluation.statistics import wilson
from cxr.inference import predictions
from cxr.inference.predictions import load_predictions
from cxr.reports import writers
from stages import report
from tests.builders import files_below, make_all_unlike, refused, write_report_run

WRITTEN = ("reports/cases.md", "reports/cases.jsonl", "metrics/report.json")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines():
    return [json.loads(line) for line in Path("reports/cases.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("unlike", [True, False])
def test_radiographs_unlike_the_training_images_are_marked(unlike):
    write_report_run()
    if unlike:
        make_all_unlike()
    report.main()
    page = Path("reports/cases.md").read_text()
    assert page.count("**Unlike the training images** (typicality 0.024, below 0.05)") == 8 * unlike
    for line in lines():
        assert line["unlike"] is unlike
        assert (line["unlike_reason"] is not None) is unlike
        if unlike:
            assert f"{line['unlike_reason']}." in page


def check_agreement(value, hits):
    low, high = wilson(np.mean(hits), len(hits))
    assert value == pytest.approx({"value": np.mean(hits), "low": float(low), "high": float(high)}, abs=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_metrics_follow_from_the_lines(classes):
    write_report_run(classes=classes)
    report.main()
    cases, metrics, data = lines(), read_json("metrics/report.json"), load_dataset()
    assert len(cases) == 4 * classes
    test = load_predictions().of("test")
    for line in cases:
        (text,) = line["texts"]
        assert (text["prompt"], text["prompt_text"], text["kind"]) == ("template", "", "answered")
        assert line["label"] == data.classes[data.labels[line["row"]]]
        p = test.ensemble[list(test.rows).index(line["row"])]
        assert list(line["probabilities"].values()) == pytest.approx(p, abs=1e-6)
        assert text["extracted_label"] == line["classifier"] == data.classes[p.argmax()]
        assert list(line)[-1] == "label"
        assert len(line["neighbours"]) == 5
        assert {data.splits[neighbour["row"]] for neighbour in line["neighbours"]} == {"train"}
    of_template = metrics["prompts"]["template"]
    check_agreement(of_template["label"], [line["classifier"] == line["label"] for line in cases])
    check_agreement(of_template["classifier"], [True] * len(cases))
    of_classifier = metrics["classifier"]
    check_agreement(
        {name: of_classifier[name] for name in ("value", "low", "high")},
        [line["classifier"] == line["label"] for line in cases],
    )
    for label in data.classes:
        given = [line["classifier"] for line in cases if line["label"] == label]
        assert of_classifier["verdicts"][label] == {name: given.count(name) for name in data.classes}
        assert of_template["verdicts"][label] == of_classifier["verdicts"][label] | {"unclear": 0}
    assert metrics["cases"] == {name: sum(line["label"] == name for line in cases) for name in data.classes}


def test_page_shows_the_true_class_after_the_report_and_names_the_template():
    write_report_run({"report.cases": 3})
    report.main()
    head, *cases = re.split(r"^## ", Path("reports/cases.md").read_text(), flags=re.M)
    assert "**The reports are generated from a template**" in head
    assert "No language model" in head
    assert len(cases) == 3
    for line, of_case in zip(lines(), cases, strict=True):
        figure = re.search(r"!\[[^\]]+\]\(([^)]+)\)", of_case)
        text, label = of_case.index("Verdict: "), of_case.index(f"**True class: {line['label']}**")
        assert figure.start() < text < label
        assert len(re.findall("true|truth|label: ", of_case.replace("Extracted label: ", ""), re.I)) == 1
        assert "Template: measurements inserted into fixed sentences" in of_case
        assert (Path("reports") / figure[1]).is_file()
        assert line["figure"] == figure[1]
        assert line["texts"][0]["response"].startswith(writers.LABEL)
    assert "nan" not in Path("metrics/report.json").read_text().lower()


def test_figures_do_not_depend_on_the_label(place):
    """The same radiographs with other labels have the same figures."""
    write_report_run({"report.cases": 8})  # all radiographs of test
    report.main()
    before = {line["row"]: Path("reports", line["figure"]).read_bytes() for line in lines()}
    labels = (
        dataset.LABELS.read_text().replace("test,normal", "test,x").replace("test,pneumonia", "test,normal")
    )
    dataset.LABELS.write_text(labels.replace("test,x", "test,pneumonia"))
    table = (
        predictions.PATH.read_text().replace("test,normal", "test,x").replace("test,pneumonia", "test,normal")
    )
    predictions.PATH.write_text(table.replace("test,x", "test,pneumonia"))
    labels_before = {line["row"]: line["label"] for line in lines()}
    report.main()
    assert {line["row"]: Path("reports", line["figure"]).read_bytes() for line in lines()} == before
    assert all(line["label"] != labels_before[line["row"]] for line in lines())


def test_fewer_cases_leave_no_old_figures_and_the_same_run_gives_the_same_bytes(place):
    write_report_run({"report.cases": 4})
    report.main()
    write_report_run({"report.cases": 2})
    report.main()
    figures = files_below(Path("reports/cases"))
    assert figures == ["001.png", "002.png"]
    assert min(Image.open(Path("reports/cases", figures[0])).size) > 200
    names = (*WRITTEN, *(f"reports/cases/{name}" for name in figures))
    before = [Path(name).read_bytes() for name in names]
    report.main()
    assert [Path(name).read_bytes() for name in names] == before


def test_writer_none_generates_no_reports(place):
    write_report_run({"report.writer": "none", "report.cases": 2})
    report.main()
    assert read_json("metrics/report.json")["prompts"] == {}
    page = Path("reports/cases.md").read_text()
    assert "No reports were generated" in page
    assert page.count("**True class: ") == 2
    assert all(line["texts"] == [] for line in lines())


def test_predictions_of_another_run_are_an_error(place):
    write_report_run()
    rows = predictions.PATH.read_text().splitlines(keepends=True)
    rows.remove(next(row for row in rows if ",test," in row))
    predictions.PATH.write_text("".join(rows))
    with refused("metrics/predictions.csv does not belong to data/labels.csv", "dvc repro evaluate"):
        report.main()
    assert not any(Path(name).exists() for name in WRITTEN)


def test_a_calibration_without_prevalence_is_an_error(place):
    write_report_run()
    Path("models/calibration.json").write_text('{"temperature": 1.0, "threshold": 0.5}')
    with refused("models/calibration.json: states no prevalence", "dvc repro calibrate"):
        report.main()
    assert not any(Path(name).exists() for name in WRITTEN)
