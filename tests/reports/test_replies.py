"""Responses that are no report are recognised."""

import pytest

from cxr.reports import prompts, scoring
from cxr.reports.prompts import load_prompts
from cxr.reports.writers import Text
from tests.builders import ROOT, case

CLASSES = ["normal", "pneumonia"]
PROMPT_TEXTS = [prompts.render_prompt(prompt, case()) for prompt in load_prompts(ROOT / "prompts").values()]
REPORT = (
    "The heart is of normal size. In the right lower zone there is an opacity with blurred edges. The left "
    "lung is clear.\nVerdict: pneumonia"
)


@pytest.mark.parametrize("prompt_text", PROMPT_TEXTS, ids=prompts.NAMES)
def test_kinds(prompt_text):
    first, last = prompt_text.splitlines()[0], prompt_text.splitlines()[-1]
    sentences = prompt_text.replace("\n", " ").split(". ")
    for response, expected in (
        ("", "empty"),
        (" \n\t", "empty"),
        ("...", "empty"),
        ("**", "empty"),
        (prompt_text, "prompt_repeated"),
        (prompt_text.upper(), "prompt_repeated"),
        (f"{prompt_text}\n\n{REPORT[:40]}", "prompt_repeated"),
        (first, "prompt_repeated"),
        (last, "prompt_repeated"),
        (". ".join(sentences[: len(sentences) // 2 + 1]), "prompt_repeated"),
        ("I'm sorry, but I cannot help with that.", "refused"),
        ("I am unable to interpret medical images.", "refused"),
        ("As an AI language model I do not give diagnoses.", "refused"),
        ("I can\u2019t provide a medical diagnosis. Please consult a qualified radiologist.", "refused"),
        ("I cannot analyze this image.", "refused"),
        (REPORT, "answered"),
        ("Verdict: normal", "answered"),
        ("normal", "answered"),
        ("As an AI I may be wrong. There is pneumonia.\nVerdict: pneumonia", "answered"),
        ("I cannot see any opacity, yet pneumonia is possible.", "answered"),
        ("It is unclear whether this is pneumonia.", "answered"),
        (f"This frontal radiograph is stored at 28 x 28 pixels. {REPORT}", "answered"),
    ):
        assert scoring.kind_of(Text(prompt_text, response), CLASSES) == expected, response


def test_a_template_has_no_prompt_to_repeat():
    assert scoring.kind_of(Text("", REPORT), CLASSES) == "answered"
