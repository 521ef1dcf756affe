"""The label extracted from hand-written sentences is the one that a reader would assign."""

import pytest

from cxr.reports.labeller import extract_label

TWO = ["normal", "pneumonia"]
THREE = ["normal", "pneumonia", "tuberculosis"]

NORMAL = """\
No evidence of pneumonia.
There is no pneumonia.
No pneumonia is seen.
There are no signs of pneumonia or pleural effusion.
No focal consolidation, effusion, or pneumonia.
Pneumonia is unlikely.
Pneumonia is very unlikely in this radiograph.
Unlikely to represent pneumonia.
The radiograph does not show pneumonia.
The film does not show pneumonia.
Normal chest film.
This picture shows no pneumonia.
The appearances aren't those of pneumonia.
It isn't pneumonia.
The lungs are clear.
Both lungs appear clear, without pneumonia.
Normal chest radiograph.
This is a normal frontal chest X-ray.
Normal.
The chest X-ray looks normal.
Lungs within normal limits.
No acute cardiopulmonary abnormality.
No acute disease.
Negative for pneumonia.
The study is negative for pneumonia.
Free of pneumonia.
Pneumonia is absent.
Pneumonia: absent.
Pneumonia: no
Pneumonia has been ruled out.
Pneumonia can be excluded.
The clear lung fields argue against pneumonia.
This rules out pneumonia.
The pneumonia has resolved.
Resolved pneumonia.
Neither consolidation nor pneumonia is visible.
The absence of opacities makes pneumonia improbable.
I do not see pneumonia; the lungs are clear.
The history of pneumonia is noted. The lungs are clear.
Is this pneumonia? No: the lungs are clear.
The classifier suggests pneumonia, but the lungs are clear.
The radiograph could not be better positioned. There is no pneumonia.
Verdict: normal
**Verdict:** normal.
Findings suggest pneumonia at first sight. Verdict: no pneumonia
Pneumonia cannot be confirmed at first. Answer: normal
""".strip().splitlines()

PNEUMONIA = """\
Pneumonia.
There is pneumonia in the right lower lobe.
Findings are consistent with pneumonia.
Likely pneumonia.
Pneumonia is likely.
Pneumonia is the most probable diagnosis.
Opacities suggestive of bronchopneumonia.
Pneumonic infiltrate in the left lung.
No pleural effusion, but pneumonia in the left lower zone.
There is no doubt that this is pneumonia.
Not only is there pneumonia, it is extensive.
No change in the known pneumonia.
The heart is normal in size. Right middle lobe pneumonia.
Heart size is normal. Findings compatible with pneumonia.
The radiograph is not normal: there is pneumonia.
Pneumonia is present, and no effusion is seen.
Pneumonia, not tuberculosis.
Pneumonia rather than tuberculosis.
Pneumonia is more likely than tuberculosis.
Right lower lobe pneumonia. The lungs are otherwise clear.
I agree with the classifier: pneumonia.
No abnormality other than pneumonia of the left base.
The diagnosis is pneumonia; tuberculosis is unlikely.
Verdict: pneumonia
The lungs look normal at first. Verdict: PNEUMONIA.
""".strip().splitlines()

UNCLEAR = """\
Cannot exclude pneumonia.
Pneumonia cannot be excluded.
Pneumonia can't be completely ruled out.
Pneumonia could not be confirmed.
Possible pneumonia.
Pneumonia is possible.
This may represent pneumonia.
It might be pneumonia.
Opacity that could be pneumonia.
Pneumonia is not excluded.
It is not possible to rule out pneumonia.
This does not exclude pneumonia.
Pneumonia is not unlikely.
I am not sure whether this is pneumonia.
Normal versus pneumonia.
Either a normal radiograph or pneumonia.
Either a normal film or pneumonia.
If this is pneumonia, follow up.
Is this pneumonia?
Evaluate for pneumonia.
The heart is of normal size.
The radiograph is not normal.
The film is not normal.
Abnormal chest.
The lungs are clear. Early pneumonia cannot be excluded.
There is pneumonia. There is no pneumonia.
A grey picture.
Verdict: unclear
There is pneumonia. Verdict: unclear
There is pneumonia. Verdict: none
Verdict: normal or pneumonia
""".strip().splitlines()


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        *((sentence, "normal") for sentence in NORMAL),
        *((sentence, "pneumonia") for sentence in PNEUMONIA),
        *((sentence, "unclear") for sentence in UNCLEAR),
    ],
)
def test_label_that_a_reader_would_assign(sentence, expected):
    assert extract_label(sentence, TWO) == expected
    assert extract_label(sentence.upper(), TWO) == expected
    assert extract_label(f"A frontal radiograph.\n{sentence}", TWO) == expected


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("No evidence of pneumonia.", "unclear"),  # which leaves tuberculosis
        ("No evidence of pneumonia or tuberculosis.", "normal"),
        ("Neither pneumonia nor tuberculosis.", "normal"),
        ("Tuberculosis is likely, pneumonia unlikely.", "tuberculosis"),
        ("Pneumonia unlikely, tuberculosis likely.", "tuberculosis"),
        ("Pneumonia is less likely than tuberculosis.", "tuberculosis"),
        ("Tuberculosis is more likely than pneumonia.", "tuberculosis"),
        ("Findings of TB in the upper zones.", "tuberculosis"),
        ("No TB. Pneumonia in the left lower zone.", "pneumonia"),
        ("Pneumonia or tuberculosis.", "unclear"),
        ("Pneumonia. Tuberculosis cannot be excluded.", "unclear"),
        ("Tuberculous infiltrate; no pneumonia.", "tuberculosis"),
        ("Verdict: tuberculosis", "tuberculosis"),
    ],
)
def test_three_classes(sentence, expected):
    assert extract_label(sentence, THREE) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Findings: pneumonia.\n\n**Verdict:**\n\nnormal\n", "normal"),
        ("Verdict: normal\nOn a second look:\nVerdict: pneumonia", "pneumonia"),
        ("FINDINGS: Possible pneumonia.\nIMPRESSION: No pneumonia.", "normal"),
        ("Impression: see above.\nPneumonia.", "pneumonia"),
        ("Impression: The heart is normal.\nThere is pneumonia of the left base.", "pneumonia"),
        ("", "unclear"),
    ],
)
def test_the_last_verdict_counts_then_the_impression(text, expected):
    assert extract_label(text, TWO) == expected


def test_other_classes_are_named_by_their_names():
    classes = ["lung_opacity", "sick"]
    assert (
        extract_label("No lung opacity is seen.", classes) == "unclear"
    )  # sick is not known to be the only alternative
    assert extract_label("There is a lung opacity.", classes) == "lung_opacity"
    assert extract_label("Verdict: sick", classes) == "sick"
    assert extract_label("Verdict: NORMAL", ["NORMAL", "Pneumonia"]) == "NORMAL"
    assert extract_label("No pneumonia.", ["NORMAL", "Pneumonia"]) == "NORMAL"
