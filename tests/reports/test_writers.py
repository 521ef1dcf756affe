"""The template reports what was measured: zones, image statistics, neighbours, probability."""

import re

import numpy as np
import pytest
from scipy.stats import percentileofscore

from cxr.reports import measurements
from cxr.reports.cases import Neighbour
from cxr.reports.labeller import extract_label
from cxr.reports.measurements import Rank, rank_in_training, zone_fractions
from cxr.reports.writers import LABEL, TemplateWriter
from tests.builders import case, noise_images

ZONES = {f"{height} {side}" for height in ("upper", "middle", "lower") for side in ("left", "right")}


def write(**changes):
    text = TemplateWriter().write(case(**changes), "template")
    assert text.prompt_text == ""
    assert text.response.startswith(LABEL)
    assert "template" in LABEL.lower()
    assert "No language model or physician" in LABEL
    return text.response.removeprefix(LABEL)


def test_reports_every_measurement():
    text = write()
    for part in (
        "normal 0.200, pneumonia 0.800",
        "50 % normal, 50 % pneumonia",
        "raise the pneumonia score (Grad-CAM, proportion of the map): 100 % in the lower left zone",
        "0 % on the midline",
        "patient's right is on image left",
        "28 x 28 pixels",
        "mean grey level is 127 (percentile 31)",
        "contrast 74 grey levels (percentile 99, unusual)",
        "1.2 % of its pixels are clipped",
        "Of the 5 most similar radiographs of the gallery 2 are normal and 3 are pneumonia (cosine 0.990 to "
        "0.950)",
    ):
        assert part in text, part
    assert extract_label(LABEL + text, ["normal", "pneumonia"]) == "pneumonia"


def test_the_extracted_label_is_the_decision_whatever_the_neighbours_are():
    for names in (["normal"], ["pneumonia"], ["normal", "pneumonia", "tuberculosis"]):
        for p in ({"normal": 0.9, "pneumonia": 0.1}, {"normal": 0.1, "pneumonia": 0.3, "tuberculosis": 0.6}):
            neighbours = tuple(Neighbour(0, name, 0.5) for name in names)
            text = write(probabilities=p, prevalence=p, neighbours=neighbours)
            assert extract_label(text, list(p)) == max(p, key=p.get)


def test_a_map_of_zeros_has_no_zones():
    heat = np.zeros((28, 28), np.float32)
    assert zone_fractions(heat) == {}
    assert "Grad-CAM finds no region that raises the pneumonia score" in write(heat=heat, zones={})


@pytest.mark.parametrize("size", [16, 28, 224])
def test_zones_are_thirds_and_sides(size):
    for row, height in ((0, "upper"), (size // 2, "middle"), (size - 1, "lower")):
        for column, side in ((0, "left"), (size - 1, "right"), (size // 2, None)):
            heat = np.zeros((size, size), np.float32)
            heat[row, column] = 0.7
            fractions = zone_fractions(heat)
            assert set(fractions) == ZONES | {"midline"}
            assert [zone for zone, fraction in fractions.items() if fraction] == [
                f"{height} {side}" if side else "midline"
            ]
    heat = np.random.default_rng(0).random((size, size))
    fractions = zone_fractions(heat)
    assert sum(fractions.values()) == pytest.approx(1)
    mirrored = zone_fractions(heat[:, ::-1])
    for zone in ZONES:
        other = zone.replace("left", "x").replace("right", "left").replace("x", "right")
        assert mirrored[other] == pytest.approx(fractions[zone])
    even = zone_fractions(np.ones((size, size)))
    assert even["midline"] == pytest.approx(0.2, abs=1 / size)
    assert even["middle left"] == pytest.approx(0.4 / 3, abs=2 / size)


def test_image_statistics_are_ranked_among_the_training_images():
    images = noise_images(50, 16)
    images[10:20] = images[10:20] // 2
    images[:5] = 255
    reference = measurements.image_statistics(images)
    image = noise_images(1, 16, seed=3)[0] // 3
    ranks = rank_in_training(image, reference)
    assert ranks["mean"].value == pytest.approx(image.mean())
    assert ranks["contrast"].value == pytest.approx(image.std())
    assert ranks["clipped"].value == pytest.approx(((image == 0) | (image == 255)).mean())
    for name, measured in (("mean", np.mean), ("contrast", np.std)):
        values = [measured(other) for other in images]
        expected = percentileofscore(values, measured(image), kind="mean") / 100
        assert ranks[name].below == pytest.approx(expected)
    white = rank_in_training(np.full((16, 16), 255, np.uint8), reference)
    assert white["clipped"].below == pytest.approx(0.95)  # five of fifty are equally white: they count half
    assert white["clipped"].value == 1


def test_unusual_is_outside_the_central_95_percent():
    for below, unusual in ((0.02, True), (0.03, False), (0.97, False), (0.98, True)):
        text = write(image_statistics={name: Rank(1.0, below) for name in ("mean", "contrast", "clipped")})
        assert len(re.findall("unusual", text)) == 3 * unusual
