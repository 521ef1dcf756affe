"""The model served, with its metrics and its gallery: read at start and on SIGHUP, never in between."""

import csv
import hashlib
import io
import json
import logging
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cxr.core import dataset
from cxr.core.errors import UserError
from cxr.core.files import read_csv
from cxr.core.probabilities import decide
from cxr.embeddings.gallery import Gallery, SearchResult, Vectors
from cxr.inference.onnx_session import Answer, OnnxModel
from service.overlay import data_uri, png
from service.schemas import Observed, OperatingPoint, SimilarCase
from service.settings import Settings
from service.stored_images import StoredImages

EXPORT, CARD = Path("metrics/export.json"), Path("reports/model_card.md")
# What reading a damaged file raises; the files are then left out, and the log says so.
DAMAGE = (OSError, ValueError, TypeError, LookupError, AttributeError, EOFError, RuntimeError)
TEST, RELIABILITY = Path("metrics/test.json"), Path("metrics/reliability.csv")

log = logging.getLogger("service")


@dataclass(frozen=True)
class Served:
    """metrics: of metrics/test.json, reliability: the rows of metrics/reliability.csv; None unless
    metrics/export.json states that they describe this model file. cases: the labelled training images that
    are searched, or why there are none. card: the text of the model card, None unless it names these weights.
    """

    model: OnnxModel
    metrics: dict[str, Any] | None
    reliability: list[Observed] | None
    cases: "Cases | str"
    card: str | None

    def decision(self, probabilities: np.ndarray) -> int:
        """The number of the class at the operating point. probabilities: (classes,)."""
        return int(decide(probabilities[None], self.model.facts.threshold)[0])

    @property
    def operating_point(self) -> OperatingPoint:
        facts = self.model.facts
        if facts.threshold is None:
            return OperatingPoint(rule="most probable class", threshold=None, positive=None)
        points = facts.operating_points or {}
        rule = next((name for name, value in points.items() if value == facts.threshold), "fixed")
        return OperatingPoint(rule=rule, threshold=facts.threshold, positive=facts.classes[1])

    def observed(self, probabilities: np.ndarray) -> Observed | None:
        """The bin of the reliability diagram whose mean probability is nearest: that of the second of two
        classes, or else of the most probable class. probabilities: (classes,)."""
        if not self.reliability:
            return None
        predicted = float(probabilities[1] if len(probabilities) == 2 else probabilities.max())
        return min(self.reliability, key=lambda row: abs(row.probability - predicted))


@dataclass(frozen=True)
class Cases:
    """A gallery and the data set of its rows: N images, table the N rows of data/labels.csv."""

    gallery: Gallery
    images: StoredImages
    table: list[dict[str, str]]

    def nearest(self, answer: Answer, model: OnnxModel, k: int) -> list[SimilarCase]:
        """The `k` most similar images, nearest first. answer: of a single radiograph."""
        vectors = Vectors(answer.embedding, model.facts.classifier_sha256)
        result: SearchResult = self.gallery.search(vectors, min(k, len(self.gallery.meta.rows)))
        return [
            SimilarCase(
                row=int(row),
                label=self.table[row]["class"],
                split=self.table[row]["split"],
                value=float(value),
                thumbnail=data_uri(png(Image.fromarray(self.images[row]))),
            )
            for row, value in zip(result.rows[0], result.values[0], strict=True)
        ]


def load_served(settings: Settings) -> Served:
    """Raises `UserError` if there is no model, or if its file is damaged or of another kind."""
    try:
        if not settings.model.is_file():  # a FIFO would be waited for
            raise FileNotFoundError
        content = settings.model.read_bytes()
    except OSError:
        raise UserError(
            f"{settings.model}: no model here; build it with `dvc repro`, fetch it with `dvc pull`, or set "
            "CXR_MODEL to a file of the stage export; then send SIGHUP or start again"
        ) from None
    model = OnnxModel(content, settings.threads, settings.model)
    described = _described_by(settings.home, model.sha256)
    test, reliability = described.get(TEST), described.get(RELIABILITY)
    cases = _cases(settings.home, model)
    if isinstance(cases, str):
        log.warning("similar cases left out", extra={"fields": {"reason": cases}})
    if not (test and reliability):
        reason = f"{EXPORT} describes another model, or it or a file that it names is missing or damaged"
        log.warning("metrics left out", extra={"fields": {"reason": reason}})
    return Served(
        model=model,
        metrics=json.loads(test) if test else None,
        reliability=_numbers(reliability) if reliability else None,
        cases=cases,
        card=_card(settings.home / CARD, model.facts.classifier_sha256),
    )


def _card(path: Path, weights_sha256: str) -> str | None:
    try:
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
    except DAMAGE:
        text = ""
    if weights_sha256 in text:
        return text
    log.warning("model card left out", extra={"fields": {"reason": f"{CARD} is missing or of another model"}})
    return None


def _described_by(home: Path, sha256: str) -> dict[Path, bytes]:
    """The content of the files that describe the model with this hash, as metrics/export.json states."""
    try:
        export = json.loads((home / EXPORT).read_bytes())
        if export["sha256"] != sha256:
            return {}
        contents = {path: (home / path).read_bytes() for path in (TEST, RELIABILITY)}
        described = export["described_by"]
        hashes = {path: described.get(str(path)) for path in contents}
    except DAMAGE:
        return {}
    return {
        path: content
        for path, content in contents.items()
        if hashlib.sha256(content).hexdigest() == hashes[path]
    }


def _numbers(table: bytes) -> list[Observed]:
    return [Observed.model_validate(row) for row in csv.DictReader(io.StringIO(table.decode()))]


def _cases(home: Path, model: OnnxModel) -> Cases | str:
    try:
        gallery = Gallery.load(home)
        meta = gallery.meta
        if min(meta.rows) < 0:
            raise ValueError("rows")
    except UserError as error:
        return str(error).replace(f"{home}/", "")
    except DAMAGE:
        return "models/index.json is damaged; run `dvc checkout` or `dvc repro index`"
    try:
        images, table = StoredImages(home / dataset.IMAGES), read_csv(home / dataset.LABELS)
        if not {"class", "split"} <= set(table[0]):
            raise ValueError("columns")
    except DAMAGE:
        return f"{dataset.IMAGES} and {dataset.LABELS} are missing or damaged; fetch them with `dvc pull`"
    if meta.embedding != "classifier" or meta.source_sha256 != model.facts.classifier_sha256:
        return "models/index.faiss was built with another model than the one served; run `dvc repro index`"
    if meta.metric != "cosine":
        return "models/index.faiss compares features that the served file lacks; set index.metric to cosine"
    if max(meta.rows) >= len(table) or len(images) != len(table):
        return f"{dataset.LABELS} and models/index.json do not match; run `dvc repro index`"
    if any(table[row]["split"] == "test" for row in meta.rows):
        return (
            "models/index.faiss holds test radiographs; set index.gallery to train and run `dvc repro index`"
        )
    return Cases(gallery, images, table)


def revision(settings: Settings) -> str:
    """CXR_REVISION, else the Git commit of CXR_HOME, with -dirty where files have changed since."""
    if settings.revision:
        return settings.revision
    # Without locks, since it may be served from a folder in which somebody works.
    command = ["git", "--no-optional-locks", "-C", str(settings.home), "describe"]
    command += ["--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "unknown"
