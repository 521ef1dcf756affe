"""Endpoints that take images: prediction, similar cases, class activation map, and all of these at once."""

from collections.abc import Callable
from typing import Annotated, TypeVar

import numpy as np
from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.datastructures import UploadFile

from cxr.data.radiograph import Original
from cxr.inference.onnx_session import Answer
from service import answers, schemas
from service.errors import Problem
from service.overlay import ALPHA, overlay
from service.schemas import multipart, problems
from service.served import Served
from service.state import State
from service.stream import MEDIA_TYPE, STREAM_ITEM, Lines, streamed
from service.uploads import read_upload, uploaded

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

    def original(data: bytes) -> Original:
        with state.metrics.timed("decode"):
            return read_upload(data, settings)

    def reduced(served: Served, image: Original) -> np.ndarray:
        return image.resized(served.model.facts.size, served.model.facts.reading)[None]

    def answered(served: Served, pixels: np.ndarray) -> Answer:
        with state.metrics.timed("network"):
            return served.model(pixels)

    def predicted(served: Served, data: bytes) -> schemas.Prediction:
        prediction = answers.prediction(served, answered(served, reduced(served, original(data))))
        state.metrics.count(prediction.decision, prediction.unlike)
        return prediction

    @router.post("/predict", openapi_extra=multipart("file"), responses=problems(*UPLOAD))
    async def predict(request: Request) -> schemas.Prediction:
        """Calibrated probability of each class for one radiograph."""
        served = state.loaded()

        def work(files: list[UploadFile]) -> schemas.Prediction:
            return predicted(served, files[0].file.read())

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
                    item = schemas.BatchItem(prediction=predicted(served, file.file.read()))
                except Problem as problem:
                    item = schemas.BatchItem(problem=schemas.ProblemDocument(**problem.document()))
                results.append(item)
            return schemas.Batch(results=results)

        return await with_files(request, "files", settings.max_files, work)

    @router.post(
        "/predict/stream",
        openapi_extra=multipart("files", True, closed=False),
        response_class=Lines,
        responses={
            200: {"description": "JSON lines", "content": {MEDIA_TYPE: {"schema": STREAM_ITEM}}},
            **problems(*UPLOAD),
        },
    )
    async def predict_stream(request: Request) -> Lines:
        """A line of JSON for each of any number of radiographs, sent while the next ones are still on their
        way. Read the lines while you send: radiographs are taken no faster than their answers."""
        served = state.loaded()
        state.work.check_room()

        def answer(data: bytes) -> schemas.Prediction:
            return predicted(served, data)

        return await streamed(request, "files", state, answer)

    @router.post("/similar", openapi_extra=multipart("file"), responses=problems(*UPLOAD))
    async def similar(
        request: Request, k: Annotated[int, Query(ge=1, le=20)] = answers.SIMILAR
    ) -> schemas.Similar:
        """The labelled training images most similar to this radiograph in the classifier's embedding."""
        served = state.loaded()
        answers.cases(served)

        def work(files: list[UploadFile]) -> schemas.Similar:
            pixels = reduced(served, original(files[0].file.read()))
            return answers.similar(served, answered(served, pixels), k)

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
        answers.check_maps(served)
        if label is not None and label not in classes:
            raise Problem(422, "unknown-label", f"label: one of {', '.join(classes)}")

        def work(files: list[UploadFile]) -> Response:
            image = original(files[0].file.read())
            _, activation = answers.activation(served, answered(served, reduced(served, image)), label)
            return Response(overlay(image, activation, alpha), media_type="image/png")

        return await with_files(request, "file", 1, work)

    @router.post("/analyse", openapi_extra=multipart("file"), responses=problems(*UPLOAD))
    async def analyse(request: Request) -> schemas.Analysis:
        """What /predict, /similar and /explain answer, from one decoding and one run of the network."""
        served = state.loaded()

        def work(files: list[UploadFile]) -> schemas.Analysis:
            image = original(files[0].file.read())
            pixels = reduced(served, image)
            analysis = answers.analysis(served, image, pixels, answered(served, pixels))
            state.metrics.count(analysis.prediction.decision, analysis.prediction.unlike)
            return analysis

        return await with_files(request, "file", 1, work)

    return router
