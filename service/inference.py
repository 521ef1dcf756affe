"""Endpoints that take images: prediction, similar cases, class activation map."""

from collections.abc import Callable
from typing import Annotated, TypeVar

import numpy as np
from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.datastructures import UploadFile

from cxr.data.radiograph import Original
from cxr.inference.onnx_session import Answer
from service import schemas
from service.errors import Problem
from service.overlay import ALPHA, overlay
from service.schemas import multipart, problems
from service.served import Cases, Served
from service.state import State
from service.uploads import read_upload, uploaded

TOP_K = 3
ALPHA_HELP = "opacity of the map where it is 1 (its maximum); elsewhere in proportion to its value"
UPLOAD = (400, 401, 408, 413, 415, 422, 503)

T = TypeVar("T")


def routes(state: State) -> APIRouter:
    router = APIRouter(dependencies=[Depends(state.authorised())])
    settings = state.settings

    async def with_files(request: Request, field: str, most: int, work: Callable[[list[UploadFile]], T]) -> T:
        """`work` on the uploaded files, in a thread of the pool; a place is taken once they are whole."""
        state.work.check_room()
        async with uploaded(request, field, settings, most, state.uploads) as files:
            with state.work.admitted():
                return await state.work.run(work, files)

    def original(file: UploadFile) -> Original:
        return read_upload(file.file.read(), settings)

    def answered(served: Served, image: Original) -> Answer:
        return served.model(image.resized(served.model.facts.size, served.model.facts.reading)[None])

    @router.post("/predict", openapi_extra=multipart("file"), responses=problems(*UPLOAD))
    async def predict(request: Request) -> schemas.Prediction:
        """Calibrated probability of each class for one radiograph."""
        served = state.loaded()

        def work(files: list[UploadFile]) -> schemas.Prediction:
            return prediction(served, answered(served, original(files[0])))

        return await with_files(request, "file", 1, work)

    @router.post("/predict/batch", openapi_extra=multipart("files", True), responses=problems(*UPLOAD))
    async def predict_batch(request: Request) -> schemas.Batch:
        """Predictions for several radiographs; a file that cannot be read does not affect the others."""
        served = state.loaded()

        def work(files: list[UploadFile]) -> schemas.Batch:
            # One at a time: its augmented copies fit into the processor's cache, those of many images do not.
            results = []
            for file in files:
                try:
                    item = schemas.BatchItem(prediction=prediction(served, answered(served, original(file))))
                except Problem as problem:
                    item = schemas.BatchItem(problem=schemas.ProblemDocument(**problem.document()))
                results.append(item)
            return schemas.Batch(results=results)

        return await with_files(request, "files", settings.max_files, work)

    @router.post("/similar", openapi_extra=multipart("file"), responses=problems(*UPLOAD))
    async def similar(request: Request, k: Annotated[int, Query(ge=1, le=20)] = 5) -> schemas.Similar:
        """The labelled training images most similar to this radiograph in the classifier's embedding."""
        served = state.loaded()
        cases = served.cases
        if not isinstance(cases, Cases):
            raise Problem(503, "no-cases", cases)

        def work(files: list[UploadFile]) -> schemas.Similar:
            return schemas.Similar(
                metric=cases.gallery.meta.metric,
                cases=cases.nearest(answered(served, original(files[0])), served.model, k),
                model_sha256=served.model.sha256,
            )

        return await with_files(request, "file", 1, work)

    @router.post(
        "/explain",
        openapi_extra=multipart("file"),
        response_class=Response,
        responses={200: {"content": {"image/png": {}}, "description": "PNG, RGB"}, **problems(*UPLOAD, 501)},
    )
    async def explain(
        request: Request,
        label: Annotated[str | None, Query(description="class; by default the decision")] = None,
        alpha: Annotated[float, Query(ge=0, le=1, description=ALPHA_HELP)] = ALPHA,
    ) -> Response:
        """Class activation map (Grad-CAM) over the radiograph's centre square.

        It shows which regions raise the score of a class, not why.
        """
        served = state.loaded()
        classes = served.model.facts.classes
        if not served.model.has_maps:
            raise Problem(501, "no-maps", "The head of this model gives no class activation maps.")
        if label is not None and label not in classes:
            raise Problem(422, "unknown-label", f"label: one of {', '.join(classes)}")

        def work(files: list[UploadFile]) -> Response:
            image = original(files[0])
            answer = answered(served, image)
            assert answer.maps is not None  # has_maps
            number = classes.index(label) if label else served.decision(answer.probabilities[0])
            figure = overlay(image, answer.maps[0, number], alpha)
            return Response(figure, media_type="image/png")

        return await with_files(request, "file", 1, work)

    return router


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
