"""Errors as `application/problem+json` (RFC 9457), each with one sentence."""

import json
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

CODES = {
    HTTPStatus.BAD_REQUEST: "bad_request",
    HTTPStatus.UNAUTHORIZED: "token",
    HTTPStatus.FORBIDDEN: "forbidden",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method",
    HTTPStatus.REQUEST_TIMEOUT: "slow",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too_large",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "media_type",
    HTTPStatus.UNPROCESSABLE_ENTITY: "unprocessable",
    HTTPStatus.INTERNAL_SERVER_ERROR: "internal",
    HTTPStatus.SERVICE_UNAVAILABLE: "busy",
}
SENTENCES = {
    HTTPStatus.NOT_FOUND: "There is nothing at this address; /openapi.json lists what there is.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This address doesn't take this method; the header Allow has "
    "those that it takes.",
}
RETRY_AFTER_S = 1


class Problem(HTTPException):
    """A request that can't be answered as it is.

    Args:
        status: Of the reply.
        detail: One sentence with the key, the value and the way out.
        code: What a program may ask for; without it that of the status.
        headers: More headers of the reply.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        code: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, detail, headers)
        self.code = code or CODES.get(HTTPStatus(status), "error")


def busy(detail: str, code: str = "busy") -> Problem:
    """Return the problem of a service that can't take more now."""
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, code, headers)


def internal() -> Problem:
    """Return the problem of a fault of the service itself, which tells nothing of it."""
    return Problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "The service failed at this request; its log has why, with the X-Request-ID of this reply.",
    )


def reply(problem: HTTPException) -> Response:
    """Return the reply that tells a problem."""
    status = HTTPStatus(problem.status_code)
    is_ours = isinstance(problem, Problem)
    content = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "code": problem.code if isinstance(problem, Problem) else CODES.get(status, "error"),
        "detail": problem.detail if is_ours else SENTENCES.get(status, f"{problem.detail}."),
    }
    return Response(
        json.dumps(content, ensure_ascii=False).encode("utf-8", "replace"),
        status.value,
        problem.headers,
        "application/problem+json",
    )


def tell_problems(app: FastAPI) -> None:
    """Have an app tell all that goes wrong in this form."""

    @app.exception_handler(HTTPException)
    async def tell(request: Request, error: HTTPException) -> Response:
        return reply(error)

    @app.exception_handler(RequestValidationError)
    async def tell_wrong_values(request: Request, error: RequestValidationError) -> Response:
        return reply(Problem(HTTPStatus.BAD_REQUEST, _wrong_value(error)))

    @app.exception_handler(Exception)
    async def tell_fault(request: Request, error: Exception) -> Response:
        return reply(internal())


def _wrong_value(error: RequestValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or "the body"
    value = repr(first.get("input"))[:60]
    return f"{where}={value} is not as it must be: {first['msg']}."
