"""The verdict of constructed samples whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest

from cxr.commands.validate import measurement
from cxr.commands.validate.measurement import Sample, measure_sample
from cxr.commands.validate.reference import Reference
from cxr.commands.validate.verdict import AS_GOOD, CANNOT_TELL, MARGINS, NOT_COMPARED, WORSE, Verdict, judge

THRESHOLD = 0.4


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """Verdicts do not depend on bootstrapped intervals."""
    monkeypatch.setattr(measurement, "RESAMPLES", 2)


def sample(images: int, signal: float, seed: int = 0, classes: int = 2) -> Sample:
    """Half of each class; the greater the signal, the better they are told apart."""
    generator = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    evidence = signal * np.eye(classes)[labels] + generator.normal(size=(images, classes))
    p = np.exp(2 * evidence) / np.exp(2 * evidence).sum(axis=1, keepdims=True)
    return Sample(["normal", "pneumonia", "tuberculosis"][:classes], labels, p)


def compared(here: Sample, test: Sample) -> Verdict:
    threshold = THRESHOLD if len(here.classes) == 2 else None
    reference = Reference(measure_sample(test, threshold, None), test)
    return judge(measure_sample(here, threshold, None), here, reference)


@pytest.mark.parametrize("classes", [2, 3])
def test_many_radiographs_of_the_same_kind_are_as_good(classes):
    verdict = compared(sample(3000, 3, 1, classes), sample(3000, 3, 2, classes))
    assert verdict.verdict == AS_GOOD
    assert {each.margin for each in verdict.differences.values()} == {0.02, 0.05}
    assert all(each.low > -each.margin for each in verdict.differences.values())
    assert "a loss of 0.02 or more in AUC" in verdict.sentence


@pytest.mark.parametrize("classes", [2, 3])
def test_radiographs_that_are_told_apart_less_well_are_worse(classes):
    verdict = compared(sample(300, 1.5, 1, classes), sample(3000, 3, 2, classes))
    assert verdict.verdict == WORSE
    assert verdict.sentence.startswith("Worse than on test: AUC")
    assert verdict.differences[next(iter(verdict.differences))].high < 0


def test_few_radiographs_cannot_tell_even_if_all_are_correct():
    here, test = sample(24, 9, 1), sample(3000, 3, 2)
    verdict = compared(here, test)
    assert verdict.verdict == CANNOT_TELL
    assert verdict.differences["auc"].here.value == 1
    assert "24 radiographs, about " in verdict.sentence


def test_the_number_needed_suffices():
    """Where test results are close to the truth, so many show it in most samples, and a third rarely."""
    test = sample(60_000, 2, 2)
    reference = Reference(measure_sample(test, THRESHOLD, None), test)

    def judged(images: int, seed: int) -> Verdict:
        here = sample(images, 2, seed)
        return judge(measure_sample(here, THRESHOLD, None), here, reference)

    def shown(images: int) -> float:
        verdicts = [judged(images, seed).verdict for seed in range(10, 40)]
        assert verdicts.count(WORSE) <= 3
        return np.mean([verdict == AS_GOOD for verdict in verdicts])

    needed = judged(100, 1).needed
    assert 300 < needed < 3000
    assert shown(needed // 3) < 0.4 < 0.6 < shown(needed)


def test_a_small_test_split_says_so():
    verdict = compared(sample(100, 2, 1), sample(40, 2, 2))
    assert (verdict.verdict, verdict.needed) == (CANNOT_TELL, None)
    assert "test is too small for any number to show it" in verdict.sentence


def test_other_decisions_with_the_same_ranking_are_worse():
    test, here = sample(3000, 3, 2), sample(3000, 3, 1)
    p = here.probabilities[:, 1] ** 0.1  # the same order, and almost all of it above the threshold
    shifted = replace(here, probabilities=np.stack([1 - p, p], axis=1))
    verdict = compared(shifted, test)
    assert verdict.verdict == WORSE
    assert verdict.sentence.startswith("Worse than on test: balanced accuracy")
    assert "AUC" not in verdict.sentence


@pytest.mark.parametrize(("signal", "expected"), [(3, CANNOT_TELL), (-1, WORSE)])
def test_one_class_alone_can_be_worse_and_never_as_good(signal, expected):
    both = sample(4000, signal, 1)
    verdict = compared(both.of(both.labels == 0), sample(3000, 3, 2))
    assert verdict.verdict == expected
    assert list(verdict.differences) == ["specificity"]
    assert ("fewer than two of pneumonia" in verdict.sentence) == (expected == CANNOT_TELL)


def test_figures_of_test_json_alone():
    test, here = sample(3000, 3, 2), sample(3000, 3, 1)
    published = {
        name: value
        for name, value in measure_sample(test, THRESHOLD, None).items()
        if name in ("auc", "balanced_accuracy", "sensitivity")
    }
    verdict = judge(measure_sample(here, THRESHOLD, None), here, Reference(published, None))
    assert verdict.verdict == AS_GOOD
    assert list(verdict.differences) == ["auc", "balanced_accuracy"]
    few = sample(60, 3, 1)
    verdict = judge(measure_sample(few, THRESHOLD, None), few, Reference(published, None))
    assert verdict.sentence.endswith("60 radiographs, more would be needed.")


def test_without_test_results_nothing_is_compared():
    few = sample(60, 3)
    verdict = judge(measure_sample(few, THRESHOLD, None), few, "no metrics/export.json here")
    assert (verdict.verdict, verdict.differences) == (NOT_COMPARED, {})


def test_margins_are_of_metrics_that_are_measured():
    two, three = (measure_sample(sample(60, 3, 0, classes), None, None) for classes in (2, 3))
    assert set(MARGINS) <= two.keys() | three.keys()
