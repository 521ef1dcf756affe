"""`make readme`: write the results table of README.md from the committed metrics files."""

import json
import sys
from pathlib import Path

README = Path("README.md")
BEGIN, END = "<!-- results: written by `make readme` -->\n", "<!-- end of results -->\n"


def main() -> None:
    text = README.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        sys.exit(f"error: {README} has lost the line {BEGIN.strip()} or {END.strip()}")
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
    lines = [
        f"`dvc repro` with the default `params.yaml`: trained on {images['train']:,} radiographs, measured on",
        f"{images['test']:,} test radiographs. `mean` and `std` are over {members} members (seeds), `ensemble` is",
        "what is released, and the interval is a bootstrap over the test radiographs, of which one is",
        f"{100 / images['test']:.2f} points of accuracy.",
        "",
        "| test metric | mean | std | ensemble | 95 % interval |",
        "|---|---|---|---|---|",
    ]
    for name, value in test.items():
        numbers = f"{value['mean']:.4f} | {value['std']:.4f} | {value['ensemble']:.4f}"
        lines.append(f"| `{name}` | {numbers} | {value['low']:.4f} to {value['high']:.4f} |")
    rows = {
        "share of test radiographs whose most similar training radiograph has their class": similar[
            "precision_at_1"
        ],
        "share of the 5 most similar training radiographs with the same class": similar["precision_at_5"],
    }
    lines += [
        f"| accuracy of always naming the larger class | | | {baseline:.4f} | |",
        *(
            f"| {words} | | | {found['value']:.4f} | {found['low']:.4f} to {found['high']:.4f} |"
            for words, found in rows.items()
        ),
        f"| the same for radiographs drawn at random | | | {similar['precision_at_5']['chance']:.4f} | |",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
