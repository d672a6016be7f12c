"""The routes of the API."""

import logging
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from fashion.service.models import ServedModel
from fashion.service.photos import Labelled, Outcome
from fashion.service.problems import Problem
from fashion.service.replies import (
    ModelFacts,
    Prediction,
    ProblemFacts,
    health,
    is_sure,
    likeliest,
    model_facts,
    model_name,
    photo_labels,
)
from fashion.service.service import Service
from fashion.service.uploads import (
    FORM,
    NAME,
    PART,
    RAW,
    Sent,
    checked_name,
    checked_texts,
    media_type,
    read_form,
)

TOP = 5
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status.value: {"model": ProblemFacts, "description": status.phrase}
    for status in (
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.SERVICE_UNAVAILABLE,
    )
}
BINARY = {"schema": {"type": "string", "format": "binary"}}
PHOTO_FORM = {
    "schema": {
        "type": "object",
        "required": [PART],
        "properties": {
            PART: {"type": "array", "items": BINARY["schema"]},
            NAME: {
                "type": "array",
                "items": {"type": "string"},
                "description": "The product's name of each photo, in their order.",
            },
        },
    }
}
BODY = {
    "requestBody": {
        "required": True,
        "content": {"image/*": BINARY, "application/octet-stream": BINARY, FORM: PHOTO_FORM},
    }
}
log = logging.getLogger(__name__)


def router(service: Service) -> APIRouter:
    """Return the routes over a service."""
    routes = APIRouter()
    limits = service.settings.limits

    @routes.post("/v1/predict", response_model=Prediction, responses=PROBLEMS, openapi_extra=BODY)
    async def predict(
        request: Request,
        top: Annotated[int, Query(ge=1)] = TOP,
        name: str = "photo",
        product: str = "",
    ) -> Response:
        """Label one photo, the body, or several, the parts `photos` of a form.

        `name` is that of the file, and `product` what its product is called, which helps where the
        model reads names. A form has them in itself.
        """
        model = service.models.current
        kind = media_type(request)
        if kind != FORM and not kind.startswith(RAW):
            raise _unknown_kind(kind)
        service.check_place()
        if kind == FORM:
            sent = await read_form(request, limits)
        else:
            [text] = checked_texts([product], 1, "product")
            sent = [Sent(checked_name(name), await request.body(), text=text)]
        outcomes = await service.label(sent, model, request)
        count(service, model, outcomes, request, [each.name for each in sent])
        if kind != FORM:
            refuse(sent[0].name, outcomes[0])
        kept = await service.offer(sent, outcomes, model)
        photos = [
            photo_labels(each.name, outcome, model, top, review)
            for each, outcome, review in zip(sent, outcomes, kept, strict=True)
        ]
        return JSONResponse({"model": model_name(model), "photos": photos})

    @routes.get("/v1/model", response_model=ModelFacts)
    async def model() -> Response:
        """Tell what labels here."""
        return JSONResponse(
            model_facts(service.models.current, limits, review=service.review is not None)
        )

    @routes.get("/livez")
    async def livez() -> dict[str, str]:
        """Answer, as long as there is somebody to answer."""
        return health("ok")

    @routes.get("/readyz")
    async def readyz() -> Response:
        """Tell whether requests are wanted here."""
        status = service.status
        more = {"reload": "refused; the log says why"} if service.models.failure else {}
        return JSONResponse(health(status, more), 200 if status == "ready" else 503)

    @routes.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Tell what was counted, in Prometheus' form."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return routes


def refuse(name: str, outcome: Outcome) -> None:
    """Raise what is wrong with the one photo of a request, if anything is."""
    if isinstance(outcome, Labelled):
        return
    is_large = outcome.code.startswith("too_")
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE if is_large else HTTPStatus.UNPROCESSABLE_ENTITY
    raise Problem(status, f"{name} {outcome.reason}", outcome.code)


def count(
    service: Service,
    model: ServedModel,
    outcomes: list[Outcome],
    request: Request,
    names: list[str],
) -> None:
    """Count what became of a request's photos."""
    service.metrics.refused([each.code for each in outcomes if not isinstance(each, Labelled)])
    for outcome in outcomes:
        if isinstance(outcome, Labelled):
            [(label, confidence)] = likeliest(model.network.heads, outcome, 1)
            service.metrics.labelled(label, confidence, is_sure(outcome, model))
    request.state.told["photos"] = len(outcomes)
    log.debug("photos of request %s", request.state.told["id"], extra={"facts": {"names": names}})


def _unknown_kind(kind: str) -> Problem:
    return Problem(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        f"Content-Type {kind[:80]!r} is not taken; send a photo as image/jpeg, image/png and so on "
        f"or application/octet-stream, or several as {FORM}.",
    )
