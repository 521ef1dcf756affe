"""Prompts say what is measured and never the label, and the test that guards this would catch a leak."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from cxr.core.dataset import load_dataset
from cxr.core.files import read_json, write_json
from cxr.inference.predictions import load_predictions
from cxr.params import load_params
from cxr.reports import cases as cases_module
from cxr.reports import prompts
from cxr.reports.cases import describe_cases
from cxr.reports.prompts import load_prompts
from cxr.reports.writers import Template
from tests.builders import ROOT, case, refused, write_report_run

CPU = torch.device("cpu")


def test_fields_are_filled_in():
    asked = load_prompts(ROOT / "prompts")
    assert list(asked) == ["zero_shot", "clinical_role", "context_aware"]
    for name, prompt in asked.items():
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
    text = prompts.render_prompt(asked["context_aware"], three)
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
def test_unknown_fields_and_the_label_are_refused(tmp_path, text):
    folder = shutil.copytree(ROOT / "prompts", tmp_path / "prompts")
    (folder / "clinical_role.txt").write_text(text)
    with refused("clinical_role.txt: asks for {", "{classes}", "{probabilities}", "never the true label"):
        load_prompts(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"\xff\xfe", "not UTF-8"),
        (b"a { b", "written twice"),
        (None, "no such"),
    ],
)
def test_unreadable_prompts_are_refused(tmp_path, content, message):
    folder = shutil.copytree(ROOT / "prompts", tmp_path / "prompts")
    (folder / "zero_shot.txt").unlink()
    if content is not None:
        (folder / "zero_shot.txt").write_bytes(content)
    with refused("zero_shot.txt", message):
        load_prompts(folder)


def test_braces_that_are_no_field_are_written_twice(tmp_path):
    folder = shutil.copytree(ROOT / "prompts", tmp_path / "prompts")
    (folder / "zero_shot.txt").write_text("{{label}} of {size}")
    assert prompts.render_prompt(load_prompts(folder)["zero_shot"], case()) == "{label} of 28"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Everything that cases are made of, of an untrained classifier."""
    monkeypatch.chdir(tmp_path)
    write_report_run()


def words_about(data, test):
    """All that any writer is given or writes about the first radiographs of test."""
    cases = describe_cases(data, test, np.arange(6), load_params(), CPU)
    asked = load_prompts()
    rendered = [prompts.render_prompt(prompt, each) for each in cases for prompt in asked.values()]
    return rendered + [Template().write(each, "template").reply for each in cases]


def assert_no_label_in_words():
    """Whatever the labels of the test radiographs are, all words stay the same, byte for byte."""
    data, test = load_dataset(), load_predictions().of("test")
    before = words_about(data, test)
    for label in range(len(data.classes)):
        labels = np.full_like(test.labels, label)
        others = data.labels.copy()
        others[test.rows] = label
        assert words_about(replace(data, labels=others), replace(test, labels=labels)) == before


def test_labels_of_test_images_change_no_prompt_and_no_template(run):
    assert_no_label_in_words()


def test_a_label_in_the_context_would_be_caught(run, monkeypatch):
    """The guard itself: describe() changed so that the truth stands among what is known of a radiograph."""
    describe = describe_cases

    def with_truth(data, test, chosen, settings, device):
        cases = describe(data, test, chosen, settings, device)
        truths = [data.classes[label] for label in test.labels[chosen]]
        return [
            replace(each, prevalence=each.prevalence | {f"truth {truth}": 1.0})
            for each, truth in zip(cases, truths, strict=True)
        ]

    monkeypatch.setattr(cases_module, "describe_cases", with_truth)
    with pytest.raises(AssertionError):
        assert_no_label_in_words()


def test_a_label_in_the_order_of_the_classes_would_be_caught(run, monkeypatch):
    """A subtler one: no word more, but the true class first."""
    describe = describe_cases

    def truth_first(data, test, chosen, settings, device):
        cases = describe(data, test, chosen, settings, device)
        found = []
        for each, label in zip(cases, test.labels[chosen], strict=True):
            names = sorted(each.probabilities, key=lambda name, truth=label: name != data.classes[truth])
            found.append(replace(each, probabilities={name: each.probabilities[name] for name in names}))
        return found

    monkeypatch.setattr(cases_module, "describe_cases", truth_first)
    with pytest.raises(AssertionError):
        assert_no_label_in_words()


def test_a_label_that_render_finds_would_be_caught(run, monkeypatch):
    """Of what was in memory, past all that is handed to it."""
    describe, render, seen = describe_cases, prompts.render_prompt, {}

    def remember(data, *rest):
        seen["data"] = data
        return describe(data, *rest)

    def leaking(prompt, each):
        data = seen["data"]
        return f"{render(prompt, each)} It is {data.classes[data.labels[each.row]]}."

    monkeypatch.setattr(cases_module, "describe_cases", remember)
    monkeypatch.setattr(prompts, "render_prompt", leaking)
    with pytest.raises(AssertionError):
        assert_no_label_in_words()


def test_a_gallery_with_test_images_is_refused(run):
    """Whose neighbours' classes would be labels of test."""
    meta = read_json("models/index.json")
    meta["rows"][0] = int(load_dataset().rows("test")[0])
    write_json("models/index.json", meta)
    test = load_predictions().of("test")
    with refused("models/index.json", "no train or val radiographs"):
        describe_cases(load_dataset(), test, np.arange(3), load_params(), CPU)
