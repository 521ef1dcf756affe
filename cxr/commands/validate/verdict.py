"""Is the model as good on these radiographs as on test? Two independent samples of radiographs.

"As good as on test" needs evidence (non-inferiority): the whole 95 % interval of the difference lies above
minus the margin, for AUC and for balanced accuracy of the released decision. Both have to be shown, so this
needs no correction for two comparisons (Berger, 1982, https://doi.org/10.1080/00401706.1982.10487790).
"Worse than on test": the interval of one of them lies below 0; by chance alone this happens in less than 5 %
of samples, for two one-sided comparisons of 2.5 %. Otherwise the radiographs cannot tell.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

from cxr.commands.validate.intervals import Bounded, combined
from cxr.commands.validate.measurement import ONE_HALF, Sample
from cxr.commands.validate.reference import Reference
from cxr.evaluation.statistics import Z

AS_GOOD, WORSE, CANNOT_TELL, NOT_COMPARED = (
    "as good as on test",
    "worse than on test",
    "cannot tell",
    "not compared",
)
# The largest loss that still counts as none. At an AUC of .98 a loss of .02 doubles the pairs of a diseased
# and a healthy radiograph in the wrong order; less could not be shown, since the interval of the AUC on 624
# test radiographs is itself about that wide. .05 of balanced accuracy is one more error in 20 radiographs.
MARGINS = {"auc": 0.02, "auc_ovr_macro": 0.02, "balanced_accuracy": 0.05}
POWER = 0.8  # of the number of radiographs needed


@dataclass(frozen=True)
class Difference:
    """One metric here minus on test, and the ends of the 95 % interval. margin: None if it cannot show that
    the model is as good."""

    here: Bounded
    test: Bounded
    value: float
    low: float
    high: float
    margin: float | None


@dataclass(frozen=True)
class Verdict:
    """verdict: one of the four above. reason: half a sentence. differences: by metric. needed: about how many
    radiographs, as many of each class as in test, would show that a model is as good if it is; None if no
    number would, or if it was not computed."""

    verdict: str
    reason: str
    differences: Mapping[str, Difference]
    needed: int | None = None

    @property
    def sentence(self) -> str:
        return f"{self.verdict[0].upper()}{self.verdict[1:]}: {self.reason}."


def judge(metrics: Mapping[str, Bounded], sample: Sample, reference: Reference | str) -> Verdict:
    """metrics: of `sample`, as from `measure_sample`. reference: see `load_reference`."""
    if isinstance(reference, str):
        return Verdict(NOT_COMPARED, f"{reference}, so there are no test results to compare with", {})
    margins = _margins(metrics, reference.metrics)
    differences = {
        name: _difference(metrics[name], reference.metrics[name], margin) for name, margin in margins.items()
    }
    lower = {name: each for name, each in differences.items() if each.high < 0}
    if sample.complete and all(each.margin and each.low > -each.margin for each in differences.values()):
        bounds = " and ".join(f"of {margin:g} or more in {_words(name)}" for name, margin in margins.items())
        return Verdict(AS_GOOD, f"{_values(differences)}; a loss {bounds} is excluded", differences)
    if lower:
        return Verdict(WORSE, _values(lower), differences)
    count = f"{len(sample.labels):,} radiographs"
    if not sample.complete:
        lacking = [name for name, n in zip(sample.classes, sample.counts, strict=True) if n < 2]
        return Verdict(CANNOT_TELL, f"{count} with fewer than two of {', '.join(lacking)}", differences)
    if reference.sample is None:
        return Verdict(CANNOT_TELL, f"{_values(differences)}; {count}, more would be needed", differences)
    needed = _needed(differences, len(reference.sample.labels))
    if needed is None:
        enough = "and test is too small for any number to show it"
    elif needed <= len(sample.labels):
        enough = "enough to show that there is no loss, but there may be one near the margin"
    else:
        enough = f"about {float(f'{needed:.2g}'):,.0f} would be needed"
    return Verdict(CANNOT_TELL, f"{_values(differences)}; {count}, {enough}", differences, needed)


def _margins(here: Mapping[str, Bounded], test: Mapping[str, Bounded]) -> dict[str, float | None]:
    """The metrics that are compared, with their margins. Without radiographs of a class these are recalls,
    which have none: a model that always answers the other class may have a recall of 1."""
    margins: dict[str, float | None] = {
        name: margin for name, margin in MARGINS.items() if name in here and name in test
    }
    return margins or {name: None for name in here if name in test and not name.endswith(ONE_HALF)}


def _difference(here: Bounded, test: Bounded, margin: float | None) -> Difference:
    return Difference(here, test, *combined([(1, here), (-1, test)]), margin)


def _needed(differences: Mapping[str, Difference], images: int) -> int | None:
    """For all metrics, if their true values are those on test and the distance of the end of an interval from
    the value falls with the square root of the number of radiographs. images: in test."""
    counts = []
    for each in differences.values():
        assert each.margin is not None
        allowed = (each.margin * Z / (Z + NormalDist().inv_cdf(POWER))) ** 2
        left = allowed - (each.test.high - each.test.value) ** 2
        if left <= 0:
            return None
        counts.append(math.ceil(images * (each.test.value - each.test.low) ** 2 / left))
    return max(counts)


def _values(differences: Mapping[str, Difference]) -> str:
    return ", ".join(
        f"{_words(name)} {each.here.value:.3f} against {each.test.value:.3f} "
        f"(difference {each.value:+.3f}, 95 % interval {each.low:+.3f} to {each.high:+.3f})"
        for name, each in differences.items()
    )


def _words(name: str) -> str:
    plain = name.replace("_", " ")
    return plain.replace("auc ovr macro", "AUC (mean of classes)").replace("auc", "AUC")
