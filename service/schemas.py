"""What the service answers; field descriptions and examples are what /docs shows."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

Probability = Annotated[float, Field(ge=0, le=1)]


class Health(BaseModel):
    status: Literal["ok", "no model"]
    model_loaded: bool
    model_sha256: str | None = Field(description="of the model file that is served")
    detail: str | None = Field(description="why there is no model, and what to do")


class OperatingPoint(BaseModel):
    rule: str = Field(description="how the threshold was chosen on val, or `most probable class`")
    threshold: float | None = Field(description="of the second class; None decides for the most probable")
    positive: str | None = Field(description="the class that is decided for from the threshold on")


class MetricEstimate(BaseModel):
    value: float
    low: float = Field(description="end of the 95 % interval over test radiographs")
    high: float


class Metadata(BaseModel):
    model_name: str
    model_version: str = Field(description="Git revision at start, and the SHA-256 of the model file")
    classes: list[str]
    metrics_summary: dict[str, MetricEstimate] | None = Field(
        description="on test, of the model served; None where no metrics of it are here"
    )
    operating_point: OperatingPoint
    prevalence: dict[str, float] | None = Field(description="the shares that probabilities refer to")
    input_size: int = Field(description="pixels a side of what the model sees of a radiograph")
    maps: bool = Field(description="whether /explain can answer")
    similar: bool = Field(description="whether /similar can answer")
    limits: list[str]


class ClassProbability(BaseModel):
    label: str
    confidence: Probability = Field(description="calibrated probability")


class Observed(BaseModel):
    """The test radiographs that got about this probability, weighted to the stated prevalence."""

    probability: Probability = Field(description="mean of what was said of these radiographs")
    found: Probability = Field(description="share of them that are of the class")
    low: Probability = Field(description="end of the 95 % interval of that share")
    high: Probability
    images: int


class Prediction(BaseModel):
    top_k: int
    predictions: list[ClassProbability] = Field(description="most probable first")
    decision: str = Field(description="at the operating point, which may not be the most probable class")
    operating_point: OperatingPoint
    observed: Observed | None = Field(description="None where the model's test metrics are not here")
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
                    "observed": {"probability": 0.93, "found": 0.9, "low": 0.74, "high": 0.97, "images": 31},
                    "model_sha256": "6b2ada0f956b5027d8c28d64d00c208678c705a74f44413cdfd2b399b80baef7",
                }
            ]
        }
    }


class ProblemDocument(BaseModel):
    """RFC 9457."""

    type: str = Field(examples=["urn:cxr:problem:unreadable-film"])
    title: str
    status: int
    detail: str


class BatchItem(BaseModel):
    """A prediction or a problem, in the order of the files."""

    prediction: Prediction | None = None
    problem: ProblemDocument | None = None


class Batch(BaseModel):
    results: list[BatchItem]


class SimilarCase(BaseModel):
    row: int = Field(description="of data/labels.csv")
    label: str = Field(description="the confirmed class")
    split: str
    value: float = Field(description="cosine (larger is nearer) or Euclidean distance (smaller is nearer)")
    thumbnail: str = Field(description="PNG as a data URI, what the model sees of the radiograph")


class Similar(BaseModel):
    metric: Literal["cosine", "l2"]
    cases: list[SimilarCase] = Field(description="nearest first")
    model_sha256: str


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI description of an endpoint that refuses with these."""
    content = {"application/problem+json": {"schema": ProblemDocument.model_json_schema()}}
    return {status: {"description": "Problem (RFC 9457)", "content": content} for status in statuses}


def multipart(field: str, several: bool = False) -> dict[str, Any]:
    """For the OpenAPI description of an endpoint that takes radiographs; it reads the body itself, to count
    it."""
    image: dict[str, Any] = {"type": "string", "format": "binary", "description": "PNG, JPEG or DICOM"}
    schema = {"type": "array", "items": image, "minItems": 1} if several else image
    body = {
        "type": "object",
        "properties": {field: schema},
        "required": [field],
        "additionalProperties": False,
    }
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": body}}}}
