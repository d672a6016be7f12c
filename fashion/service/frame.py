"""What frames each request: its id, the headers of its reply, its line in the log, its count."""

import logging
import re
import secrets
import time
from http import HTTPStatus
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fashion.service.problems import internal, reply
from fashion.service.service import Service

ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
# Of every reply that doesn't say otherwise, as the page does.
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
CLIENT_GONE = 499  # as nginx counts it
log = logging.getLogger(__name__)


class Frame:
    """The outermost part of the service.

    Args:
        app: What is behind.
        service: Whose requests they are.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope).get("x-request-id", "")
        told: dict[str, Any] = {"id": asked if ID.fullmatch(asked) else secrets.token_hex(8)}
        scope.setdefault("state", {})["told"] = told
        began = time.monotonic()
        status = CLIENT_GONE

        async def send_framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._add_headers(MutableHeaders(scope=message), told["id"])
            await send(message)

        try:
            await self._app(scope, receive, send_framed)
        except Exception:
            log.exception("request %s failed", told["id"])
            if status == CLIENT_GONE:
                await reply(internal())(scope, receive, send_framed)
        finally:
            self._tell(scope, status, time.monotonic() - began, told)

    def _add_headers(self, headers: MutableHeaders, request_id: str) -> None:
        for name, value in HEADERS.items():
            headers.setdefault(name, value)
        headers["x-request-id"] = request_id
        if self._service.is_draining:
            headers["connection"] = "close"

    def _tell(self, scope: Scope, status: int, seconds: float, told: dict[str, Any]) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self._service.metrics.requests.labels(route, str(status)).inc()
        self._service.metrics.seconds.observe(seconds)
        facts = {"route": route, "status": status, "ms": round(seconds * 1000, 1), **told}
        level = logging.ERROR if status == HTTPStatus.INTERNAL_SERVER_ERROR else logging.INFO
        log.log(level, "request", extra={"facts": facts})
