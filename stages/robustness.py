"""Measure the errors of the released classifier on corrupted test radiographs (`stages/corrupt.py`)."""

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

import numpy as np

from cxr.core.dataset import load_dataset
from cxr.core.errors import UserError, run
from cxr.core.files import read_json, write_csv, write_json
from cxr.evaluation.corruptions import CORRUPTED, KINDS, SEVERITIES, overlap
from cxr.evaluation.robustness import balanced_errors, macro_auc, mean_errors, named_interval
from cxr.figures import charts, style
from cxr.figures.charts import SeverityCurve
from cxr.inference.calibration import load_calibration
from cxr.params import load_params


def main() -> None:
    """Raises `UserError` if the predictions are of another number of radiographs or conditions."""
    params = load_params()
    data, calibrate = load_dataset(), load_calibration()
    rows = data.rows("test")
    labels = data.labels[rows]
    patients = None if data.patients is None else data.patients[rows]
    raw = np.load(CORRUPTED)
    if raw.shape != (1 + len(KINDS) * len(SEVERITIES), len(labels), len(data.classes)):
        raise UserError(f"{CORRUPTED}: belongs to another data set; run `dvc repro corrupt`")
    conditions = calibrate(raw)
    errors = balanced_errors(labels, conditions, params.evaluate.bootstrap, calibrate.threshold, patients)
    aucs = np.array([macro_auc(labels, probabilities) for probabilities in conditions])
    spec = read_json("models/classifier.json")
    # A published encoder is not trained, so it has seen no augmented image here.
    overlaps = {kind: None if spec["encoder"] else overlap(kind, params.augment) for kind in KINDS}

    tta = f"none here, one copy of each radiograph (released: {spec['tta']})"
    report = {"test_time_augmentation": tta} | robustness_report(errors, aucs, overlaps)
    write_json("metrics/robustness.json", report)
    by_severity = errors[0, 1:].reshape(len(KINDS), len(SEVERITIES)).T
    lines = [np.full(len(KINDS), errors[0, 0]), *by_severity]
    write_csv("plots/robustness.csv", ("severity", *KINDS), [(s, *line) for s, line in enumerate(lines)])
    draw_robustness(errors, overlaps)

    print(f"{'balanced error under':22}{'mean':>8}{'increase':>10}  training augmentation")
    for kind, value in report["kinds"].items():
        print(f"{kind:22}{value['be']:>8.3f}{value['rbe']:>+10.3f}  {value['training']}")
    print(f"{'all kinds, on average':22}{report['all']['be']:>8.3f}{report['all']['rbe']:>+10.3f}")
    print(f"{'no corruption':22}{errors[0, 0]:>8.3f}")


def robustness_report(
    errors: np.ndarray, aucs: np.ndarray, overlaps: Mapping[str, str | None]
) -> dict[str, Any]:
    """The content of metrics/robustness.json.

    errors: (1 + resamples, C) of `balanced_errors`, for the C conditions: no corruption, and then each kind
    at each severity. aucs: (C,). overlaps: of `corruptions.overlap`, for each kind.
    """
    starts = 1 + len(SEVERITIES) * np.arange(len(KINDS))
    (clean, *errors_of), (clean_auc, *aucs_of) = np.split(errors, starts, axis=1), np.split(aucs, starts)

    def mean_of(chosen: Sequence[bool]) -> dict[str, float]:
        be = mean_errors(clean[:, 0], list(compress(errors_of, chosen)))
        return be | {"auc": float(np.mean(list(compress(aucs_of, chosen))))}

    covered = [overlaps[kind] is not None for kind in KINDS]
    groups = {
        "all": [True] * len(KINDS),
        "covered_by_augmentation": covered,
        "not_covered": [not value for value in covered],
    }
    kinds = {
        kind: mean_of([kind == other for other in KINDS]) | {"training": in_words(overlaps[kind])}
        for kind in KINDS
    }
    return {
        "decision": "the released one",
        "clean": named_interval("balanced_error", clean[:, 0]) | {"auc": float(clean_auc[0])},
        **{name: mean_of(chosen) for name, chosen in groups.items() if any(chosen)},
        "kinds": kinds,
    }


def in_words(overlap: str | None) -> str:
    return f"covered by {overlap}" if overlap else "not covered by augmentation"


def draw_robustness(errors: np.ndarray, overlaps: Mapping[str, str | None]) -> None:
    low, high = np.percentile(errors[1:], [2.5, 97.5], axis=0)
    curves = []
    for number, (kind, augmentation) in enumerate(overlaps.items()):
        part = slice(1 + number * len(SEVERITIES), 1 + (number + 1) * len(SEVERITIES))
        title = f"{kind}\n({augmentation})" if augmentation else kind
        colour = style.PLAIN if augmentation else style.MARKED
        curves.append(SeverityCurve(title, errors[0, part], low[part], high[part], colour))
    title = (
        "Balanced error on corrupted test radiographs with 95 % CI (dashed: uncorrupted)\n"
        "Black: covered by training augmentation, purple: not covered"
    )
    charts.severity_curves("plots/robustness.png", curves, errors[0, 0], title)


if __name__ == "__main__":
    run(main)
