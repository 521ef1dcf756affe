"""Show which test radiographs are misclassified, the accuracy in subgroups, and class activation maps
(Grad-CAM)."""

from collections.abc import Mapping

import faiss
import numpy as np
import torch

from cxr.core import dataset
from cxr.core.dataset import Dataset, load_dataset, load_opacities
from cxr.core.device import configure
from cxr.core.errors import run
from cxr.core.files import read_csv, write_json
from cxr.core.probabilities import decide
from cxr.embeddings.gallery import Gallery
from cxr.embeddings.subclasses import subclass_of_each
from cxr.embeddings.vectors import embed_rows
from cxr.evaluation.misclassifications import most_confident_errors, most_frequent_error
from cxr.evaluation.pointing import point_at_opacities
from cxr.evaluation.sanity import contrasted_classes, sanity_check
from cxr.evaluation.subgroups import as_table, cut_into_subgroups, measure_subgroups, worst_subgroup
from cxr.figures import panels, style
from cxr.figures.charts import subgroup_table
from cxr.figures.panels import Case, Tile
from cxr.inference.calibration import load_calibration
from cxr.inference.gradcam import gradcam
from cxr.inference.predictions import Predictions, check_predictions, load_predictions
from cxr.models.classifier import Classifier, load_classifier
from cxr.params import Params, load_params

SHOWN = 16  # errors in a figure, divided among the kinds of error
MAPPED = 4  # of each kind of error those with class activation maps
CORRECT = 2  # correctly classified radiographs of each class


def main() -> None:
    params = load_params()
    device = configure(params.compute.device, params.compute.threads)
    faiss.omp_set_num_threads(params.compute.threads)
    data, opacities = load_dataset(), load_opacities()
    model = load_classifier()
    gallery = Gallery.load()
    test = load_predictions().of("test")
    check_predictions(test, data, model.spec.members)
    gallery.check(data)

    decisions = decide(test.ensemble, load_calibration().threshold)
    right = decisions == test.labels
    hashes = [row["sha256"] for row in read_csv(dataset.LABELS)]
    groups, limits = cut_into_subgroups(data, subclass_of_each(data), hashes)
    subgroups, accuracy = measure_subgroups(right, groups, test.patients), float(right.mean())
    worst = worst_subgroup(subgroups, accuracy)
    frequent = most_frequent_error(test.labels, decisions, test.classes)
    errors = {
        f"{test.classes[truth]} misclassified as {test.classes[decision]}: {total:,}": positions
        for (truth, decision), (total, positions) in most_confident_errors(
            test.labels, test.ensemble, decisions, SHOWN
        ).items()
    }
    nearest = nearest_to_errors(errors, gallery, test, data, params, device)
    write_json(
        "metrics/subgroups.json",
        {
            "accuracy": accuracy,
            "images": len(right),
            "top_confusion": frequent,
            "worst": worst,
            "limits": limits,
            "subgroups": subgroups,
        },
    )
    subgroup_table("plots/subgroups.png", subgroups, accuracy, "Accuracy in subgroups of test")
    draw_failures(data, test, decisions, errors, nearest, gallery.meta.measure)
    correct = {
        "classified correctly: the first radiographs of each class": np.concatenate(
            [np.flatnonzero(right & (test.labels == label))[:CORRECT] for label in range(len(test.classes))]
        )
    }
    mapped = {title: positions[:MAPPED] for title, positions in errors.items()}
    draw_gradcam(data, test, decisions, mapped | correct, model, device)

    images = data.images[test.rows]
    report = sanity_check(model, images, test.labels, test.ensemble, decisions, device)
    pointing = None
    if opacities is not None:
        shown, resamples = opacities[test.rows], params.evaluate.bootstrap
        pointing = point_at_opacities(*(model, images, test.labels, shown, resamples, device), test.patients)
    write_json("metrics/explain.json", report | ({"pointing": pointing} if pointing else {}))
    print(as_table(subgroups))
    print(f"Most frequent error: {frequent}.\n{worst}")
    print(f"Similarity of the Grad-CAM maps of {report['images']} radiographs to those of")
    for name, values in list(report.items())[2:]:
        print(f"{name:15}", ", ".join(f"{key} {value:.3g}" for key, value in values.items()))
    if pointing:
        print(f"Grad-CAM of the true class on the opacities of {pointing['images']} radiographs")
        for name in ("hit", "energy"):
            print(f"{name:15}", ", ".join(f"{key} {value:.3g}" for key, value in pointing[name].items()))


def nearest_to_errors(
    errors: Mapping[str, np.ndarray],
    gallery: Gallery,
    test: Predictions,
    data: Dataset,
    params: Params,
    device: torch.device,
) -> dict[int, tuple[int, float]]:
    """For each position among the test radiographs in `errors`: the row of its nearest neighbour in the
    gallery, and the cosine or distance."""
    positions = [int(i) for chosen in errors.values() for i in chosen]
    if not positions:
        return {}
    rows, meta = test.rows[positions], gallery.meta
    vectors = embed_rows(meta.embedding, meta.metric, data, rows, params, device)
    result = gallery.search(vectors, 1, own=rows)
    return dict(zip(positions, zip(result.rows[:, 0], result.values[:, 0], strict=True), strict=True))


def draw_failures(
    data: Dataset,
    test: Predictions,
    decisions: np.ndarray,
    errors: Mapping[str, np.ndarray],
    nearest: Mapping[int, tuple[int, float]],
    measure: str,
) -> None:
    cases: dict[str, list[Case]] = {title: [] for title in errors}
    for title, positions in errors.items():
        for i in positions:
            row, value = nearest[i]
            neighbour = Tile(
                data.images[row],
                f"{measure} {value:.3f}\n{style.shortened(data.classes[data.labels[row]], 18)}",
                frame=style.PLAIN if data.labels[row] == test.labels[i] else style.MARKED,
            )
            cases[title].append((Tile(data.images[test.rows[i]], caption(test, decisions, i)), neighbour))
    panels.sections(
        "plots/failures.png",
        cases,
        "Misclassified test radiographs, highest probability first, each with its nearest neighbour in the\n"
        "gallery. Frame: black = neighbour of the radiograph's true class, purple = of another class",
        per_row=4,
        without="No test radiograph is misclassified.",
    )


def draw_gradcam(
    data: Dataset,
    test: Predictions,
    decisions: np.ndarray,
    chosen: Mapping[str, np.ndarray],
    model: Classifier,
    device: torch.device,
) -> None:
    cases: dict[str, list[Case]] = {}
    for title, positions in chosen.items():
        if not len(positions):
            continue
        images = data.images[test.rows[positions]]
        decided = decisions[positions]
        pair = decided, contrasted_classes(test.labels[positions], test.ensemble[positions], decided)
        maps = [gradcam(model, images, classes, device) for classes in pair]
        cases[title] = [
            (
                Tile(images[n], caption(test, decisions, i)),
                *(map_tile(images[n], test.classes[pair[k][n]], maps[k][n]) for k in (0, 1)),
            )
            for n, i in enumerate(positions)
        ]
    panels.sections(
        "plots/gradcam.png",
        cases,
        "Class activation maps (Grad-CAM) of the decision, and of the true class\n"
        "(where that is the decision, of the most probable other class)",
        per_row=2,
    )


def caption(test: Predictions, decisions: np.ndarray, i: int) -> str:
    """The decision with its probability, which may be below one half, and the true class."""
    decision = int(decisions[i])
    names = [style.shortened(test.classes[label], 13) for label in (decision, test.labels[i])]
    return f"{names[0]} {test.ensemble[i, decision]:.3f}\ntrue: {names[1]}"


def map_tile(image: np.ndarray, name: str, activation: np.ndarray) -> Tile:
    return Tile(
        image,
        f"{'map of' if activation.any() else 'empty map of'}\n{style.shortened(name, 18)}",
        activation=activation,
    )


if __name__ == "__main__":
    run(main)
