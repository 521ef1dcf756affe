"""The stage report: content and order of its page, its lines and its metrics."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from PIL import Image

from cxr.core import dataset
from cxr.core.dataset import load_dataset
from cxr.core.files import read_json, write_json
from cxr.evaluation.statistics import wilson
from cxr.figures.case import draw_case
from cxr.figures.style import HEAT
from cxr.inference import predictions
from cxr.inference.calibration import Calibration, save_calibration
from cxr.inference.gradcam import gradcam
from cxr.inference.predictions import load_predictions
from cxr.inference.typicality import ValDistances
from cxr.inference.typicality_model import load_typicality, measure
from cxr.models.classifier import load_classifier, predict
from cxr.params import load_params
from cxr.reports import writers
from cxr.reports.cases import choose_cases
from cxr.reports.measurements import zone_fractions
from stages import report
from tests.builders import ROOT, files_below, make_all_unlike, refused, write_report_run
from tests.pictures import is_grey, recorded

CPU = torch.device("cpu")

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


def test_a_gallery_that_would_disclose_a_label_is_an_error(place):
    write_report_run()
    meta = read_json("models/index.json")
    meta["rows"][3] = int(load_dataset().rows("test")[0])
    write_json("models/index.json", meta)
    with refused("models/index.json does not belong to data/labels.csv: other rows", "dvc repro index"):
        report.main()
    assert not any(Path(name).exists() for name in WRITTEN)


def test_a_calibration_without_prevalence_is_an_error(place):
    write_report_run()
    Path("models/calibration.json").write_text('{"temperature": 1.0, "threshold": 0.5}')
    with refused("models/calibration.json: states no prevalence", "dvc repro calibrate"):
        report.main()
    assert not any(Path(name).exists() for name in WRITTEN)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The cases of a threshold at which the decision is not always the most probable class, and the
    figures."""
    figures = []
    with pytest.MonkeyPatch.context() as patch, recorded() as saved:
        patch.chdir(tmp_path_factory.mktemp("drawn"))
        write_report_run({"report.cases": 8})
        test = load_predictions().of("test")
        threshold = float(np.quantile(test.ensemble[:, 1], 0.8))
        save_calibration(Calibration(1.0, threshold, [0.5, 0.5], [0.4, 0.6]))

        def draw(path: Path, *rest: object) -> None:
            draw_case(path, *rest)
            figures.append(saved[path.name])

        patch.setattr(report, "draw_case", draw)
        report.main()
        return lines(), figures, load_dataset(), test, threshold, load_classifier(), load_typicality()


def test_decision_and_map_are_those_of_the_released_threshold(drawn):
    cases, figures, data, test, threshold, model, _ = drawn
    different = 0
    for line, picture in zip(cases, figures, strict=True):
        p = test.ensemble[list(test.rows).index(line["row"])]
        decision = int(p[1] >= threshold)
        different += decision != p.argmax()
        assert line["classifier"] == data.classes[decision]
        image = data.images[line["row"]]
        (heat,) = gradcam(model, image[None], np.array([decision]), CPU)
        assert line["gradcam"] == pytest.approx(zone_fractions(heat), abs=1e-5)
        assert is_grey(picture.titled("Radiograph, 16 x 16").shown(16), image)
        panel = picture.titled(f"Grad-CAM of {data.classes[decision]}")
        alpha = 0.6 * heat[..., None]
        expected = (1 - alpha) * image[..., None] + alpha * 255 * colormaps[HEAT](heat)[..., :3]
        assert np.abs(panel.shown(16) - expected)[1:-1, 1:-1].mean() < 3
    assert different > 1


def test_cases_are_drawn_by_the_released_decision(drawn):
    cases, _, _, test, threshold, *_ = drawn
    params = load_params(ROOT / "params.yaml")
    settings = params.report.model_copy(update={"cases": 8})
    chosen, by_one_half = (
        test.rows[choose_cases(test.labels, test.ensemble[:, 1] >= limit, settings, params.seed)].tolist()
        for limit in (threshold, 0.5)
    )
    assert [line["row"] for line in cases] == chosen != by_one_half


def test_figures_show_the_neighbours_of_their_line(drawn):
    cases, figures, data, *_ = drawn
    for line, picture in zip(cases, figures, strict=True):
        panels = picture.panels[2:]
        for panel, neighbour in zip(panels, line["neighbours"], strict=True):
            assert panel.title == f"{neighbour['label']} {neighbour['cosine']:.3f}"
            assert neighbour["label"] == data.classes[data.labels[neighbour["row"]]]
            assert is_grey(panel.shown(16), data.images[neighbour["row"]])


def test_image_statistics_are_ranked_among_train_alone(drawn):
    cases, _, data, *_ = drawn
    train = data.images[data.rows("train")]
    for line in cases:
        image = data.images[line["row"]]
        for name, statistic in (("mean", np.mean), ("contrast", np.std)):
            entry = line["image_statistics"][name]
            assert entry["value"] == pytest.approx(statistic(image), abs=1e-5)
            ranks = [statistic(other) < statistic(image) for other in train]
            assert entry["below"] == pytest.approx(np.mean(ranks), abs=1e-6)


def test_typicality_and_prevalence_are_those_of_the_case(drawn):
    cases, _, data, *_, model, reference = drawn
    rows = [line["row"] for line in cases]
    outputs = predict(model, data.images[rows], CPU)
    distances = measure(reference, model, data.images[rows], outputs, CPU)
    marks = ValDistances(reference.val.numpy()).typicality(distances)
    assert [line["typicality"] for line in cases] == pytest.approx([mark.p_value for mark in marks], abs=1e-6)
    assert len({line["typicality"] for line in cases}) > 2
    assert all(line["prevalence"] == {"normal": 0.4, "pneumonia": 0.6} for line in cases)
