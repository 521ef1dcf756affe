"""The released model's performance on test, with which other radiographs are compared."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from cxr.commands.validate.intervals import Bounded
from cxr.commands.validate.measurement import FEWEST, Sample, measure_sample
from cxr.core.errors import UserError
from cxr.inference import predictions
from cxr.inference.onnx_session import OnnxModel
from cxr.inference.predictions import parse_predictions

EXPORT, TEST = Path("metrics/export.json"), Path("metrics/test.json")
ROUNDING = 1e-5  # of metrics/test.json and metrics/predictions.csv together


@dataclass(frozen=True)
class Reference:
    """metrics: by name, as `measure_sample` gives them. sample: the test radiographs, None if
    metrics/test.json alone is here: then some metrics are missing, and all intervals are bootstrapped, those
    of decisions with the uncertainty of their threshold."""

    metrics: dict[str, Bounded]
    sample: Sample | None


def load_reference(home: Path, model: OnnxModel) -> Reference | str:
    """What `metrics/` in `home` says of `model` on test, or, in words, why it says nothing of it.

    Raises `UserError` if its files contradict each other.
    """
    try:
        export = json.loads((home / EXPORT).read_bytes())
        test = (home / TEST).read_bytes()
        exported, described_by = export["sha256"], export["described_by"][TEST.as_posix()]
    except FileNotFoundError as error:
        return f"no {Path(error.filename)} here"
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{home / EXPORT}: not written by the stage export; run `dvc repro export`") from None
    if exported != model.sha256:
        return f"{home / EXPORT} describes another model"
    if described_by != hashlib.sha256(test).hexdigest():
        return f"{home / TEST} describes another model"
    published = {
        name: Bounded(metric["ensemble"], metric["low"], metric["high"], "bootstrap")
        for name, metric in json.loads(test).items()
        if isinstance(metric, dict)
    }
    table = home / predictions.PATH
    if not table.is_file():
        return Reference(published, None)
    try:
        rows = parse_predictions(table.read_text(encoding="utf-8")).of("test")
    except ValueError:
        raise UserError(f"{table}: not a table of predictions; run `dvc repro evaluate`") from None
    sample = Sample(rows.classes, rows.labels, rows.ensemble)
    if not sample.complete:
        return f"the test split has fewer than {FEWEST} radiographs of a class"
    metrics = measure_sample(sample, model.facts.threshold, model.facts.prevalence)
    for name, value in metrics.items():
        if name in published and abs(value.value - published[name].value) > ROUNDING:
            raise UserError(
                f"{table}: has {name} {value.value:.6f} on test, and {TEST} {published[name].value:.6f}; "
                "run `dvc repro evaluate`"
            )
    return Reference(metrics, sample)
