"""The route that Hugging Face's client calls: `InferenceClient(model=URL).image_classification`."""

import asyncio
import base64
import json
from http import HTTPStatus
from typing import NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from fashion.service.photos import Labelled
from fashion.service.problems import Problem
from fashion.service.replies import likeliest
from fashion.service.routes import BINARY, PROBLEMS, TOP, count, refuse
from fashion.service.service import Service
from fashion.service.uploads import UNNAMED, Sent, media_type

JSON = "application/json"
ASKED = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": BINARY,
            JSON: {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "inputs": {"type": "string", "description": "The photo in base64."},
                        "parameters": {"type": "object"},
                    },
                }
            },
        },
    }
}


class _Asked(NamedTuple):
    content: bytes
    top: int = TOP


def router(service: Service) -> APIRouter:
    """Return the route over a service."""
    routes = APIRouter()

    @routes.post("/hf", responses=PROBLEMS, openapi_extra=ASKED)
    async def classify(request: Request) -> Response:
        """Label one photo, the body itself or in base64, for Hugging Face's client."""
        model = service.models.current
        service.check_place()
        body = await request.body()
        is_json = media_type(request) == JSON
        asked = await asyncio.to_thread(_read, body) if is_json else _Asked(body)
        [outcome] = outcomes = await service.label([Sent(UNNAMED, asked.content)], model, request)
        count(service, model, outcomes, request, [UNNAMED])
        refuse("The photo", outcome)
        assert isinstance(outcome, Labelled)
        labels = likeliest(model.network.heads, outcome, asked.top)
        return JSONResponse([{"label": label, "score": round(score, 6)} for label, score in labels])

    return routes


def _read(body: bytes) -> _Asked:
    try:
        told = json.loads(body)
        content = base64.b64decode(told["inputs"], validate=True)
        parameters = told.get("parameters") or {}
        top, function = parameters.get("top_k"), parameters.get("function_to_apply")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            'The body is no JSON of the form {"inputs": BASE64, "parameters": {"top_k": 5}}.',
        ) from None
    if top is not None and (type(top) is not int or top < 1):
        raise Problem(
            HTTPStatus.BAD_REQUEST, f"top_k={repr(top)[:60]} must be a whole number from 1."
        )
    if function not in (None, "softmax"):
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            f"function_to_apply={repr(function)[:60]} is unknown; softmax is what there is.",
        )
    return _Asked(content, top or TOP)
