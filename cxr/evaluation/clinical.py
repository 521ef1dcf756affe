"""What a decision between two classes means for a patient: likelihood ratios, predictive values at several
prevalences, sensitivity at a fixed specificity and the reverse, net benefit.
"""

from typing import Any

import numpy as np

from cxr.core.probabilities import decide
from cxr.evaluation.diagnostic_accuracy import effective_counts, predictive_values, proportion_interval
from cxr.evaluation.metrics import confusion
from cxr.evaluation.statistics import Z
from cxr.inference.predictions import Predictions
from cxr.inference.prevalence import shifted
from cxr.inference.thresholds import choose_thresholds

PREVALENCES = (0.05, 0.1, 0.25, 0.5)
LEVELS = (0.9, 0.95, 0.98)
CURVE = np.linspace(0.01, 0.99, 99)  # prevalences and threshold probabilities of the curves


def clinical_reading(
    val: Predictions, test: Predictions, threshold: float, stated: np.ndarray
) -> dict[str, Any]:
    """metrics/clinical.json, for two classes. threshold: of the released decision. stated: (2,) the class
    prevalences to which the probabilities refer."""
    decisions = decide(test.ensemble, threshold)
    (tn, fp), (fn, tp) = confusion(test.labels, decisions, 2).tolist()
    counts = effective_counts(test.labels, decisions, test.patients)
    diseased, healthy = counts["tp"] + counts["fn"], counts["fp"] + counts["tn"]
    return {
        "confusion": {"tp": tp, "fn": fn, "fp": fp, "tn": tn},
        "effective_counts": counts,
        "likelihood_ratios": {
            "positive": likelihood_ratio(counts["tp"], diseased, counts["fp"], healthy),
            "negative": likelihood_ratio(counts["fn"], diseased, counts["tn"], healthy),
        },
        "predictive_values": [
            {"prevalence": prevalence, **predictive_values(counts, prevalence)} for prevalence in PREVALENCES
        ],
        "fixed": fixed_levels(val, test),
        "net_benefit": [
            {"prevalence": prevalence, **net_benefit(test, stated, prevalence)} for prevalence in (0.1, 0.5)
        ],
    }


def likelihood_ratio(hits: float, cases: float, alarms: float, others: float) -> dict[str, float]:
    """`value`, `low` and `high` of (hits / cases) / (alarms / others), with the logarithmic 95 % interval of
    Simel, Samsa & Matchar (1991, https://doi.org/10.1016/0895-4356(91)90128-v). If one count is 0, one half
    is added to each, as otherwise the ratio would be 0 or infinite."""
    extra = 0.5 if 0 in (hits, alarms) else 0.0
    a, b = hits + extra, alarms + extra
    n, m = cases + 2 * extra, others + 2 * extra
    value = (a / n) / (b / m)
    factor = float(np.exp(Z * np.sqrt(1 / a - 1 / n + 1 / b - 1 / m)))
    return {"value": value, "low": value / factor, "high": value * factor}


def fixed_levels(val: Predictions, test: Predictions) -> list[dict[str, object]]:
    """For each of `LEVELS` of sensitivity, then of specificity, the threshold that reaches it on val
    (`choose_thresholds`), and sensitivity and specificity there, chosen on val and achieved on test."""
    rows: list[dict[str, object]] = []
    for measure in ("sensitivity", "specificity"):
        for level in LEVELS:
            points = choose_thresholds(val.labels == 1, val.ensemble[:, 1], level)
            threshold = points[f"target_{measure}"]
            row: dict[str, object] = {"fixed": measure, "level": level, "threshold": threshold}
            for name, split in (("val", val), ("test", test)):
                positive = split.ensemble[:, 1] >= threshold
                row[name] = {
                    "sensitivity": proportion_interval(positive, split.labels == 1, split.patients),
                    "specificity": proportion_interval(~positive, split.labels == 0, split.patients),
                }
            rows.append(row)
    return rows


def net_benefit(test: Predictions, stated: np.ndarray, prevalence: float) -> dict[str, list[float]]:
    """The decision curve (Vickers & Elkin, 2006, https://doi.org/10.1177/0272989X06295361) where pneumonia
    has `prevalence`: at each `threshold` probability, the risk at which a patient would be treated, the net
    benefit of treating by the `classifier`, and of treating `all`; that of treating nobody is 0. In true
    positives per patient.

    Sensitivity and specificity are those of test with probabilities adjusted from `stated` to `prevalence`.
    """
    p = shifted(test.ensemble, stated, np.array([1 - prevalence, prevalence]))[:, 1]
    diseased = test.labels == 1
    treated = p >= CURVE[:, None]
    hits, alarms = treated[:, diseased].mean(axis=1), treated[:, ~diseased].mean(axis=1)
    odds = CURVE / (1 - CURVE)
    return {
        "threshold": CURVE.tolist(),
        "classifier": (prevalence * hits - (1 - prevalence) * alarms * odds).tolist(),
        "all": (prevalence - (1 - prevalence) * odds).tolist(),
    }
