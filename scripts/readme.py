"""`make readme`: write the results in README.md from the committed metrics files and the ledger of test."""

import json
import sys
from pathlib import Path
from typing import Any

from cxr.params import load_params
from cxr.reports.ledger import load_ledger

README = Path("README.md")
BEGIN, END = "<!-- results: written by `make readme` -->\n", "<!-- end of results -->\n"


def main() -> None:
    text = README.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        sys.exit(f"error: {README}: the line {BEGIN.strip()} or {END.strip()} is missing; restore it")
    before, rest = text.split(BEGIN)
    README.write_text(before + BEGIN + results() + END + rest.split(END)[1], encoding="utf-8")


def results() -> str:
    """The table and the lines around it, as Markdown."""
    test = json.loads(Path("metrics/test.json").read_text())
    data = json.loads(Path("metrics/data.json").read_text())
    retrieval = json.loads(Path("metrics/retrieval_details.json").read_text())
    similar = retrieval["gallery"]["classifier"]["overall"]
    members = len(json.loads(Path("metrics/details.json").read_text())["test"]["members"])
    baseline = test.pop("majority_baseline")
    images = {split: sum(count.values()) for split, count in data["counts"].items()}
    size = load_params().download.size
    lines = [
        f"`dvc repro` with the default `params.yaml`: trained on {images['train']:,} and evaluated on",
        f"{images['test']:,} images of {size} x {size} pixels. `mean` and `SD` (standard deviation) are over",
        f"{members} members that differ in their seed, `ensemble` is the released classifier. Its interval",
        "comes from a bootstrap over the test images, each of which accounts for",
        f"{100 / images['test']:.2f} percentage points of accuracy.",
        "",
        "| test metric | mean | SD | ensemble | 95 % interval |",
        "|---|---|---|---|---|",
    ]
    for name, value in test.items():
        numbers = f"{value['mean']:.4f} | {value['std']:.4f} | {value['ensemble']:.4f}"
        lines.append(f"| `{name}` | {numbers} | {value['low']:.4f} to {value['high']:.4f} |")
    lines.append(f"| `majority_baseline`: accuracy of the most frequent class | | | {baseline:.4f} | |")
    rows = {
        "`precision_at_1`: nearest training radiographs with the class of the query": "precision_at_1",
        "`precision_at_5`: the same among the five nearest": "precision_at_5",
    }
    for title, name in rows.items():
        value = similar[name]
        interval = f"{value['low']:.4f} to {value['high']:.4f}"
        lines.append(f"| {title} | | | {value['value']:.4f} | {interval} |")
    chance = similar["precision_at_5"]["chance"]
    lines += [f"| `precision_at_5` of training radiographs drawn at random | | | {chance:.4f} | |", ""]
    lines += calibration_and_variability(json.loads(Path("metrics/details.json").read_text())["test"])
    ledger = load_ledger()
    lines += [
        f"Test was read {len(ledger.readings)} times, and a decision followed {ledger.decisions} of these",
        "readings, so these figures are somewhat optimistic: [the ledger of test](docs/test_ledger.md) lists",
        "them all, with rejected candidates.",
        "",
    ]
    return "\n".join(lines)


def calibration_and_variability(details: dict[str, Any]) -> list[str]:
    """Both calibration errors side by side, and how steady AUC and accuracy are, as sentences."""
    as_is, weighted = (details["calibration"]["temperature"][name] for name in ("ece", "ece_at_prevalence"))
    area = "auc" if "auc" in details["variability"] else "auc_ovr_macro"
    seeds, cases = (
        [details["variability"][name].get(key, 0.0) for name in (area, "accuracy")]
        for key in ("between_seed_sd", "between_case_se")
    )
    return [
        f"The calibration error `ece` is {as_is['value']:.4f} over the test images as they are and",
        f"{weighted['value']:.4f} ({weighted['low']:.4f} to {weighted['high']:.4f}) weighted to the",
        "prevalence to which the probabilities refer (`calibrate.prevalence`); neither stands for the other.",
        f"`{area}` varies less than accuracy, between seeds (SD {seeds[0]:.4f} and {seeds[1]:.4f}) and",
        f"between cases (SE {cases[0]:.4f} and {cases[1]:.4f}); whether it also tells better which of two",
        "models is better was not measured.",
        "",
    ]


if __name__ == "__main__":
    main()
