"""A comparison of two runs as JSON for programs."""

import math
from typing import Any

from cxr.commands.compare.comparison import Comparison, MetricRow, flips
from cxr.commands.compare.review import Review, answer_sentence
from cxr.commands.compare.runs import Run


def as_json(review: Review) -> dict[str, Any]:
    """What `cxr compare --json` writes. Numbers are finite, None is what is not known or infinite.

    verdict: of the primary metric by split: better, worse or inconclusive
    answer: the sentence that `cxr compare` prints first
    design: paired, unpaired, same weights or too few (see `cxr.commands.compare.estimate`)
    a, b: name, commit (None: the workspace), members, threshold (None: the most probable class), test (the
        content of metrics/test.json)
    params: those that differ, by dotted key, the values a and b (None: a side does not have it)
    test_set_evaluations: earlier (their number before B), ledger (True: counted by the ledger of test at A;
        False: commits that published test results, a lower bound)
    splits: by name: images (their number), metrics (by name, see below), mcnemar (the numbers
        newly_misclassified and newly_correct, and p), and the lists newly_misclassified and newly_correct,
        whose entries have row, label, decision_a, decision_b, p_label_a, p_label_b
    notes: sentences about images that were left out
    caveats: sentences

    A metric has its verdict; the means over members a, b; difference (B - A) with the 95 % interval low,
    high; p (of secondary metrics adjusted by Holm's method), p_unadjusted, detectable (the smallest
    difference that this comparison could have found); standard_error and its parts between_case_se and
    between_seed_se (None: no training differs); degrees_of_freedom (None: infinite); images_needed and
    members_needed (None: no number suffices); and of the ensembles a, b, difference, low, high (between-case
    only). With too few members low to members_needed are None.
    """
    evaluations = review.evaluations
    return {
        "verdict": {split.split: split.rows[0].verdict for split in review.splits},
        "answer": answer_sentence(review.splits[0]),
        "design": review.splits[0].design,
        "a": _run_json(review.a),
        "b": _run_json(review.b),
        "params": {key: {"a": of_a, "b": of_b} for key, (of_a, of_b) in review.params.items()},
        "test_set_evaluations": {"earlier": evaluations.earlier, "ledger": evaluations.ledger},
        "splits": {split.split: _split_json(split) for split in review.splits},
        "notes": review.notes,
        "caveats": review.caveats(),
    }


def _run_json(run: Run) -> dict[str, Any]:
    return {
        "name": run.name,
        "commit": run.commit,
        "members": len(run.predictions.members),
        "threshold": run.threshold,
        "test": run.test,
    }


def _split_json(split: Comparison) -> dict[str, Any]:
    return {
        "images": len(split.a.labels),
        "metrics": {row.metric: _row_json(row) for row in split.rows},
        "mcnemar": {
            "newly_misclassified": len(split.newly_misclassified),
            "newly_correct": len(split.newly_correct),
            "p": split.mcnemar,
        },
        "newly_misclassified": flips(split, split.newly_misclassified),
        "newly_correct": flips(split, split.newly_correct),
    }


def _row_json(row: MetricRow) -> dict[str, Any]:
    members, ensemble = row.estimate, row.ensemble
    degrees = members.degrees_of_freedom
    evidence = {
        "low": members.interval[0],
        "high": members.interval[1],
        "p": row.p,
        "p_unadjusted": members.p,
        "detectable": row.detectable,
        "standard_error": members.standard_error,
        "between_case_se": members.between_case**0.5,
        "between_seed_se": members.seed_variance**0.5 if members.between_seed else None,
        "degrees_of_freedom": degrees if math.isfinite(degrees) else None,
        "images_needed": row.images_needed,
        "members_needed": row.members_needed,
    }
    return {
        "verdict": row.verdict,
        "a": row.a,
        "b": row.b,
        "difference": members.difference,
        **(evidence if members.testable else dict.fromkeys(evidence)),
        "ensemble": {
            "a": row.ensemble_a,
            "b": row.ensemble_b,
            "difference": ensemble.difference,
            "low": ensemble.interval[0],
            "high": ensemble.interval[1],
        },
    }
