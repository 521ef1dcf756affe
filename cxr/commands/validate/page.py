"""The page of `cxr validate`: one HTML file that needs no other, with its figures inside."""

import base64
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jinja2 import Environment, StrictUndefined
from PIL import Image

from cxr.commands.validate import summary
from cxr.commands.validate.drawing import draw_validation
from cxr.commands.validate.validation import Validation
from cxr.data.radiograph import read_original
from cxr.evaluation.misclassifications import most_confident_errors
from cxr.inference.typicality import LIMIT

TEMPLATE = Path(__file__).with_name("page.html.j2")
MOST = 16  # misclassified radiographs that are shown, see `most_confident_errors`
SIDE = 320  # pixels of their thumbnails


def render_validation(validation: Validation, document: Mapping[str, Any]) -> str:
    """HTML. document: see `validation_document`."""
    environment = Environment(
        undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        document=document,
        reason=validation.verdict.reason,
        groups=summary.metric_groups(document),
        data_sentence=summary.data_sentence(document),
        notes=list(summary.notes(document)),
        decision_words=lambda name: summary.decision_words(name, document),
        with_ends=summary.with_ends,
        metric_words=summary.metric_words,
        figures=_figures(validation),
        mistakes=list(_mistakes(validation)),
    )


def _figures(validation: Validation) -> dict[str, str]:
    """Data URLs by title."""
    with TemporaryDirectory() as folder:
        files = draw_validation(validation, Path(folder))
        return {title: _data_url(path.read_bytes(), "png") for title, path in files.items()}


def _mistakes(validation: Validation) -> Iterator[dict[str, Any]]:
    """Each kind of error with the most confident ones: title, and the tiles with image (a data URL), name and
    caption."""
    sample = validation.sample
    kinds = most_confident_errors(sample.labels, sample.probabilities, validation.decided, MOST)
    for (truth, decision), (count, positions) in kinds.items():
        yield {
            "title": f"{sample.classes[truth]} classified as {sample.classes[decision]}",
            "count": count,
            "of": int(sample.counts[truth]),
            "tiles": [_tile(validation, int(position)) for position in positions],
        }


def _tile(validation: Validation, position: int) -> dict[str, Any]:
    path, sample = validation.paths[position], validation.sample
    square = Image.fromarray(read_original(path).full())
    square.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    square.save(file, "JPEG", quality=85)
    decision = validation.decided[position]
    caption = f"p({sample.classes[decision]}) = {sample.probabilities[position, decision]:.3f}"
    caption += f", typicality {validation.typicality[position]:.2f}"
    if validation.typicality[position] < LIMIT:
        caption += " (unlike the training images)"
    return {"image": _data_url(file.getvalue(), "jpeg"), "name": path.name, "caption": caption}


def _data_url(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
