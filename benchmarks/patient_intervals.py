"""How far intervals on PneumoniaMNIST's test change where patients are known.

    python -m benchmarks.patient_intervals TABLE

TABLE: see data/patients/README.md. Needs `dvc repro evaluate`; writes docs/patients.md. Bootstrap samples of
radiographs are compared with bootstrap samples of patients, on the same predictions.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from cxr.core.dataset import LABELS
from cxr.core.errors import UserError, run
from cxr.core.files import atomic, read_csv
from cxr.data.medmnist import name_patients
from cxr.evaluation.metrics import delong, summarise
from cxr.evaluation.statistics import effective_cases
from cxr.inference.calibration import load_calibration
from cxr.inference.predictions import load_predictions
from cxr.params import load_params

PAGE = Path("docs/patients.md")
METRICS = ("auc", "accuracy", "sensitivity", "specificity", "balanced_accuracy", "nll", "ece")


def main() -> None:
    """Raises `UserError` if the present run is not of PneumoniaMNIST with its own splits."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("table", type=Path)
    arguments, params = parser.parse_args(), load_params()
    if (params.download.source, params.split.method) != ("pneumoniamnist", "published"):
        raise UserError("params.yaml: download.source has to be pneumoniamnist, and split.method published")
    from medmnist import INFO  # imports torchvision and pandas, so only where it is needed

    counts = INFO["pneumoniamnist"]["n_samples"]
    names = name_patients(arguments.table, counts)
    test, table = load_predictions().of("test"), read_csv(LABELS)
    first = counts["train"] + counts["val"]
    own = [int(table[row]["source"].rsplit("/", 1)[1]) for row in test.rows]
    of_image = [names[first + index] for index in own]
    _, codes = np.unique([name or f"row {i}" for i, name in enumerate(of_image)], return_inverse=True)
    threshold, resamples = load_calibration().threshold, params.evaluate.bootstrap
    splits = {"radiographs": test, "patients": replace(test, patients=codes)}
    found = {name: summarise(split, threshold, resamples).headline() for name, split in splits.items()}
    errors = {name: delong(split)["between_case_se"] for name, split in splits.items()}
    effective = ", ".join(_effective(test.labels == i, codes, name) for i, name in enumerate(test.classes))
    lines = [
        "Written by `python -m benchmarks.patient_intervals TABLE`.",
        "",
        "PneumoniaMNIST's test with a table of its patients (data/patients/README.md):",
        f"{len(codes)} radiographs, {sum(map(bool, of_image))} of them named, of {codes.max() + 1} patients;",
        f"effective number of cases (Kish): {effective}.",
        f"95 % intervals of the committed predictions by {resamples:,} bootstrap samples, at the released",
        "threshold, which is taken as fixed here:",
        "",
        "| metric of the ensemble | " + " | ".join(f"{name} drawn" for name in splits) + " |",
        "|---|---|---|",
        *(
            f"| `{metric}` | {' | '.join(_cell(found[name][metric]) for name in splits)} |"
            for metric in METRICS
        ),
        f"| SE of `auc` (DeLong, Obuchowski) | {' | '.join(f'{error:.5f}' for error in errors.values())} |",
        "",
    ]
    with atomic(PAGE) as path:
        path.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


def _effective(mask: np.ndarray, patients: np.ndarray, name: str) -> str:
    return f"{effective_cases(mask, patients):.0f} of {mask.sum()} {name}"


def _cell(value: dict[str, float]) -> str:
    return f"{value['ensemble']:.4f} ({value['low']:.4f} to {value['high']:.4f})"


if __name__ == "__main__":
    run(main)
