"""The process that serves: uvicorn, its signals, its first and its last moments."""

import asyncio
import logging
import resource
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from math import ceil
from typing import Any, cast

import uvicorn

from fashion.review.review_store import ReviewStore
from fashion.service import models
from fashion.service.addresses import url
from fashion.service.app import build_app
from fashion.service.logs import write_log
from fashion.service.models import Models
from fashion.service.protocol import PatientProtocol
from fashion.service.service import Service
from fashion.service.settings import Settings
from fashion.wording import many

SPARE_FILES = 128  # beside those of connections
NOTICE_SHARE = 0.25  # of drain_s, in which a balancer notices that it is to look elsewhere
log = logging.getLogger(__name__)


def serve(settings: Settings, bound: socket.socket) -> None:
    """Serve until a signal says otherwise; what was accepted by then is answered.

    Raises:
        FileNotFoundError: There is no bundle.
        ValueError: It is none, or doesn't pass its own test; or the review folder is none.
        OSError: The review folder can't be written.
    """
    review = None
    if settings.review is not None:
        review = ReviewStore(settings.review, max_gb=settings.review_gb, blind=settings.blind)
    first = models.load(settings.bundle, int8=settings.int8, precision=settings.precision)
    service = Service(settings, Models(first, settings.bundle), review=review)
    write_log(debug=settings.debug)
    for each in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises a signal again when all is done, which would end the process by it.
        signal.signal(each, lambda *_: sys.exit(0))
    Server(service, bound).run([bound])


class Server(uvicorn.Server):
    """uvicorn's server, which says what it serves, takes another bundle, and ends without haste.

    Args:
        service: What is served.
        bound: Where.
    """

    def __init__(self, service: Service, bound: socket.socket) -> None:
        limits = service.settings.limits
        most = min(limits.connections, _allow_files(limits.connections) - SPARE_FILES)
        protocol = partial(PatientProtocol, receive_s=limits.receive_s, most=most)
        config = uvicorn.Config(
            build_app(service),
            http=cast(Any, protocol),
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=ceil(limits.drain_s),
        )
        super().__init__(config)
        self._service = service
        self._url = url(bound)
        self._is_hurried = False
        self._begun: set[asyncio.Future[Any]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin, and say so."""
        await super().startup(sockets)
        if threading.current_thread() is threading.main_thread():
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        sys.stdout.write(self._greeting())
        sys.stdout.flush()
        if self._service.settings.open:
            await asyncio.to_thread(webbrowser.open, self._url)

    def handle_exit(self, sig: int, frame: Any) -> None:  # noqa: ANN401
        """Begin to end: by Ctrl-C at once, else in time for a balancer to notice."""
        self._service.is_draining = True
        self._is_hurried |= sig == signal.SIGINT
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End, when what was accepted is answered."""
        end = self._service.settings.limits.drain_s * NOTICE_SHARE
        while end > 0 and not self._is_hurried:
            await asyncio.sleep(0.1)
            end -= 0.1
        self._accept_waiting(sockets or [])
        await super().shutdown(sockets)

    def _accept_waiting(self, sockets: list[socket.socket]) -> None:
        """Take in the connections that the system has made and nobody has accepted.

        To close the sockets would reset them, on a busy machine with requests under way.
        """
        loop = asyncio.get_running_loop()
        protocol = partial(
            cast(Any, self.config.http_protocol_class),
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        for each in sockets:
            with suppress(OSError):  # BlockingIOError: there are no more
                while True:
                    connection, _ = each.accept()
                    self._keep(loop.connect_accepted_socket(protocol, connection))

    def _reload(self) -> None:
        self._keep(asyncio.to_thread(self._service.reload))

    def _keep(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Begin something, and refer to it until it has ended, as asyncio doesn't."""
        task = asyncio.ensure_future(coroutine)
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)

    def _greeting(self) -> str:
        model = self._service.models.current
        settings = self._service.settings
        token = "" if settings.token is None else " -H 'Authorization: Bearer TOKEN'"
        classes = many(len(model.network.class_names), "class", "classes")
        lines = [
            f"{model.name} labels photos as one of {classes} at {self._url} (Ctrl-C ends it)",
            f"  try: curl{token} -H 'Content-Type: image/jpeg' --data-binary @photo.jpg "
            f"{self._url}/v1/predict",
        ]
        return "\n".join(lines) + "\n"


def _allow_files(connections: int) -> int:
    """Have the system let this process open as many files as it needs; return how many it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return connections + SPARE_FILES if soft == resource.RLIM_INFINITY else soft
