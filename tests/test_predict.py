"""`cxr predict` says what the pipeline says of the same picture, and names each picture it cannot read."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cxr import calibration, cli
from cxr.calibration import Calibration
from cxr.film import read_film
from cxr.models import classifier
from tests.builders import ROOT, noise_films, small_classifier

CLASSES = ["normal", "pneumonia", "tuberculosis"]


def save_model(classes: int = 2, threshold: float | None = 0.3) -> None:
    names = CLASSES[:classes]
    classifier.save(small_classifier(classes=names, outputs=names, output_classes=[*range(classes)]))
    calibration.save(Calibration(1.8, threshold if classes == 2 else None))


def save_pictures(count: int) -> list[str]:
    """Pictures of 40 pixels, each darker than the one before."""
    names = []
    for number, film in enumerate(noise_films(count, size=40)):
        names.append(f"film {number}.{'png' if number % 2 else 'jpg'}")
        Image.fromarray(film // (number + 1)).save(names[-1])
    return names


@pytest.mark.parametrize("classes", [2, 3])
def test_printed_numbers_are_the_pipelines(run, classes):
    save_model(classes)
    pictures = save_pictures(6)
    films = np.stack([read_film(name, 16) for name in pictures])
    raw = classifier.predict(classifier.load(), films, torch.device("cpu")).mean
    expected = calibration.load()(raw)
    threshold = float(np.median(expected[:, 1]))  # so that the untrained network decides both ways
    calibration.save(Calibration(1.8, threshold if classes == 2 else None))
    code, out, err = run("predict", *pictures)
    assert (code, err) == (0, [])

    assert [name for name in CLASSES if f"p({name})" in out[0]] == CLASSES[:classes]
    decisions = set()
    for name, line, p in zip(pictures, out[1:7], expected, strict=True):
        assert line.startswith(f"{name} ")
        *numbers, decision = line.removeprefix(name).split()
        assert [float(number) for number in numbers] == pytest.approx(p, abs=5.1e-4)
        named = int(p[1] >= threshold) if classes == 2 else int(p.argmax())
        assert decision == CLASSES[named]
        decisions.add(decision)
    assert len(decisions) > 1  # otherwise the decision has not been tested
    assert out[-1] == "For research only, not for diagnosis."
    assert any(f"p = {threshold:.3f} (chosen on val)" in line for line in out) == (classes == 2)


def test_one_picture_says_the_same_alone(run):
    save_model()
    pictures = save_pictures(3)
    together, alone = run("predict", *pictures)[1], run("predict", pictures[1])[1]
    assert together[2].split() == alone[1].split()


def test_unreadable_pictures_do_not_hide_the_others(run):
    save_model()
    good = save_pictures(2)
    Path("notes.txt").write_text("Not a film.\n")
    Path("cut.png").write_bytes(Path(good[1]).read_bytes()[:200])
    code, out, err = run("predict", "notes.txt", good[0], "missing.png", "cut.png", good[1])
    assert code == 1
    assert err[0] == "error: notes.txt: not a PNG, JPEG or DICOM picture"
    assert err[1] == "error: missing.png: no such file"
    assert re.match("error: cut.png: damaged or unreadable picture", err[2])
    assert len(err) == 3
    assert [line.split(".")[0] for line in out[1:3]] == ["film 0", "film 1"]


def test_nothing_readable_prints_nothing(run):
    save_model()
    Path("notes.txt").write_text("Not a film.\n")
    assert run("predict", "notes.txt") == (1, [], ["error: notes.txt: not a PNG, JPEG or DICOM picture"])


@pytest.mark.parametrize("missing", ["classifier.safetensors", "calibration.json"])
def test_missing_model_is_one_line(run, missing):
    save_model()
    (Path("models") / missing).unlink()
    code, out, err = run("predict", *save_pictures(1))
    assert (code, out, len(err)) == (1, [], 1)
    assert err[0].startswith(f"error: models/{missing}: no ")
    assert "`dvc repro`" in err[0]
    assert "`dvc pull`" in err[0]


def test_no_picture_is_a_usage_error(run):
    code, out, err = run("predict")
    assert (code, out) == (2, [])
    assert "IMAGE" in err[-1]


def test_help_does_not_wait_for_torch():
    check = "import sys, cxr.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0
