"""A review of two runs as JSON, for programs: everything that was computed, all flipped films too."""

import math
from typing import Any

from cxr.compare import Comparison, Row, flips
from cxr.review import Review
from cxr.revisions import Run


def as_json(review: Review) -> dict[str, Any]:
    """What `cxr compare --json` writes: finite numbers, None for what cannot be known."""
    return {
        "verdict": {each.split: each.rows[0].verdict for each in review.splits},
        "a": _run_json(review.a),
        "b": _run_json(review.b),
        "params": {key: {"a": of_a, "b": of_b} for key, (of_a, of_b) in review.params.items()},
        "looks": {"others": review.looks.others, "complete": review.looks.complete},
        "splits": {each.split: _split_json(each) for each in review.splits},
        "caveats": review.caveats(),
    }


def _run_json(run: Run) -> dict[str, Any]:
    return {"name": run.name, "commit": run.commit, "members": len(run.predictions.members), "test": run.test}


def _split_json(split: Comparison) -> dict[str, Any]:
    return {
        "films": len(split.a.labels),
        "metrics": {row.metric: _row_json(row) for row in split.rows},
        "mcnemar": {"lost": len(split.lost), "won": len(split.won), "p": split.mcnemar},
        "lost": flips(split, split.lost),
        "won": flips(split, split.won),
    }


def _row_json(row: Row) -> dict[str, Any]:
    found, ensemble = row.estimate, row.ensemble
    low, high = found.interval
    return {
        "verdict": row.verdict,
        "a": row.a,
        "b": row.b,
        "difference": found.difference,
        "low": low,
        "high": high,
        "p": row.p,
        "p_uncorrected": found.p,
        "error": found.error,
        "error_films": found.films**0.5,
        "error_members": None if found.single else found.of_members**0.5,
        "freedom": found.freedom if math.isfinite(found.freedom) else None,
        "films_needed": row.films_needed,
        "members_needed": row.members_needed,
        "ensemble": {
            "a": row.ensemble_a,
            "b": row.ensemble_b,
            "difference": ensemble.difference,
            "low": ensemble.interval[0],
            "high": ensemble.interval[1],
        },
    }
