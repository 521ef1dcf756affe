"""Interface of report writers, and the writers without a language model: a template, and none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cxr.reports.cases import Case, prevalence_in_words, probabilities_in_words
from cxr.reports.measurements import MIDLINE, Rank

LABEL = "[Template: measurements inserted into fixed sentences. No language model or physician wrote this.]"
NAMED = 2  # zones of a class activation map
UNUSUAL = 0.025  # fraction of the training radiographs beyond a value


@dataclass(frozen=True)
class Text:
    """prompt_text: the prompt given to a language model, "" without one. response: the report."""

    prompt_text: str
    response: str


class Writer(Protocol):
    @property
    def prompts(self) -> Sequence[str]:
        """Names of prompts; the writer writes one text for each of them and each case."""

    @property
    def precision(self) -> str:
        """In which a language model computes, such as bfloat16; none without one."""

    def write(self, case: Case, prompt: str) -> Text:
        """prompt: one of `prompts`."""

    def close(self) -> None:
        """Free its memory; it cannot write afterwards."""


class TemplateWriter:
    prompts = ("template",)
    precision = "none"

    def write(self, case: Case, prompt: str) -> Text:
        """The same case gives the same text."""
        sentences = (LABEL, _probability(case), _gradcam(case), _quality(case), _neighbours(case))
        return Text("", f"{' '.join(sentences)}\nVerdict: {case.decision}.")

    def close(self) -> None:
        pass


def _probability(case: Case) -> str:
    return (
        f"Calibrated probability: {probabilities_in_words(case.probabilities)}; it refers to a prevalence of "
        f"{prevalence_in_words(case.prevalence)}."
    )


def _gradcam(case: Case) -> str:
    if not case.zones:
        return f"Grad-CAM finds no region that raises the {case.decision} score."
    zones = sorted(
        ((fraction, zone) for zone, fraction in case.zones.items() if zone != MIDLINE), reverse=True
    )
    named = " and ".join(f"{_percent(fraction)} in the {zone} zone" for fraction, zone in zones[:NAMED])
    midline = _percent(case.zones[MIDLINE])
    return (
        f"Regions that raise the {case.decision} score (Grad-CAM, proportion of the map): {named} of the "
        f"image, {midline} on the midline, which shows spine, mediastinum and heart rather than lung. Sides "
        "are those of the image: in standard display orientation the patient's right is on image left."
    )


def _quality(case: Case) -> str:
    mean, contrast, clipped = (case.image_statistics[name] for name in ("mean", "contrast", "clipped"))
    return (
        f"The radiograph is stored at {case.size} x {case.size} pixels; finer detail is lost. Its mean grey "
        f"level is {mean.value:.0f} ({_rank(mean)}), its contrast {contrast.value:.0f} grey levels "
        f"({_rank(contrast)}), and {100 * clipped.value:.1f} % of its pixels are clipped to black or white "
        f"({_rank(clipped)}); percentiles are among the training radiographs."
    )


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.0f} %"


def _rank(rank: Rank) -> str:
    unusual = ", unusual" if min(rank.below, 1 - rank.below) < UNUSUAL else ""
    return f"percentile {100 * rank.below:.0f}{unusual}"


def _neighbours(case: Case) -> str:
    names = [neighbour.name for neighbour in case.neighbours]
    counts = " and ".join(
        f"{names.count(name)} {'is' if names.count(name) == 1 else 'are'} {name}"
        for name in case.probabilities
        if name in names
    )
    values = [neighbour.value for neighbour in case.neighbours]
    return (
        f"Of the {len(names)} most similar radiographs of the gallery {counts} ({case.metric} "
        f"{values[0]:.3f} to {values[-1]:.3f})."
    )


class NoWriter:
    """`report.writer: none`: radiographs and measurements without reports."""

    prompts = ()
    precision = "none"

    def write(self, case: Case, prompt: str) -> Text:
        raise ValueError("report.writer is none: there are no prompts")

    def close(self) -> None:
        pass
