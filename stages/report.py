"""Generate reports on test radiographs with a template or a language model, and score them."""

import json
import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import faiss
import torch

from cxr.core.dataset import load_dataset
from cxr.core.device import configure
from cxr.core.errors import run
from cxr.core.files import atomic, write_json
from cxr.core.probabilities import decide
from cxr.figures.case import draw_case
from cxr.figures.style import shortened
from cxr.inference.calibration import load_calibration
from cxr.inference.predictions import check_predictions, load_predictions
from cxr.params import Report, load_params
from cxr.reports import scoring
from cxr.reports.cases import choose_cases, describe_cases
from cxr.reports.claims import Claim, load_claims
from cxr.reports.page import Entry, record, render_page
from cxr.reports.prompts import load_prompts
from cxr.reports.scoring import summarise_classifier, summarise_texts
from cxr.reports.writers import NoWriter, TemplateWriter, Writer

PAGE, LINES = Path("reports/cases.md"), Path("reports/cases.jsonl")
FIGURES = Path("reports/cases")


def main() -> None:
    params = load_params()
    device = configure(params.compute.device, params.compute.threads)
    faiss.omp_set_num_threads(params.compute.threads)
    data = load_dataset()
    test = load_predictions().of("test")
    check_predictions(test, data)
    decisions = decide(test.ensemble, load_calibration().threshold)
    chosen = choose_cases(test.labels, decisions, params.report, params.seed)
    lexicon = load_claims()

    # Files are written after the last text: a model that fails changes none of them.
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
                f"{FIGURES.name}/{number:03}.png",
            )
            for number, (case, label) in enumerate(zip(cases, test.labels[chosen], strict=True), start=1)
        ]

    metrics = summarise_cases(entries, lexicon)
    shutil.rmtree(FIGURES, ignore_errors=True)
    for entry in entries:
        case = entry.case
        neighbours = [(data.images[n.row], f"{shortened(n.name, 13)} {n.value:.3f}") for n in case.neighbours]
        path = PAGE.parent / entry.figure
        draw_case(path, case.image, case.heat, case.decision, neighbours, case.metric)
    write_lines(entries)
    with atomic(PAGE) as temporary:
        text = render_page(params.report, writer.precision, entries, metrics, lexicon)
        temporary.write_text(text, encoding="utf-8", newline="\n")
    write_json("metrics/report.json", metrics)
    for prompt, of_prompt in metrics["prompts"].items():
        counts = ", ".join(f"{of_prompt[key]} {key}" for key in ("texts", "unclear", "flagged"))
        print(f"{prompt}: {counts}")
    print(f"{PAGE}: {len(entries)} radiographs")


def summarise_cases(entries: Sequence[Entry], lexicon: Sequence[Claim]) -> dict[str, Any]:
    """The content of metrics/report.json: of the cases, and of the texts by prompt."""
    classes = list(entries[0].case.probabilities)
    labels = [entry.label for entry in entries]
    decisions = [entry.case.decision for entry in entries]
    by_prompt = zip(*(entry.texts for entry in entries), strict=True)
    return {
        "cases": {name: labels.count(name) for name in classes},
        "classifier": summarise_classifier(decisions, labels, classes),
        "prompts": {
            texts[0].prompt: summarise_texts(texts, labels, decisions, classes, lexicon)
            for texts in by_prompt
        },
    }


def write_lines(entries: Sequence[Entry]) -> None:
    """reports/cases.jsonl: a line for each case (see `cxr.reports.page.record`)."""
    with atomic(LINES) as temporary:
        lines = [json.dumps(record(entry), allow_nan=False, ensure_ascii=False) for entry in entries]
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def open_writer(settings: Report, device: torch.device) -> Writer:
    """The caller closes it. Raises `UserError` if a language model is named and its weights or prompts are
    unavailable, if it is no image-text-to-text model, or if it does not fit into memory."""
    if settings.writer == "none":
        return NoWriter()
    if settings.writer == "template":
        return TemplateWriter()
    # The import takes seconds, and the template does not need it.
    from cxr.reports.language_model import HuggingFace

    return HuggingFace(settings, load_prompts(), device)


if __name__ == "__main__":
    run(main)
