"""The interface of report writers, and those that need no language model: a template, which says that it is
one, and none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cxr.reports.cases import Case, prevalence_in_words, probabilities_in_words
from cxr.reports.measurements import MIDLINE, Rank

LABEL = "[Template: measurements put into fixed sentences. No language model and no physician wrote this.]"
NAMED = 2  # zones of a Grad-CAM map
UNUSUAL = 0.025  # share of the training radiographs beyond a value


@dataclass(frozen=True)
class Text:
    """asked: the words that a language model was given, "" where there is none. reply: what was written."""

    asked: str
    reply: str


class Writer(Protocol):
    @property
    def prompts(self) -> Sequence[str]:
        """The names under which its texts stand: one text for each of them and each case."""

    def write(self, case: Case, prompt: str) -> Text: ...

    def close(self) -> None:
        """Free its memory; it writes nothing afterwards."""


class Template:
    prompts = ("template",)

    def write(self, case: Case, prompt: str) -> Text:
        """The same case gives the same text; `prompt` is the one of `prompts`."""
        sentences = (LABEL, _probability(case), _heat(case), _quality(case), _neighbours(case))
        return Text("", f"{' '.join(sentences)}\nVerdict: {case.decision}.")

    def close(self) -> None:
        pass


def _probability(case: Case) -> str:
    return (
        f"Calibrated probability: {probabilities_in_words(case.probabilities)}; it refers to a prevalence of "
        f"{prevalence_in_words(case.prevalence)}."
    )


def _heat(case: Case) -> str:
    if not case.zones:
        return f"Grad-CAM finds no region that raises the {case.decision} score."
    zones = sorted(((share, zone) for zone, share in case.zones.items() if zone != MIDLINE), reverse=True)
    named = " and ".join(f"{_percent(share)} in the {zone} zone" for share, zone in zones[:NAMED])
    midline = _percent(case.zones[MIDLINE])
    return (
        f"Regions that raise the {case.decision} score (Grad-CAM): {named} of the image, {midline} on the "
        "midline, which shows spine, mediastinum and heart rather than lung. Sides are those of the image: "
        "in standard display orientation the patient's right is on image left."
    )


def _quality(case: Case) -> str:
    mean, contrast, clipped = (case.image_statistics[name] for name in ("mean", "contrast", "clipped"))
    return (
        f"The radiograph is stored at {case.size} x {case.size} pixels; finer detail is lost. Its mean grey "
        f"level is {mean.value:.0f} ({_rank(mean)}), its contrast {contrast.value:.0f} grey levels "
        f"({_rank(contrast)}), and {100 * clipped.value:.1f} % of its pixels are clipped to black or white "
        f"({_rank(clipped)}); percentiles are among the training radiographs."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


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


class Nobody:
    """`report.writer: none`: radiographs and measurements stand without a text."""

    prompts = ()

    def write(self, case: Case, prompt: str) -> Text:
        raise ValueError("there is no writer, so there are no prompts")

    def close(self) -> None:
        pass
