"""The figures of the stage explain show what their titles say, also of decisions below one half."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from sklearn.metrics.pairwise import cosine_similarity

from cxr.core import dataset
from cxr.core.dataset import load_dataset
from cxr.core.files import read_json
from cxr.evaluation.sanity import similarity
from cxr.figures import style
from cxr.inference import predictions
from cxr.inference.calibration import Calibration, save_calibration
from cxr.inference.gradcam import gradcam
from cxr.inference.predictions import load_predictions
from cxr.models import classifier
from cxr.models.classifier import Classifier, load_classifier
from stages import explain
from tests.pictures import Picture, is_grey, recorded
from tests.stages.test_explain import build

CPU = torch.device("cpu")


def overlay(image: np.ndarray, activation: np.ndarray) -> np.ndarray:
    """(S, S, 3) float: a map in its colours and with its opacity over a radiograph, both (S, S)."""
    alpha = 0.6 * activation[..., None]
    return (1 - alpha) * image[..., None] + alpha * 255 * colormaps[style.HEAT](activation)[..., :3]


@dataclass(frozen=True)
class Drawn:
    """The figures and checks of a run whose decision is not always the most probable class. nearest: row and
    cosine of each test radiograph's nearest neighbour."""

    saved: dict[str, Picture]
    data: dataset.Dataset
    test: predictions.Predictions
    decisions: np.ndarray
    model: Classifier
    nearest: list[tuple[int, float]]
    explained: dict
    subgroups: dict


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Drawn:
    folder = tmp_path_factory.mktemp("drawn")
    with pytest.MonkeyPatch.context() as patch, recorded() as saved:
        patch.chdir(folder)
        build(folder)
        test = load_predictions().of("test")
        threshold = float(np.quantile(test.ensemble[:, 1], 0.7))
        save_calibration(Calibration(1.0, threshold, [0.5, 0.5], [0.5, 0.5]))
        decisions = (test.ensemble[:, 1] >= threshold).astype(int)
        assert (decisions != test.ensemble.argmax(axis=1)).sum() > 2
        # Some neighbours are of another class although they look alike.
        lines = dataset.LABELS.read_text().splitlines()
        swapped = {"train,normal": "train,pneumonia", "train,pneumonia": "train,normal"}
        for number in range(1, len(lines), 2):
            name = next((name for name in swapped if f",{name}," in lines[number]), "")
            lines[number] = lines[number].replace(name, swapped.get(name, ""), 1)
        dataset.LABELS.write_text("\n".join(lines) + "\n")
        explain.main()
        data, model = load_dataset(), load_classifier()
        train = data.rows("train")
        vectors = classifier.predict(model, data.images, CPU).embeddings
        similar = cosine_similarity(vectors[test.rows], vectors[train])
        nearest = [(int(train[row.argmax()]), float(row.max())) for row in similar]
        read = [read_json(f"metrics/{name}.json") for name in ("explain", "subgroups")]
        return Drawn(saved, data, test, decisions, model, nearest, *read)


def by_confidence(test: predictions.Predictions, decisions: np.ndarray, most: int) -> list[int]:
    """Positions of the errors, kind by kind, highest probability of the decision first."""
    positions = []
    for truth in (0, 1):
        wrong = np.flatnonzero((test.labels == truth) & (decisions != truth))
        positions += sorted(wrong, key=lambda i: -test.ensemble[i, decisions[i]])[:most]
    return positions


def test_failures_are_test_radiographs_with_the_released_decision_and_their_nearest_neighbour(drawn):
    data, test, decisions = drawn.data, drawn.test, drawn.decisions
    panels = [panel for panel in drawn.saved["failures.png"].panels if panel.title]
    positions = by_confidence(test, decisions, 8)
    assert len(panels) == 2 * len(positions) > 4
    frames = set()
    for i, (error, neighbour) in zip(positions, zip(panels[::2], panels[1::2], strict=True), strict=True):
        p, truth = test.ensemble[i, decisions[i]], test.classes[test.labels[i]]
        assert error.title == f"{test.classes[decisions[i]]} {p:.3f}\ntrue: {truth}"
        assert is_grey(error.shown(16), data.images[test.rows[i]])
        row, cosine = drawn.nearest[i]
        name = data.classes[data.labels[row]]
        assert neighbour.title == f"cosine {cosine:.3f}\n{name}"
        assert is_grey(neighbour.shown(16)[1:-1, 1:-1], data.images[row][1:-1, 1:-1])
        assert neighbour.framed(style.PLAIN) == (name == truth)
        assert neighbour.framed(style.MARKED) == (name != truth)
        frames.add(name == truth)
    assert frames == {True, False}


def test_maps_are_those_of_the_decision_and_of_the_class_it_is_compared_with(drawn):
    data, test, decisions = drawn.data, drawn.test, drawn.decisions
    *panels, _ = [panel for panel in drawn.saved["gradcam.png"].panels if panel.ax.axison]
    right = np.flatnonzero(decisions == test.labels)
    positions = by_confidence(test, decisions, 4)
    positions += [i for label in (0, 1) for i in right[test.labels[right] == label][:2]]
    assert len(panels) == 3 * len(positions)
    images = data.images[test.rows[positions]]
    for number, i in enumerate(positions):
        plain, *maps = panels[3 * number : 3 * number + 3]
        assert plain.title.startswith(f"{test.classes[decisions[i]]} {test.ensemble[i, decisions[i]]:.3f}")
        assert is_grey(plain.shown(16), images[number])
        for panel, label in zip(maps, (decisions[i], 1 - decisions[i]), strict=True):
            (heat,) = gradcam(drawn.model, images[number : number + 1], np.array([label]), CPU)
            assert panel.title == f"{'map of' if heat.any() else 'empty map of'}\n{test.classes[label]}"
            difference = np.abs(panel.shown(16) - overlay(images[number], heat))[1:-1, 1:-1]
            assert difference.mean() < 3


def test_sanity_checks_are_of_test_radiographs_and_decisions(drawn):
    images, decisions, report = drawn.data.images[drawn.test.rows], drawn.decisions, drawn.explained
    maps, others = (gradcam(drawn.model, images, classes, CPU) for classes in (decisions, 1 - decisions))
    assert report["images"] == len(images)
    assert report["empty"] == pytest.approx(np.mean([not one.any() for one in maps]), abs=1e-6)
    assert report["other_class"] == pytest.approx(similarity(maps, others), abs=1e-5)
    right = decisions == drawn.test.labels
    assert drawn.subgroups["accuracy"] == pytest.approx(right.mean(), abs=1e-6)
    for name, entry in drawn.subgroups["subgroups"]["class"].items():
        of_class = drawn.test.labels == drawn.data.classes.index(name)
        assert entry["errors"] == int((~right & of_class).sum())
