"""Each encoder of docs/encoders.md gives what its own library gives of single images, to 1e-5."""

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.embeddings_encoders import CASES, END, START, measure_case, mirror_of
from cxr.params import load_params
from tests.builders import ROOT, noise_images, unreachable_hub, write_params

NAMES = [f"{case.published} {case.pooling}" for case in CASES]


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    unreachable_hub(tmp_path, monkeypatch)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_equals_the_library_one_image_at_a_time(case):
    assert measure_case(case, 2).difference < 1e-5


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_the_measure_is_sensitive(case):
    """A small change of brightness changes the features by far more than what is called equal."""
    with mirror_of(case) as library, torch.inference_mode():
        image = noise_images(1, 64)[0] // 2
        one, other = (library(Image.fromarray(x).convert("RGB")).numpy() for x in (image, image + 3))
    assert np.abs(one - other).max() / np.abs(one).max() > 1e-4


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_params_allow_it(case, tmp_path):
    for name in (case.published, case.encoder):
        path = write_params(tmp_path, {"clip_embed.encoder": name, "clip_embed.pooling": case.pooling})
        assert load_params(path).clip_embed.encoder == name


def test_the_page_lists_them_all():
    page = (ROOT / "docs/encoders.md").read_text(encoding="utf-8")
    rows = page.partition(START)[2].partition(END)[0].splitlines()
    assert [row.split("`")[1] for row in rows if row.startswith("| `")] == [case.published for case in CASES]
