"""Claims beyond the resolution are flagged by the lexicon, disclaimers are not."""

import pytest

from cxr.reports.claims import load_claims, unsupported_claims
from tests.builders import refused

LEXICON = load_claims()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The cardiothoracic ratio is 0.55.", ["heart_size_in_numbers"]),
        ("CTR: 0.48", ["heart_size_in_numbers"]),
        ("Heart size is approximately 0.6 of the chest.", ["heart_size", "heart_size_in_numbers"]),
        ("An opacity of 3 cm in the left lung.", ["lengths"]),
        ("A 12mm shadow.", ["lengths"]),
        ("An endotracheal tube is in place.", ["devices"]),
        ("No pacemaker, no sternal wires.", ["devices"]),
        ("Central venous line on the right.", ["devices"]),
        ("There is a rib fracture.", ["fractures", "ribs"]),
        ("No fractures.", ["fractures"]),
        ("The bony structures are intact.", ["fractures"]),
        ("A calcified granuloma.", ["small_nodules"]),
        ("No pneumothorax is seen.", ["thin_lines"]),
        ("Kerley B lines and air bronchograms.", ["thin_lines"]),
        ("Compared to the prior radiograph the opacity has grown.", ["earlier_radiographs"]),
        ("Compared to the prior film the opacity has grown.", ["earlier_radiographs"]),
        ("Larger since the previous film.", ["earlier_radiographs"]),
        ("A 4-year-old girl with cough.", ["patient"]),
        ("Fracture of a rib; a nodule of 4 mm.", ["lengths", "fractures", "ribs", "small_nodules"]),
        ("The heart is large. There is an opacity in the right lower zone.", ["heart_size"]),
        ("The heart size is normal.", ["heart_size"]),
        ("The heart is of normal size.", ["heart_size"]),
        ("No cardiomegaly.", ["heart_size"]),
        ("The cardiac silhouette is within normal limits.", ["heart_size"]),
        ("Normal cardiomediastinal silhouette.", ["heart_size"]),
        ("Heart: not enlarged.", ["heart_size"]),
        ("There is enlargement of the heart.", ["heart_size"]),
        ("Rib symmetry is preserved.", ["ribs"]),
        ("Intercostal spaces are even.", ["ribs"]),
        ("Heart size and ribs cannot be judged at this resolution.", []),
        ("The right heart border is obscured. An opacity behind the heart is large.", []),
        ("Fractures cannot be seen at this resolution.", []),
        ("The resolution is too low to detect nodules or fractures.", []),
        ("At 28 pixels it is not possible to exclude a pneumothorax.", []),
        ("The manifold pattern is a nodulation.", []),
        ("", []),
    ],
)
def test_what_is_claimed_at_28_pixels(text, expected):
    assert unsupported_claims(text, 28, LEXICON) == expected
    assert unsupported_claims(text.upper(), 28, LEXICON) == expected


def test_more_pixels_allow_more():
    text = "CTR 0.5, heart size and ribs normal, a pacemaker, a fracture of 2 mm, no pneumothorax."
    sizes = (28, 95, 96, 127, 128, 223, 224, 511, 512, 1023, 1024)
    at = {size: set(unsupported_claims(text, size, LEXICON)) for size in sizes}
    assert at[128] == at[223] == {"heart_size_in_numbers", "devices", "lengths", "fractures", "thin_lines"}
    assert at[96] == at[127] == at[128] | {"ribs"}
    assert at[28] == at[95] == at[96] | {"heart_size"}
    assert at[224] == at[511] == {"lengths", "fractures", "thin_lines"}
    assert at[512] == at[1023] == {"lengths", "fractures"}
    assert at[1024] == {"lengths"}


def test_every_entry_has_a_reason():
    assert {claim.name for claim in LEXICON} >= {"heart_size_in_numbers", "devices", "fractures"}
    assert all(claim.why and claim.pattern.pattern for claim in LEXICON)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a: {from_size: 28, why: x, words: ['(']}", ("a.words has '('", "no regular expression")),
        ("a: {from_size: often, why: x, words: [y]}", ("a.from_size is 'often'", "never")),
        ("a: {from_size: 28, words: [y]}", ("missing key a.why",)),
        ("a: {from_size: 28, why: x, words: [y], more: 1}", ("unknown key a.more",)),
        (
            "a: {from_size: 28, why: x, word: [y]}",
            ("unknown key a.word; did you mean words? allowed here: fr",),
        ),
        ("a: {from_size: 28, why: x, words: []}", ("a.words is []; allowed: a list of names",)),
        ("a: 1", ("a must be a section with the keys from_size, why, words",)),
        ("a: {", ("not valid YAML",)),
        ("- a", ("one entry for each kind",)),
    ],
)
def test_an_invalid_lexicon_is_an_error(tmp_path, text, parts):
    path = tmp_path / "claims.yaml"
    path.write_text(text)
    with refused("claims.yaml", *parts):
        load_claims(path)
