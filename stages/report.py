"""Write about test radiographs, by a template or a language model, and score what was written."""

import json
import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch

from cxr.core import dataset
from cxr.core.dataset import Dataset, load_dataset
from cxr.core.device import configure
from cxr.core.errors import UserError, run
from cxr.core.files import atomic, write_json
from cxr.core.probabilities import decide
from cxr.figures.case import draw_case
from cxr.inference import predictions
from cxr.inference.predictions import Predictions, load_predictions
from cxr.params import Report, load_params
from cxr.reports import scoring
from cxr.reports.cases import choose_cases, describe_cases
from cxr.reports.claims import Claim, load_claims
from cxr.reports.page import Entry, record, render_page
from cxr.reports.prompts import load_prompts
from cxr.reports.scoring import summarise_texts
from cxr.reports.writers import Nobody, Template, Writer

PAGE, LINES = Path("reports/cases.md"), Path("reports/cases.jsonl")
PICTURES = Path("reports/cases")


def main() -> None:
    params = load_params()
    device = configure(params.compute.device, params.compute.threads)
    faiss.omp_set_num_threads(params.compute.threads)
    data = load_dataset()
    test = load_predictions().of("test")
    check(test, data)
    chosen = choose_cases(test.labels, decide(test.ensemble, None), params.report.cases, params.seed)
    lexicon = load_claims()

    # Nothing is written before the last text is: a model that fails leaves all as it was.
    with closing(open_writer(params.report, device)) as writer:
        cases = describe_cases(data, test, chosen, params, device)
        entries = [
            Entry(
                case,
                [
                    scoring.score(prompt, writer.write(case, prompt), data.classes, case.size, lexicon)
                    for prompt in writer.prompts
                ],
                data.classes[label],
                f"{PICTURES.name}/{place:03}.png",
            )
            for place, (case, label) in enumerate(zip(cases, test.labels[chosen], strict=True), start=1)
        ]

    metrics = summarise_cases(entries, lexicon)
    shutil.rmtree(PICTURES, ignore_errors=True)
    for entry in entries:
        case = entry.case
        neighbours = [(data.images[each.row], f"{each.name} {each.value:.3f}") for each in case.neighbours]
        path = PAGE.parent / entry.picture
        draw_case(path, case.image, case.heat, case.decision, neighbours, case.metric)
    write_lines(entries)
    with atomic(PAGE) as temporary:
        text = render_page(params.report, entries, metrics, lexicon)
        temporary.write_text(text, encoding="utf-8", newline="\n")
    write_json("metrics/report.json", metrics)
    for prompt, found in metrics["prompts"].items():
        print(f"{prompt}: {found['texts']} texts, {found['unclear']} unclear, {found['flagged']} flagged")
    print(f"{PAGE}: {len(entries)} radiographs")


def check(test: Predictions, data: Dataset) -> None:
    """Raises `UserError` if predictions and data are not of one run."""
    rows = data.rows("test")
    if (
        test.classes != data.classes
        or not np.array_equal(test.rows, rows)
        or not np.array_equal(test.labels, data.labels[rows])
    ):
        raise UserError(
            f"{predictions.PATH} does not belong to {dataset.LABELS}: other classes, rows or labels; run "
            "`dvc repro evaluate`"
        )


def summarise_cases(entries: Sequence[Entry], lexicon: Sequence[Claim]) -> dict[str, Any]:
    """The content of metrics/report.json: of the cases, and of the texts by prompt."""
    truths = [entry.truth for entry in entries]
    decisions = [entry.case.decision for entry in entries]
    by_prompt = zip(*(entry.texts for entry in entries), strict=True)
    return {
        "cases": {name: truths.count(name) for name in entries[0].case.probabilities},
        "classifier": scoring.agreement(decisions, truths),
        "prompts": {
            texts[0].prompt: summarise_texts(texts, truths, decisions, lexicon) for texts in by_prompt
        },
    }


def write_lines(entries: Sequence[Entry]) -> None:
    """reports/cases.jsonl: a line for each case, its truth last."""
    with atomic(LINES) as temporary:
        lines = [json.dumps(record(entry), allow_nan=False, ensure_ascii=False) for entry in entries]
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def open_writer(settings: Report, device: torch.device) -> Writer:
    """Close it when done. Raises `UserError` if a language model is named and its weights or prompts are not
    to be had, if they are not of a model for this, or if it does not fit into memory."""
    if settings.writer == "none":
        return Nobody()
    if settings.writer == "template":
        return Template()
    # Takes seconds to import, and the template does without it.
    from cxr.reports.language_model import HuggingFace

    return HuggingFace(settings, load_prompts(), device)


if __name__ == "__main__":
    run(main)
