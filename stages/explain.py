"""Show on which test radiographs the classifier errs, in which slices, and where it looks."""

from collections.abc import Mapping
from typing import Any

import faiss
import numpy as np
import torch

from cxr.core import dataset
from cxr.core.dataset import Dataset, load_dataset
from cxr.core.device import configure
from cxr.core.errors import UserError, run
from cxr.core.files import read_csv, write_json
from cxr.core.probabilities import decide
from cxr.embeddings.gallery import META, Gallery, Meta
from cxr.embeddings.subclasses import subclass_of_each
from cxr.embeddings.vectors import embed_rows
from cxr.evaluation import subgroups
from cxr.evaluation.metrics import most_frequent_error
from cxr.evaluation.sanity import randomised, similarity
from cxr.evaluation.subgroups import Subgroups, measure_subgroups, worst_subgroup
from cxr.figures import panels, style
from cxr.figures.charts import subgroup_table
from cxr.figures.panels import Case, Tile
from cxr.inference import predictions
from cxr.inference.gradcam import gradcam
from cxr.inference.predictions import Predictions, load_predictions
from cxr.models import classifier
from cxr.models.classifier import Classifier, load_classifier
from cxr.params import Params, load_params

SHOWN = 16  # errors in a picture, shared out among the kinds of error
CORRECT = 2  # correct radiographs of each class
CHECKED = 100  # radiographs of the sanity checks, drawn at random
DRAWS = 5  # of random weights: a single head may happen to point the trained one's way


def main() -> None:
    params = load_params()
    device = configure(params.compute.device, params.compute.threads)
    faiss.omp_set_num_threads(params.compute.threads)
    data = load_dataset()
    model = load_classifier()
    gallery = Gallery.load()
    test = load_predictions().of("test")
    check(test, data, model, gallery.meta)

    decisions = decide(test.ensemble, None)
    right = decisions == test.labels
    of_subgroups, limits = cut_into_subgroups(right, data)
    errors = {
        f"{test.classes[truth]} misclassified as {test.classes[taken]}: {total:,}": chosen
        for (truth, taken), (total, chosen) in most_confident_errors(test.labels, test.ensemble).items()
    }
    nearest = nearest_to_errors(errors, gallery, test, data, params, device)
    accuracy = float(right.mean())
    words = worst_subgroup(of_subgroups, accuracy)
    confusion = most_frequent_error(test.labels, decisions, test.classes)
    write_json(
        "metrics/subgroups.json",
        {
            "accuracy": accuracy,
            "images": len(right),
            "top_confusion": confusion,
            "worst": words,
            "limits": limits,
            "subgroups": of_subgroups,
        },
    )
    subgroup_table("plots/subgroups.png", of_subgroups, accuracy, "Accuracy on slices of test")

    picture_failures(data, test, errors, nearest, gallery.meta.measure)
    correct = {
        "decided correctly: the first radiographs of each class": np.concatenate(
            [np.flatnonzero(right & (test.labels == label))[:CORRECT] for label in range(len(test.classes))]
        )
    }
    picture_gradcam(data, test, errors | correct, model, device)

    report = sanity(model, data.images[test.rows], test, device)
    write_json("metrics/explain.json", report)
    print_table(of_subgroups)
    print(f"Most frequent mistake: {confusion}.\n{words}")
    print(f"Grad-CAM of {report['images']} radiographs against that of ...")
    for name, values in list(report.items())[2:]:
        print(f"{name:15}", ", ".join(f"{key} {value:.3g}" for key, value in values.items()))


def check(test: Predictions, data: Dataset, model: Classifier, meta: Meta) -> None:
    """Raises `UserError` if predictions, data, model and index are not of one run."""
    rows = data.rows("test")
    for what, matches in (
        ("rows", np.array_equal(test.rows, rows)),
        ("labels", np.array_equal(test.labels, data.labels[rows])),
        ("classes", test.classes == model.spec.classes),
        ("members", len(test.members) == model.spec.members),
    ):
        if not matches:
            raise UserError(
                f"{predictions.PATH} does not belong to {classifier.WEIGHTS} and {dataset.LABELS}: "
                f"other {what}; run `dvc repro`"
            )
    if meta.rows not in (data.rows("train").tolist(), data.rows("train", "val").tolist()):
        raise UserError(f"{META} does not belong to {dataset.LABELS}: other rows; run `dvc repro index`")


def cut_into_subgroups(right: np.ndarray, data: Dataset) -> tuple[Subgroups, dict[str, list[float]]]:
    """right: (N,) bool of the test radiographs. Also returns the grey levels between the thirds of train."""
    train, test = data.rows("train"), data.rows("test")
    groups, limits = {}, {}
    for name, measured in (("brightness", np.mean), ("contrast", np.std)):
        values = np.array([measured(image) for image in data.images])
        limits[name] = subgroups.limits(values[train])
        groups[name] = subgroups.terciles(values[test], limits[name])
    groups["class"] = np.array(data.classes)[data.labels[test]]
    groups["sub-class"] = subclass_of_each(data)[test]
    hashes = [row["sha256"] for row in read_csv(dataset.LABELS)]
    groups["duplicates"] = subgroups.duplicate_status(hashes, test)
    return measure_subgroups(right, groups), limits


def most_confident_errors(
    labels: np.ndarray, probabilities: np.ndarray
) -> dict[tuple[int, int], tuple[int, np.ndarray]]:
    """For each kind of error that occurs, (truth, decision), how many there are and the positions of the most
    confident ones, most confident first. labels: (N,) int, probabilities: (N, classes)."""
    decisions, confidence = decide(probabilities, None), probabilities.max(axis=1)
    kinds = sorted({(int(t), int(d)) for t, d in zip(labels, decisions, strict=True) if t != d})
    found = {}
    for truth, taken in kinds:
        mine = np.flatnonzero((labels == truth) & (decisions == taken))
        ranked = mine[np.argsort(-confidence[mine], kind="stable")]
        found[truth, taken] = (len(mine), ranked[: max(4, SHOWN // len(kinds))])
    return found


def caption(test: Predictions, i: int) -> str:
    decision = int(test.ensemble[i].argmax())
    return f"{test.classes[decision]} {test.ensemble[i, decision]:.3f}\n(is {test.classes[test.labels[i]]})"


def nearest_to_errors(
    errors: Mapping[str, np.ndarray],
    gallery: Gallery,
    test: Predictions,
    data: Dataset,
    params: Params,
    device: torch.device,
) -> dict[int, tuple[int, float]]:
    """For the positions among the test radiographs that `errors` holds: the row of the nearest radiograph in
    the gallery, and its cosine or distance."""
    positions = [int(i) for chosen in errors.values() for i in chosen]
    if not positions:
        return {}
    vectors = embed_rows(gallery.meta.embedding, data, test.rows[positions], params, device)
    found = gallery.search(vectors, 1)
    return dict(zip(positions, zip(found.rows[:, 0], found.values[:, 0], strict=True), strict=True))


def picture_failures(
    data: Dataset,
    test: Predictions,
    errors: Mapping[str, np.ndarray],
    nearest: Mapping[int, tuple[int, float]],
    measure: str,
) -> None:
    cases: dict[str, list[Case]] = {}
    for title, chosen in errors.items():
        cases[title] = []
        for i in chosen:
            row, value = nearest[i]
            same = data.labels[row] == test.labels[i]
            beside = Tile(
                data.images[row],
                f"nearest, {value:.3f}:\n{data.classes[data.labels[row]]}",
                frame=style.COLOURS[0 if same else 1],
            )
            cases[title].append((Tile(data.images[test.rows[i]], caption(test, i)), beside))
    panels.sections(
        "plots/failures.png",
        cases,
        "Errors on test, most confident first: decision with its probability, and the nearest radiograph of the\n"
        f"gallery with its {measure}; frame: blue = of the radiograph's true class, orange = of another",
        per_row=4,
    )


def picture_gradcam(
    data: Dataset,
    test: Predictions,
    chosen: Mapping[str, np.ndarray],
    model: Classifier,
    device: torch.device,
) -> None:
    cases: dict[str, list[Case]] = {}
    for title, positions in chosen.items():
        if not len(positions):
            continue
        images = data.images[test.rows[positions]]
        pair = explained(test.labels[positions], test.ensemble[positions])
        maps = [gradcam(model, images, classes, device) for classes in pair]
        cases[title] = [
            (
                Tile(images[n], caption(test, i)),
                *(overlay_tile(images[n], test.classes[pair[k][n]], maps[k][n]) for k in (0, 1)),
            )
            for n, i in enumerate(positions)
        ]
    panels.sections(
        "plots/gradcam.png",
        cases,
        "Grad-CAM: what speaks for the decision, and what for the true class or else the next most probable",
        per_row=3,
        scale="share of the map's own maximum",
    )


def overlay_tile(image: np.ndarray, name: str, heat: np.ndarray) -> Tile:
    return Tile(image, f"{'for' if heat.any() else 'nothing for'}\n{name}", heat=heat)


def explained(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) the decided class of each radiograph, and the other one to look at: the truth or, where the
    decision is right, the runner-up."""
    order = np.argsort(-probabilities, axis=1, kind="stable")
    return order[:, 0], np.where(order[:, 0] == labels, order[:, 1], labels)


def sanity(model: Classifier, images: np.ndarray, test: Predictions, device: torch.device) -> dict[str, Any]:
    """How alike the maps of the decided class are to those of the other class, and to those of the same
    networks with a new head and with new weights, on the same radiographs drawn at random.

    The first proves little with two classes: one's logit is learnt as about the opposite of the other's, with
    one logit it is that, so that their maps have to differ. What counts is `random_weights` near 0.
    """
    count = min(CHECKED, len(images))
    radiographs = np.sort(np.random.default_rng(0).choice(len(images), count, replace=False))
    decided, other = explained(test.labels[radiographs], test.ensemble[radiographs])
    maps = gradcam(model, images[radiographs], decided, device)
    against = {
        "other_class": gradcam(model, images[radiographs], other, device),
    }
    for name, part in (("random_head", "head"), ("random_weights", "all")):
        drawn = [randomised(model, part, seed) for seed in range(DRAWS)]
        against[name] = np.concatenate(
            [gradcam(each, images[radiographs], decided, device) for each in drawn]
        )
    return {
        "images": count,
        "empty": float((maps.max(axis=(1, 2)) == 0).mean()),
        **{
            name: similarity(np.tile(maps, (len(others) // count, 1, 1)), others)
            for name, others in against.items()
        },
    }


def print_table(of_subgroups: Subgroups) -> None:
    print(f"{'slice':36}{'images':>7}{'errors':>8}{'accuracy':>10}{'95 % interval':>18}{'p (Holm)':>10}")
    for group, names in of_subgroups.items():
        for name, each in names.items():
            interval = f"{each['low']:.3f} to {each['high']:.3f}"
            numbers = f"{each['images']:>7,}{each['errors']:>8,}{each['accuracy']:>10.3f}{interval:>18}"
            print(f"{f'{group}: {name}':36}{numbers}{each['p']:>10.2g}")


if __name__ == "__main__":
    run(main)
