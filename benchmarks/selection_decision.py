"""Rules for temperature and threshold, compared on radiographs left out of training; test is never read.

    python -m benchmarks.selection_decision PATIENTS

Needs the probabilities that `benchmarks.training_selection` has kept in build/. Of the chosen candidate the
members of three seeds are one ensemble each for series and late, whose patients and exposures it has not seen
(see there). Each rule fits or chooses on val, or on conflict, and is judged on series and late, weighted to
equally many of both classes: docs/decision.md.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.selection_table import ROWS, chosen
from benchmarks.training_selection import SEEDS, Material, saved_path
from cxr.core.dataset import load_dataset
from cxr.core.files import read_csv
from cxr.evaluation.reliability import scores
from cxr.evaluation.statistics import blocks
from cxr.inference.calibration import Calibration, fit_temperature
from cxr.inference.prevalence import case_weights, class_prevalence
from cxr.inference.thresholds import youden_threshold

TABLE = Path("docs/decision.md")
UNIFORM = [0.5, 0.5]  # the prior that class weights teach, and the prevalence of the released probabilities
RESAMPLES = 1000
CHOICE = """
**The decision** is at one half of the calibrated probability. It is the decision that the probability itself
states at equal prevalence and equal costs, and nothing about it is fitted, while the range above is that of a
threshold which another val of the same size would have given. The table shows what this costs: on series and
late, whose normal radiographs are as those of train, a threshold chosen on val is better. On other normal
radiographs it is not: that thresholds from val misclassify them was seen in readings of test before
(docs/test_ledger.md), so this choice is not independent of test.

**The temperature** is fitted on val: on series and late its log loss is near the one without scaling, and
the temperatures of conflict, where most evidence misleads, are far too cautious.
"""


@dataclass(frozen=True)
class Judged:
    """probabilities: (N, 2) of the ensemble, before calibration. labels: (N,) int."""

    probabilities: np.ndarray
    labels: np.ndarray

    def at(self, temperature: float) -> np.ndarray:
        return Calibration(temperature, None, UNIFORM, UNIFORM)(self.probabilities)

    def temperature(self) -> float:
        prevalence = class_prevalence(self.labels, 2).tolist()
        return fit_temperature(self.probabilities, self.labels, UNIFORM, prevalence)

    def threshold(self, temperature: float) -> float:
        return youden_threshold(self.labels == 1, self.at(temperature)[:, 1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("patients", type=Path)
    name, material = chosen(read_csv(ROWS)), Material(parser.parse_args().patients)
    conflict = ensemble(name, "conflict", material)["conflict"]
    left_out = {part: ensemble(name, part, material) for part in ("series", "late")}
    lines = [
        "Written by `python -m benchmarks.selection_decision PATIENTS`, whose docstring says what is",
        f"compared. Candidate: {name}.",
        "",
        "| temperature from | " + " | ".join(f"{p}: T | ECE | log loss" for p in left_out) + " |",
        "|---|" + "---|" * 3 * len(left_out),
    ]
    for rule in ("val", "conflict", "val and conflict", "none"):
        cells = []
        for part, sets in left_out.items():
            temperature = temperatures(sets["val"], conflict)[rule]
            judged = sets[part]
            weights = case_weights(judged.labels, np.array(UNIFORM))[None]
            of_rule = scores(judged.labels, judged.at(temperature), weights)
            cells += [f"{temperature:.3f}", f"{of_rule['ece'][0]:.4f}", f"{of_rule['nll'][0]:.4f}"]
        lines.append(f"| {rule} | " + " | ".join(cells) + " |")
    titles = "threshold | sensitivity | specificity | balanced accuracy"
    lines += [
        "",
        "| threshold from | " + " | ".join(f"{part}: {titles}" for part in left_out) + " |",
        "|---|" + "---|" * 4 * len(left_out),
    ]
    for rule in ("Youden on val", "Youden on conflict", "one half"):
        cells = []
        for part, sets in left_out.items():
            temperature = sets["val"].temperature()
            threshold = {
                "Youden on val": sets["val"].threshold(temperature),
                "Youden on conflict": conflict.threshold(temperature),
                "one half": 0.5,
            }[rule]
            positive = sets[part].at(temperature)[:, 1] >= threshold
            sensitivity, specificity = (
                positive[sets[part].labels == 1].mean(),
                1 - positive[sets[part].labels == 0].mean(),
            )
            cells += [f"{threshold:.3f}", f"{sensitivity:.3f}", f"{specificity:.3f}"]
            cells.append(f"{(sensitivity + specificity) / 2:.3f}")
        lines.append(f"| {rule} | " + " | ".join(cells) + " |")
    ranges = {part: resampled(sets["val"]) for part, sets in left_out.items()}
    lines += [
        "",
        "95 % range of the Youden threshold over bootstrap samples of val: "
        + ", ".join(f"{low:.3f} to {high:.3f} (without {part})" for part, (low, high) in ranges.items())
        + ".",
        CHOICE,
    ]
    TABLE.write_text("\n".join(lines), encoding="utf-8")
    print(TABLE.read_text(encoding="utf-8"))


def ensemble(name: str, part: str, material: Material) -> dict[str, Judged]:
    """What the members of all seeds say of the `part` left out, and of val. A file has one set after the
    other in the order of rows, each with two kinds of test-time augmentation, of which the first is taken."""
    _, sets = material.divide(part, SEEDS[0])
    size, of_val = int(sets[part].sum()), len(load_dataset().rows("val"))
    kept = [np.load(saved_path(name, part, seed)) for seed in SEEDS]

    def judged(window: slice) -> Judged:
        positive = np.mean([table[window, 0] for table in kept], axis=0)
        return Judged(np.stack([1 - positive, positive], axis=1), kept[0][window, 1].astype(int))

    end = len(kept[0])
    return {part: judged(slice(0, size)), "val": judged(slice(end - 2 * of_val, end - of_val))}


def temperatures(val: Judged, conflict: Judged) -> Mapping[str, float]:
    both = Judged(
        np.concatenate([val.probabilities, conflict.probabilities]),
        np.concatenate([val.labels, conflict.labels]),
    )
    fitted = {"val": val, "conflict": conflict, "val and conflict": both}
    return {name: judged.temperature() for name, judged in fitted.items()} | {"none": 1.0}


def resampled(val: Judged) -> tuple[float, float]:
    """The 2.5th and 97.5th percentile of the Youden threshold over bootstrap samples of val."""
    probability, positive = val.at(val.temperature())[:, 1], val.labels == 1
    drawn = []
    for block in blocks(val.labels, RESAMPLES):
        for counts in block.astype(int):
            rows = np.repeat(np.arange(len(counts)), counts)
            drawn.append(youden_threshold(positive[rows], probability[rows]))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


if __name__ == "__main__":
    main()
