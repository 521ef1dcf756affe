"""Scores of texts equal counting by hand; the page shows a model's words as words."""

import pytest

from cxr.evaluation.statistics import wilson
from cxr.reports import page, scoring
from cxr.reports.claims import load_claims
from cxr.reports.page import render_page
from cxr.reports.scoring import summarise_texts
from cxr.reports.writers import Text
from tests.builders import case, settings

CLASSES, LEXICON = ["normal", "pneumonia"], load_claims()
ASKED = "Which of these is it: normal, pneumonia? Describe in at most four sentences what you see."
REPLIES = {
    "Verdict: pneumonia": "pneumonia",
    "No pneumonia. No fracture.": "normal",
    "Pneumonia cannot be excluded.": "unclear",
    "": "unclear",
    ASKED: "unclear",
    "I cannot provide a diagnosis. The fracture ...": "unclear",
}


def scored():
    return [scoring.score("zero_shot", Text(ASKED, reply), CLASSES, 28, LEXICON) for reply in REPLIES]


def test_texts_are_scored():
    found = scored()
    assert [each.verdict for each in found] == list(REPLIES.values())
    kinds = ["answered", "answered", "answered", "empty", "prompt_repeated", "refused"]
    assert [each.kind for each in found] == kinds
    assert [each.flags for each in found] == [[], ["fractures"], [], [], [], []]


def test_summary_equals_counting():
    truths = ["pneumonia", "pneumonia", "normal", "normal", "normal", "normal"]
    decisions = ["pneumonia", "normal", "normal", "pneumonia", "normal", "normal"]
    found = summarise_texts(scored(), truths, decisions, LEXICON)

    def share(hits, count):
        low, high = wilson(hits / count, count)
        return pytest.approx({"value": hits / count, "low": float(low), "high": float(high)})

    assert found["truth"] == share(1, 6)
    assert found["truth_of_clear"] == share(1, 2)
    assert found["classifier"] == share(2, 6)
    assert found["classifier_of_clear"] == share(2, 2)
    counts = {
        name: found[name] for name in ("texts", "unclear", "empty", "prompt_repeated", "refused", "flagged")
    }
    assert counts == {"texts": 6, "unclear": 4, "empty": 1, "prompt_repeated": 1, "refused": 1, "flagged": 1}
    assert found["flags"] == {claim.name: int(claim.name == "fractures") for claim in LEXICON}
    nothing = summarise_texts(scored()[2:], truths[2:], decisions[2:], LEXICON)
    assert "truth_of_clear" not in nothing
    assert nothing["truth"]["value"] == 0


def render(reply):
    text = scoring.score("zero_shot", Text("asked", reply), CLASSES, 28, LEXICON)
    entry = page.Entry(case(), [text], "normal", "cases/001.png")
    metrics = {
        "classifier": scoring.agreement(["pneumonia"], ["normal"]),
        "prompts": {"zero_shot": summarise_texts([text], ["normal"], ["pneumonia"], LEXICON)},
    }
    return render_page(settings("report", writer="acme/tiny"), [entry], metrics, LEXICON)


def test_words_of_a_model_stay_words_in_one_row_of_the_table():
    reply = "# Report\n| a | b |\n![x](http://a.org/x.png) <script>x()</script>\n**bold**\n\nVerdict: normal"
    text = render(reply)
    rows = [line for line in text.splitlines() if "Report" in line and line.startswith("|")]
    assert len(rows) == 1
    assert rows[0].replace("\\|", "").count("|") == 3
    assert "<script>" not in text
    assert "![x]" not in text
    assert "**bold**" not in text
    assert "Verdict: normal" in rows[0]
    assert "Extracted label: normal. Flags: none" in rows[0]


def test_flags_and_kinds_stand_beside_the_text():
    assert "Flags: claims that cannot be seen: fractures" in render("No pneumonia. No fracture.")
    assert "Extracted label: unclear. Flags: empty" in render("")
    assert "(empty)" in render("")
    said = render("Verdict: pneumonia")
    assert "classifier wrong, `zero_shot` wrong" in said
    assert "language model `acme/tiny`" in said
    assert "template" not in said.lower()
