"""uvicorn's HTTP/1.1, for clients that dawdle: what it waits for has an end."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

LINGER_S = 5.0  # for the rest of a body that nobody wants, and of a reply that nobody reads
GRACE_S = 1.0  # for the request of a connection that was made just before the end
PROBLEM = (
    b'{"type":"about:blank","title":"Service Unavailable","status":503,"code":"busy",'
    b'"detail":"Too many connections are open; try again in a moment."}'
)
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
    b"Retry-After: 1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
) % (len(PROBLEM), PROBLEM)


class PatientProtocol(H11Protocol):
    """A connection.

    uvicorn waits for a request's header, and for the end of a body after an early reply, as long as
    the client sends anything or nothing at all.

    Args:
        receive_s: The seconds for a header, and for a client that doesn't read its reply.
        most: Connections that may be open.
        kwargs: Of uvicorn's.
    """

    def __init__(self, *, receive_s: float, most: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._receive_s = receive_s
        self._most = most
        self._clocks: dict[str, asyncio.TimerHandle] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        if len(self.connections) > self._most:
            transport.write(FULL)
            transport.close()
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take what has come; once a request has begun, the application has clocks of its own."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._has_begun():
            self._stop("read")

    def on_response_complete(self) -> None:
        """Begin to wait for the next request, or for the rest of this one's body."""
        super().on_response_complete()
        if not self._has_begun():
            self._wait()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection without requests."""
        super().timeout_keep_alive_handler()
        self._wait()

    def pause_writing(self) -> None:
        """Begin to wait for the client to read."""
        super().pause_writing()
        self._start("write", self._receive_s)

    def resume_writing(self) -> None:
        """Go on, for it does."""
        self._stop("write")
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop("read")
        self._stop("write")
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """End when the service does; a request that is on its way is still answered."""
        if self.cycle is None:
            self.loop.call_later(GRACE_S, self._shut_down)
        else:
            self._shut_down()

    def _shut_down(self) -> None:
        if not self.transport.is_closing():
            super().shutdown()

    def _has_begun(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        """Give the client the seconds that it has, for whatever it owes."""
        owes_body = self.cycle is not None and self.cycle.more_body
        is_ending = self.transport.is_closing() or owes_body
        self._start("read", LINGER_S if is_ending else self._receive_s)

    def _start(self, clock: str, seconds: float) -> None:
        """Cut the client off after some seconds, unless the clock is stopped before."""
        self._stop(clock)
        self._clocks[clock] = self.loop.call_later(seconds, self.transport.abort)

    def _stop(self, clock: str) -> None:
        if running := self._clocks.pop(clock, None):
            running.cancel()
