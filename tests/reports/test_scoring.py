"""Scores of texts equal counts by hand; the page shows the text of a model verbatim."""

import pytest

from cxr.evaluation.statistics import wilson
from cxr.reports import page, scoring
from cxr.reports.claims import load_claims
from cxr.reports.page import render_page
from cxr.reports.scoring import Scored, summarise_classifier, summarise_texts
from cxr.reports.writers import Text
from tests.builders import case, settings

CLASSES, LEXICON = ["normal", "pneumonia"], load_claims()
PROMPT_TEXT = "Which of these is it: normal, pneumonia? Describe in at most four sentences what you see."
RESPONSES = {
    "Verdict: pneumonia": "pneumonia",
    "No pneumonia. No fracture.": "normal",
    "Pneumonia cannot be excluded.": "unclear",
    "": "unclear",
    PROMPT_TEXT: "unclear",
    "I cannot provide a diagnosis. The fracture ...": "unclear",
}


def scored():
    return [
        scoring.score("zero_shot", Text(PROMPT_TEXT, response), CLASSES, 28, LEXICON)
        for response in RESPONSES
    ]


def test_texts_are_scored():
    texts = scored()
    assert [text.extracted_label for text in texts] == list(RESPONSES.values())
    kinds = ["answered", "answered", "answered", "empty", "prompt_repeated", "refused"]
    assert [text.kind for text in texts] == kinds
    assert [text.flags for text in texts] == [[], ["fractures"], [], [], [], []]


def test_summary_equals_counting():
    labels = ["pneumonia", "pneumonia", "normal", "normal", "normal", "normal"]
    decisions = ["pneumonia", "normal", "normal", "pneumonia", "normal", "normal"]
    summary = summarise_texts(scored(), labels, decisions, CLASSES, LEXICON)

    def proportion(hits, count):
        low, high = wilson(hits / count, count)
        return pytest.approx({"value": hits / count, "low": float(low), "high": float(high)})

    assert summary["label"] == proportion(1, 6)
    assert summary["label_if_clear"] == proportion(1, 2)
    assert summary["classifier"] == proportion(2, 6)
    assert summary["classifier_if_clear"] == proportion(2, 2)
    counts = {
        name: summary[name] for name in ("texts", "unclear", "empty", "prompt_repeated", "refused", "flagged")
    }
    assert counts == {"texts": 6, "unclear": 4, "empty": 1, "prompt_repeated": 1, "refused": 1, "flagged": 1}
    assert summary["flags"] == {claim.name: int(claim.name == "fractures") for claim in LEXICON}
    assert summary["verdicts"] == {
        "normal": {"normal": 0, "pneumonia": 0, "unclear": 4},
        "pneumonia": {"normal": 1, "pneumonia": 1, "unclear": 0},
    }
    assert summary["recall"] == {"normal": proportion(0, 4), "pneumonia": proportion(1, 2)}
    assert summary["balanced_accuracy"] == 0.25
    unclear = summarise_texts(scored()[2:], labels[2:], decisions[2:], CLASSES, LEXICON)
    assert "label_if_clear" not in unclear
    assert unclear["label"]["value"] == 0


def render(response):
    text = scoring.score("zero_shot", Text("a prompt", response), CLASSES, 28, LEXICON)
    entry = page.Entry(case(), [text], "normal", "cases/001.png")
    metrics = {
        "cases": {"normal": 1, "pneumonia": 0},
        "classifier": summarise_classifier(["pneumonia"], ["normal"], CLASSES),
        "prompts": {"zero_shot": summarise_texts([text], ["normal"], ["pneumonia"], CLASSES, LEXICON)},
    }
    return render_page(settings("report", writer="acme/tiny"), "float16", [entry], metrics, LEXICON)


def test_text_of_a_model_is_verbatim_in_one_row_of_the_table():
    response = (
        "# Report\n| a | b |\n![x](http://a.org/x.png) <script>x()</script>\n**bold**\n\nVerdict: normal"
    )
    text = render(response)
    rows = [line for line in text.splitlines() if "Report" in line and line.startswith("|")]
    assert len(rows) == 1
    assert rows[0].replace("\\|", "").count("|") == 3
    assert "<script>" not in text
    assert "![x]" not in text
    assert "**bold**" not in text
    assert "Verdict: normal" in rows[0]
    assert "Extracted label: normal. Flags: none" in rows[0]


def test_flags_and_kinds_are_beside_the_text():
    assert "Flags: claims that cannot be seen: fractures" in render("No pneumonia. No fracture.")
    assert "Extracted label: unclear. Flags: empty" in render("")
    assert "(empty)" in render("")
    page_text = render("Verdict: pneumonia")
    assert "classifier wrong, `zero_shot` wrong" in page_text
    assert "language model `acme/tiny`" in page_text
    assert "computed in float16" in page_text
    # Of the one normal radiograph the classifier and the text both say pneumonia.
    row = next(line for line in page_text.splitlines() if line.startswith("| `zero_shot` | 0.000 | 0.000 |"))
    assert "| 0 / 1 / 0 | 0 / 0 / 0 |" in row
    assert "always names the most frequent class: here it would reach 1.000" in page_text
    assert "template" not in page_text.lower()


def test_a_text_with_two_claims_is_flagged_once():
    lexicon = load_claims()
    texts = [
        Scored("p", Text("", "x"), "answered", "normal", ["devices", "fractures"]),
        Scored("p", Text("", "x"), "answered", "normal", []),
    ]
    summary = summarise_texts(texts, ["normal"] * 2, ["normal"] * 2, ["normal", "pneumonia"], lexicon)
    assert summary["flagged"] == 1
    assert {name: count for name, count in summary["flags"].items() if count} == {
        "devices": 1,
        "fractures": 1,
    }
