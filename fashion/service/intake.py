"""How much of requests is taken in, and for how long: limits before anything is parsed."""

import asyncio
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fashion.service.problems import Problem, busy, reply
from fashion.service.settings import MEGABYTE, Limits

PHOTO_ROUTES = ("/v1/predict", "/hf")
SMALL = MEGABYTE  # the body of any other route


class Intake:
    """Refuses bodies that are too large or too slow, and ends what takes too long.

    Args:
        app: What is behind.
        limits: See `Limits`.

    Attributes:
        held: The bytes of all bodies that are in memory.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits
        self.held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_started = False

        async def send_on(message: Message) -> None:
            nonlocal is_started
            is_started = True
            await send(message)

        body = _Body(self, receive, self._most(scope))
        try:
            body.check_said(Headers(scope=scope).get("content-length", ""))
            async with asyncio.timeout(self._limits.deadline_s):
                await self._app(scope, body.receive, send_on)
        except (Problem, TimeoutError) as error:
            if is_started:
                raise
            problem = error if isinstance(error, Problem) else self._late()
            await reply(problem)(scope, receive, send)
        finally:
            self.held -= body.size

    def hold(self, size: int) -> None:
        """Count bytes that are held in memory.

        Raises:
            Problem: There is no room for them.
        """
        self.held += size
        if self.held > self._limits.buffer_bytes:
            raise busy(
                f"All requests together have more than the {self._limits.buffer_mb:g} MB that "
                "buffer_mb allows; try again in a moment."
            )

    def slow(self) -> Problem:
        """Return what is said of a body that isn't there in time."""
        return Problem(
            HTTPStatus.REQUEST_TIMEOUT,
            f"The body wasn't there within the {self._limits.receive_s:g} s of receive_s; send it "
            "faster, or in smaller requests.",
        )

    @property
    def receive_s(self) -> float:
        """The seconds for a body."""
        return self._limits.receive_s

    def _most(self, scope: Scope) -> tuple[int, str]:
        """Return the most bytes of a body, and what limits them."""
        if scope["path"] not in PHOTO_ROUTES:
            return SMALL, "1 MB, the most here"
        media_type = Headers(scope=scope).get("content-type", "").lower()
        if media_type.startswith("multipart/"):
            most = self._limits.max_request_mb
            return self._limits.max_request_bytes, f"the {most:g} MB that max_request_mb allows"
        if media_type.startswith("application/json"):  # base64 takes a third more
            most = self._limits.max_bytes * 4 // 3 + SMALL
        else:
            most = self._limits.max_bytes
        return most, f"the {self._limits.max_mb:g} MB that max_mb allows"

    def _late(self) -> Problem:
        return busy(
            f"The reply wasn't there within the {self._limits.deadline_s:g} s of deadline_s; try "
            "again in a moment.",
            "late",
        )


class _Body:
    """The body of one request, as it comes."""

    def __init__(self, intake: Intake, receive: Receive, most: tuple[int, str]) -> None:
        self.size = 0
        self._intake = intake
        self._receive = receive
        self._most, self._told = most
        self._deadline = asyncio.get_running_loop().time() + intake.receive_s
        self._is_whole = False

    def check_said(self, length: str) -> None:
        """Refuse what its header says is too large."""
        if length.isdecimal() and int(length) > self._most:
            raise self._too_large()

    async def receive(self) -> Message:
        """Return the next part of it; behind it, wait for the client to go."""
        if self._is_whole:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise self._intake.slow() from None
        size = len(message.get("body", b""))
        self._is_whole = not message.get("more_body", False)
        self.size += size
        self._intake.hold(size)
        if self.size > self._most:
            raise self._too_large()
        return message

    def _too_large(self) -> Problem:
        return Problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"The body has more than {self._told}; send less at a time.",
        )
