"""Who may call: the Host and the Origin of a request, and its token.

A page of another site can have a browser call a server on this machine, under a name of its own
that leads here. Such a call names another Host or Origin, which the page can't choose.
"""

import hashlib
import hmac
import re
from collections.abc import Collection
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from fashion.service.problems import Problem, reply

HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?", re.IGNORECASE)
OPEN = ("/livez", "/readyz", "/")  # what needs no token; the page asks for one itself
OPEN_BELOW = "/static/"


class Doors:
    """Refuses what another site's page may have sent.

    Args:
        app: What is behind.
        hosts: The names that Host may have, in small letters.
        origins: The sites whose pages may call.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], origins: Collection[str]) -> None:
        self._app = app
        self._hosts = hosts
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and (problem := self._problem(scope)):
            await reply(problem)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _problem(self, scope: Scope) -> Problem | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        name = HOST.fullmatch(host)
        if not name or name[1].lower() not in self._hosts:
            return Problem(
                HTTPStatus.FORBIDDEN,
                f"Host {host[:100]!r} is not among those that hosts= allows.",
                "host",
            )
        origin = headers.get("origin")
        if origin in self._origins:
            return None
        is_own = origin is None or re.sub("^https?://", "", origin).lower() == host.lower()
        is_elsewhere = headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
        is_link = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"
        if not is_own or (is_elsewhere and not is_link):
            return Problem(
                HTTPStatus.FORBIDDEN,
                f"Pages of {(origin or 'another site')[:100]!r} may not call here; name it in "
                "origins= if they are to.",
                "origin",
            )
        return None


class Lock:
    """Asks for the token, which it compares in the same time whatever is sent.

    Args:
        app: What is behind.
        token: The token.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._wanted = _digest(f"Bearer {token}".encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or self._is_let_in(scope):
            await self._app(scope, receive, send)
            return
        problem = Problem(
            HTTPStatus.UNAUTHORIZED,
            "This needs the service's token, as the header Authorization: Bearer TOKEN.",
            headers={"WWW-Authenticate": "Bearer"},
        )
        await reply(problem)(scope, receive, send)

    def _is_let_in(self, scope: Scope) -> bool:
        if scope["path"] in OPEN or scope["path"].startswith(OPEN_BELOW):
            return scope["method"] in ("GET", "HEAD")
        given = dict(scope["headers"]).get(b"authorization", b"")
        return hmac.compare_digest(_digest(given), self._wanted)


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()
