"""Write docs/test_ledger.md, every reading of test metrics, from docs/test_ledger.yaml.

    python -m scripts.test_ledger     # `make readme` does it, too

To add a row after test was read, whatever came of it: copy the last row of docs/test_ledger.yaml to the end
of the file, and fill in

    date, run, decision   when, what was evaluated, what was decided after it ("none" if nothing)
    kind                  default if metrics/test.json has the figures, candidate if it was rejected, ...
    auc, accuracy, accuracy_at_threshold
                          four decimals of the `mean` of each in metrics/test.json
    source                the file that has the figures, such as metrics/test.json

and leave out `commit`: the row is committed with its figures (of older figures: the hash in quotation marks).
Then run `make readme` and `dvc repro card`, and commit everything together. Leave out what is not known.
"""

from cxr.core.errors import run
from cxr.core.files import atomic
from cxr.reports.ledger import PATH, Ledger, Reading, load_ledger

PAGE = PATH.with_suffix(".md")


def main() -> None:
    with atomic(PAGE) as temporary:
        temporary.write_text(page(load_ledger()), encoding="utf-8", newline="\n")
    print(f"{PAGE}: from {PATH}")


def page(ledger: Ledger) -> str:
    """The ledger as Markdown: why it is kept, and a table with a row for each reading."""
    lines = [
        "# Ledger of test",
        "",
        f"Written by `python -m scripts.test_ledger` from [{PATH.name}]({PATH.name}), to which rows",
        "are added by hand.",
        "",
        "A decision that follows a reading of test metrics is fitted to these radiographs, and with every",
        "such decision later figures on them become more optimistic. Therefore each reading is listed, of",
        "rejected candidates, too; a rerun that gave the same figures is none.",
        "",
        f"Test set: `{ledger.test_set}`. Readings: {len(ledger.readings)}; a decision followed "
        f"{ledger.decisions} of them.",
        "AUC and accuracies are means over single members; empty cells are not known. A source is a file at",
        "the commit, or, if none is given, at the one that added the row.",
        "",
        "| | date | commit | kind | what was evaluated | AUC | accuracy at one half "
        "| accuracy at the released threshold | decision that followed | source |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [f"| {number} | {row(reading)} |" for number, reading in enumerate(ledger.readings, start=1)]
    return "\n".join([*lines, ""])


def row(reading: Reading) -> str:
    """The cells of a reading after its number."""
    figures = (reading.auc, reading.accuracy, reading.accuracy_at_threshold)
    cells = [
        str(reading.date),
        f"`{reading.commit}`" if reading.commit else "",
        reading.kind,
        " ".join(f"{text.removesuffix('.')}." for text in (reading.run, reading.note) if text),
        *("" if figure is None else f"{figure:.4f}" for figure in figures),
        reading.decision if reading.decided else "none: description only",
        reading.source,
    ]
    return " | ".join(cell.replace("|", "\\|") for cell in cells)


if __name__ == "__main__":
    run(main)
