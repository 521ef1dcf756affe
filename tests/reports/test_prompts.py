"""Prompts contain measurements and never the label, and the test that guards this detects leaks."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from cxr.core.dataset import load_dataset
from cxr.core.files import read_json, write_json
from cxr.embeddings.gallery import Gallery
from cxr.embeddings.vectors import classifier_vectors
from cxr.inference.predictions import load_predictions
from cxr.models.classifier import load_classifier
from cxr.params import load_params
from cxr.reports import cases as cases_module
from cxr.reports import prompts
from cxr.reports.prompts import load_prompts
from cxr.reports.writers import TemplateWriter
from tests.builders import ROOT, case, refused, write_report_run

CPU = torch.device("cpu")


def test_fields_are_filled_in():
    loaded = load_prompts(ROOT / "prompts")
    assert list(loaded) == ["zero_shot", "clinical_role", "context_aware"]
    for name, prompt in loaded.items():
        text = prompts.render_prompt(prompt, case())
        assert "{" not in text
        assert "28 x 28 pixels" in text
        assert "normal, pneumonia, unclear" in text
        assert ("normal 0.200, pneumonia 0.800" in text) == (name == "context_aware")
        assert ("50 % normal, 50 % pneumonia" in text) == (name == "context_aware")
    three = case(
        probabilities={"normal": 0.1, "pneumonia": 0.2, "tuberculosis": 0.7},
        prevalence={"normal": 0.5, "pneumonia": 0.3, "tuberculosis": 0.2},
    )
    text = prompts.render_prompt(loaded["context_aware"], three)
    assert "normal 0.100, pneumonia 0.200, tuberculosis 0.700" in text
    assert "20 % tuberculosis" in text


@pytest.mark.parametrize(
    "text",
    [
        "Is it {label}?",
        "The truth is {truth}.",
        "{probabilities} {case.row}",
        "{classes[0]}",
        "{size!r}",
        "{size:>5}",
        "{size:{label}}",
        "{}",
        "{0}",
    ],
)
def test_unknown_fields_and_the_label_are_an_error(tmp_path, text):
    folder = shutil.copytree(ROOT / "prompts", tmp_path / "prompts")
    (folder / "clinical_role.txt").write_text(text)
    with refused("clinical_role.txt: unknown field {", "{classes}", "{probabilities}", "never the label"):
        load_prompts(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"\xff\xfe", "not UTF-8"),
        (b"a { b", "twice"),
        (None, "no such"),
    ],
)
def test_unreadable_prompts_are_an_error(tmp_path, content, message):
    folder = shutil.copytree(ROOT / "prompts", tmp_path / "prompts")
    (folder / "zero_shot.txt").unlink()
    if content is not None:
        (folder / "zero_shot.txt").write_bytes(content)
    with refused("zero_shot.txt", message):
        load_prompts(folder)


def test_double_braces_are_no_field(tmp_path):
    folder = shutil.copytree(ROOT / "prompts", tmp_path / "prompts")
    (folder / "zero_shot.txt").write_text("{{label}} of {size}")
    assert prompts.render_prompt(load_prompts(folder)["zero_shot"], case()) == "{label} of 28"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """All files from which cases are made, of an untrained classifier."""
    monkeypatch.chdir(tmp_path)
    write_report_run()


def texts_about(data, test):
    """All prompts and template reports about the first radiographs of test."""
    cases = cases_module.describe_cases(data, test, np.arange(6), load_params(), CPU)
    loaded = load_prompts()
    rendered = [prompts.render_prompt(prompt, example) for example in cases for prompt in loaded.values()]
    return rendered + [TemplateWriter().write(example, "template").response for example in cases]


def assert_no_label_in_texts():
    """All texts are independent of the labels of the test radiographs, byte for byte."""
    data, test = load_dataset(), load_predictions().of("test")
    before = texts_about(data, test)
    for label in range(len(data.classes)):
        labels = np.full_like(test.labels, label)
        others = data.labels.copy()
        others[test.rows] = label
        assert texts_about(replace(data, labels=others), replace(test, labels=labels)) == before


def test_labels_of_test_images_change_no_prompt_and_no_template_report(run):
    assert_no_label_in_texts()


def test_a_label_in_the_context_is_detected(run, monkeypatch):
    """describe_cases changed so that the label is among the known facts of a radiograph."""
    describe = cases_module.describe_cases

    def with_label(data, test, chosen, settings, device):
        cases = describe(data, test, chosen, settings, device)
        labels = [data.classes[label] for label in test.labels[chosen]]
        return [
            replace(example, prevalence=example.prevalence | {f"label {label}": 1.0})
            for example, label in zip(cases, labels, strict=True)
        ]

    monkeypatch.setattr(cases_module, "describe_cases", with_label)
    with pytest.raises(AssertionError):
        assert_no_label_in_texts()


def test_a_label_in_the_order_of_the_classes_is_detected(run, monkeypatch):
    """No additional word, but the true class first."""
    describe = cases_module.describe_cases

    def label_first(data, test, chosen, settings, device):
        cases = describe(data, test, chosen, settings, device)
        reordered = []
        for example, label in zip(cases, test.labels[chosen], strict=True):
            p = example.probabilities
            names = sorted(p, key=lambda name, true_class=data.classes[label]: name != true_class)
            reordered.append(replace(example, probabilities={name: p[name] for name in names}))
        return reordered

    monkeypatch.setattr(cases_module, "describe_cases", label_first)
    with pytest.raises(AssertionError):
        assert_no_label_in_texts()


def test_a_label_that_render_prompt_takes_from_memory_is_detected(run, monkeypatch):
    describe, render, seen = cases_module.describe_cases, prompts.render_prompt, {}

    def remember(data, *rest):
        seen["data"] = data
        return describe(data, *rest)

    def leaking(prompt, example):
        data = seen["data"]
        return f"{render(prompt, example)} It is {data.classes[data.labels[example.row]]}."

    monkeypatch.setattr(cases_module, "describe_cases", remember)
    monkeypatch.setattr(prompts, "render_prompt", leaking)
    with pytest.raises(AssertionError):
        assert_no_label_in_texts()


def test_a_gallery_of_another_data_set_is_an_error(run):
    meta = read_json("models/index.json")
    meta["rows"][0] = int(load_dataset().rows("test")[0])
    write_json("models/index.json", meta)
    test = load_predictions().of("test")
    with refused("models/index.json does not belong to data/labels.csv", "dvc repro index"):
        cases_module.describe_cases(load_dataset(), test, np.arange(3), load_params(), CPU)


def test_a_case_is_not_among_its_neighbours_in_a_gallery_of_test(run):
    data, test = load_dataset(), load_predictions().of("test")
    vectors = classifier_vectors(load_classifier(), data.images[test.rows], CPU)
    Gallery.build(vectors, test.rows, "classifier", "cosine", "flat").save()
    described = cases_module.describe_cases(data, test, np.arange(len(test.rows)), load_params(), CPU)
    for example in described:
        found = {neighbour.row for neighbour in example.neighbours}
        assert len(found) == 5
        assert found < set(test.rows.tolist()) - {example.row}
