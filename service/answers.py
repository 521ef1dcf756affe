"""What the service answers about one radiograph, from one run of the network."""

import numpy as np
from PIL import Image

from cxr.data.radiograph import Original
from cxr.inference.onnx_session import Answer
from service import schemas
from service.errors import Problem
from service.overlay import data_uri, layer, png, shown
from service.served import Cases, Served

TOP_K = 3
SIMILAR = 5  # cases, unless a request asks for another number


def prediction(served: Served, answer: Answer) -> schemas.Prediction:
    """answer: of a single radiograph."""
    probabilities = answer.probabilities[0]
    (mark,) = served.model.typicality(answer)
    classes = served.model.facts.classes
    top = min(TOP_K, len(classes))
    order = np.argsort(-probabilities, kind="stable")[:top]
    return schemas.Prediction(
        top_k=top,
        predictions=[
            schemas.ClassProbability(label=classes[i], confidence=float(probabilities[i])) for i in order
        ],
        decision=classes[served.decision(probabilities)],
        operating_point=served.operating_point,
        observed=None if mark.unlike else served.observed(probabilities),
        typicality=mark.p_value,
        unlike=mark.unlike,
        unlike_reason=mark.reason,
        model_sha256=served.model.sha256,
    )


def cases(served: Served) -> Cases:
    """Raises `Problem` 503 if no labelled training images are served."""
    if not isinstance(served.cases, Cases):
        raise Problem(503, "no-cases", served.cases)
    return served.cases


def similar(served: Served, answer: Answer, k: int) -> schemas.Similar:
    """The `k` most similar labelled training images. Raises `Problem` 503 if there are none to search."""
    searched = cases(served)
    return schemas.Similar(
        metric=searched.gallery.meta.metric,
        cases=searched.nearest(answer, served.model, k),
        model_sha256=served.model.sha256,
    )


def check_maps(served: Served) -> None:
    """Raises `Problem` 501 if the model has no class activation maps."""
    if not served.model.has_maps:
        raise Problem(501, "no-maps", "The head of this model gives no class activation maps.")


def activation(served: Served, answer: Answer, label: str | None = None) -> tuple[str, np.ndarray]:
    """A class, by default the decision, and its class activation map before the ReLU, (h, w) float32.

    label: one of the model's classes. Raises `Problem` 501 if the model has no maps.
    """
    check_maps(served)
    assert answer.maps is not None  # has_maps
    classes = served.model.facts.classes
    number = classes.index(label) if label else served.decision(answer.probabilities[0])
    return classes[number], answer.maps[0, number]


def analysis(served: Served, image: Original, pixels: np.ndarray, answer: Answer) -> schemas.Analysis:
    """pixels: (1, size, size) uint8, of this image. answer: to them. What this model or its run does not have
    is left out, with the reason."""
    problems = []
    found, mapped = None, None
    try:
        label, values = activation(served, answer)
        mapped = schemas.ActivationMap(label=label, image=data_uri(layer(values)))
    except Problem as problem:
        problems.append(schemas.ProblemDocument(**problem.document()))
    try:
        found = similar(served, answer, SIMILAR)
    except Problem as problem:
        problems.append(schemas.ProblemDocument(**problem.document()))
    return schemas.Analysis(
        prediction=prediction(served, answer),
        radiograph=data_uri(shown(image)),
        model_input=data_uri(png(Image.fromarray(pixels[0]))),
        map=mapped,
        similar=found,
        problems=problems,
    )
