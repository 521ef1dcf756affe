"""Endpoints that take no image: health, metadata, metrics and the page."""

import mimetypes
from pathlib import Path

from fastapi import APIRouter, Depends, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from cxr.inference.typicality import LIMIT, UNLIKE
from cxr.reports.disclaimer import NOTICE
from service import schemas
from service.errors import Problem, busy
from service.schemas import MetricEstimate, problems
from service.served import CARD, Cases
from service.state import State

STATIC = Path(__file__).parent / "static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
ANY_IMAGE = (
    "The model answers for any image, also one that is not a chest radiograph. An image whose typicality is "
    f"below {LIMIT} is marked as {UNLIKE}: 5 % of the val images are, too, and an image that is not marked "
    "may still be unlike them."
)
SUMMARY = ("auc", "auc_ovr_macro", "accuracy", "accuracy_at_one_half", "f1_macro", "f1_weighted")
FLAT = {"test_accuracy": "accuracy", "macro_f1": "f1_macro", "weighted_f1": "f1_weighted"}


def routes(state: State) -> APIRouter:
    router = APIRouter()
    # Read once, so that no path of a request reaches the file system.
    static = {path.name: path.read_bytes() for path in STATIC.glob("*.*")}

    def file(name: str) -> Response:
        if name not in static:
            raise Problem(404, "not-found", "No such page.")
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return Response(static[name], media_type=kind, headers={"Content-Security-Policy": POLICY})

    @router.get("/", include_in_schema=False)
    async def page() -> Response:
        return file("index.html")

    @router.get("/static/{name}", include_in_schema=False)
    async def asset(name: str) -> Response:
        return file(name)

    @router.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return file("docs.html")

    @router.get("/ready", responses=problems(503))
    async def ready() -> schemas.Health:
        """Whether a request with an image would be answered now: 503 without a model or at capacity."""
        if state.work.full:
            raise busy("The service is at capacity.", 1)
        return schemas.Health(
            status="ok", model_loaded=True, model_sha256=state.loaded().model.sha256, detail=None
        )

    @router.get("/health")
    async def health() -> schemas.Health:
        """Whether the service is running, and whether a model is loaded."""
        try:
            sha256 = state.loaded().model.sha256
        except Problem as problem:
            return schemas.Health(
                status="no model", model_loaded=False, model_sha256=None, detail=problem.detail
            )
        return schemas.Health(status="ok", model_loaded=True, model_sha256=sha256, detail=None)

    @router.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Counters and latencies in the text format of Prometheus."""
        return Response(state.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @router.get("/metadata", dependencies=[Depends(state.authorised())], responses=problems(401, 503))
    async def metadata() -> schemas.Metadata:
        """The model served, its performance on the test split, and its limitations."""
        served = state.loaded()
        facts, measured = served.model.facts, served.metrics
        return schemas.Metadata(
            model_name=f"{facts.members} x {facts.backbone}",
            model_version=f"{state.revision} sha256:{served.model.sha256}",
            classes=facts.classes,
            labels=facts.classes,
            **{name: measured[of_test]["ensemble"] if measured else None for name, of_test in FLAT.items()},
            metrics_summary={
                name: MetricEstimate(value=metric["ensemble"], low=metric["low"], high=metric["high"])
                for name in SUMMARY
                if (metric := measured.get(name))
            }
            if measured
            else None,
            operating_point=served.operating_point,
            prevalence=dict(zip(facts.classes, facts.prevalence, strict=True)) if facts.prevalence else None,
            typicality_limit=LIMIT,
            input_size=facts.size,
            maps=served.model.has_maps,
            similar=isinstance(served.cases, Cases),
            limits=[NOTICE, facts.limits, ANY_IMAGE],
        )

    @router.get(
        "/card",
        dependencies=[Depends(state.authorised())],
        response_class=PlainTextResponse,
        responses=problems(401, 404, 503),
    )
    async def card() -> PlainTextResponse:
        """The model card of the model served, in Markdown."""
        text = state.loaded().card
        if text is None:
            raise Problem(404, "no-card", f"No {CARD} of this model here; write it with `dvc repro card`.")
        return PlainTextResponse(text)

    return router
