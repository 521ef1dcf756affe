"""The answers of the service, with the descriptions and examples that /docs shows."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from cxr.data.radiograph import KINDS

Probability = Annotated[float, Field(ge=0, le=1)]


class Health(BaseModel):
    status: Literal["ok", "no model"]
    model_loaded: bool
    model_sha256: str | None = Field(description="of the model file in service")
    detail: str | None = Field(description="why no model is loaded, and what to do")


class OperatingPoint(BaseModel):
    rule: str = Field(description="rule of the threshold (`calibrate.threshold`), or `most probable class`")
    threshold: float | None = Field(description="of the second class; None reports the most probable class")
    positive: str | None = Field(description="the class reported at this probability or more")


class MetricEstimate(BaseModel):
    value: float
    low: float = Field(description="lower limit of the 95 % confidence interval over test radiographs")
    high: float = Field(description="upper limit of that interval")


class Metadata(BaseModel):
    model_name: str
    model_version: str = Field(description="Git revision at start, and the SHA-256 of the model file")
    classes: list[str]
    labels: list[str] = Field(description="`classes` again, under the name that simple clients look for")
    test_accuracy: float | None = Field(description="accuracy on the test split, as in metrics_summary")
    macro_f1: float | None = Field(description="mean F1 score of the classes on the test split")
    weighted_f1: float | None = Field(description="the same weighted by the images of each class")
    metrics_summary: dict[str, MetricEstimate] | None = Field(
        description="of the model served, on the test split; None if its metrics are not available"
    )
    operating_point: OperatingPoint
    prevalence: dict[str, float] | None = Field(description="of each class, as probabilities assume it")
    typicality_limit: float = Field(
        description="an image of lower typicality is marked as unlike the training images"
    )
    input_size: int = Field(description="side in pixels of the square image that the model gets")
    maps: bool = Field(description="whether /explain is available")
    similar: bool = Field(description="whether /similar is available")
    limits: list[str]


class ClassProbability(BaseModel):
    label: str
    confidence: Probability = Field(description="calibrated probability")


class Observed(BaseModel):
    """Test radiographs with a similar predicted probability, weighted to the prevalence of /metadata."""

    probability: Probability = Field(description="mean predicted probability of these radiographs")
    observed: Probability = Field(
        description="proportion with the second of two classes; of more, with the most probable class"
    )
    low: Probability = Field(description="lower limit of the 95 % confidence interval of that proportion")
    high: Probability = Field(description="upper limit of that interval")
    images: int = Field(description="number of these radiographs")


class Prediction(BaseModel):
    top_k: int
    predictions: list[ClassProbability] = Field(description="most probable first")
    decision: str = Field(description="class at the operating point, not always the most probable one")
    operating_point: OperatingPoint
    observed: Observed | None = Field(
        description="None if the model's test metrics are not available, or if the image is unlike the "
        "training images, so that those of test do not speak for it"
    )
    typicality: Probability = Field(
        description="conformal p-value: the proportion of val images at least as far from the training images"
    )
    unlike: bool = Field(
        description="whether the image is unlike the training images: a typicality below 0.05"
    )
    unlike_reason: str | None = Field(description="in which respect; None if it is not")
    model_sha256: str

    model_config = {
        "json_schema_extra": {
            "examples": [
                {
                    "top_k": 2,
                    "predictions": [
                        {"label": "pneumonia", "confidence": 0.934},
                        {"label": "normal", "confidence": 0.066},
                    ],
                    "decision": "pneumonia",
                    "operating_point": {"rule": "youden", "threshold": 0.1037, "positive": "pneumonia"},
                    "observed": {
                        "probability": 0.93,
                        "observed": 0.9,
                        "low": 0.74,
                        "high": 0.97,
                        "images": 31,
                    },
                    "typicality": 0.42,
                    "unlike": False,
                    "unlike_reason": None,
                    "model_sha256": "6b2ada0f956b5027d8c28d64d00c208678c705a74f44413cdfd2b399b80baef7",
                }
            ]
        }
    }


class ProblemDocument(BaseModel):
    """An error as RFC 9457 describes it."""

    type: str = Field(examples=["urn:cxr:problem:unreadable-image"])
    title: str
    status: int
    detail: str


class BatchItem(BaseModel):
    """A prediction or a problem."""

    prediction: Prediction | None = None
    problem: ProblemDocument | None = None


class Batch(BaseModel):
    results: list[BatchItem] = Field(description="in the order of the files")


class StreamItem(BaseModel):
    """A line of a stream: a prediction or a problem. One without a number ends it before its last file."""

    number: int | None = Field(default=None, description="of the file in the request, from 0")
    file: str | None = Field(default=None, description="its name, as sent")
    prediction: Prediction | None = None
    problem: ProblemDocument | None = None


class SimilarCase(BaseModel):
    row: int = Field(description="row of data/labels.csv, from 0")
    label: str = Field(description="its class in the data set")
    split: str
    value: float = Field(description="cosine similarity (most similar: 1) or Euclidean distance (0)")
    thumbnail: str = Field(description="the image that the model gets, a PNG as a data URI")


class Similar(BaseModel):
    metric: Literal["cosine", "l2"]
    cases: list[SimilarCase] = Field(description="nearest first")
    model_sha256: str


class ActivationMap(BaseModel):
    """Where the score of a class is raised; see /explain."""

    label: str = Field(description="the class: the decision")
    image: str = Field(
        description="a PNG with transparency as a data URI, to lay over the radiograph in its whole size: "
        "yellow and opaque at the maximum of the map, transparent where the score is not raised"
    )


class Analysis(BaseModel):
    """The answers of /predict, /explain and /similar about one radiograph."""

    prediction: Prediction
    radiograph: str = Field(
        description="its centre square, at most 512 pixels a side, a grey PNG as a data URI"
    )
    model_input: str = Field(description="the image that the model gets, a PNG as a data URI")
    map: ActivationMap | None = Field(description="None if /explain is not available")
    similar: Similar | None = Field(description="None if /similar is not available")
    problems: list[ProblemDocument] = Field(description="why the map or the similar cases are None")


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI description of an endpoint's errors."""
    content = {"application/problem+json": {"schema": ProblemDocument.model_json_schema()}}
    return {status: {"description": "Problem (RFC 9457)", "content": content} for status in statuses}


def multipart(field: str, several: bool = False, closed: bool = True) -> dict[str, Any]:
    """The OpenAPI description of an upload, written out since the endpoints read the body themselves.

    closed: whether another field is an error of the request, not of a line of the answer."""
    image: dict[str, Any] = {"type": "string", "format": "binary", "description": KINDS}
    schema = {"type": "array", "items": image, "minItems": 1} if several else image
    body = {
        "type": "object",
        "properties": {field: schema},
        "required": [field],
        "additionalProperties": not closed,
    }
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": body}}}}
