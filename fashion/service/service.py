"""What the routes share: the settings, the model, the line of photos, what is counted."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from fastapi import Request

from fashion.review.review_store import ReviewStore
from fashion.service.line import FullError, LateError, Line
from fashion.service.metrics import Metrics
from fashion.service.models import Models, ServedModel
from fashion.service.photos import Labelled, Outcome, Photo
from fashion.service.problems import Problem, busy
from fashion.service.replies import is_sure, likeliest
from fashion.service.settings import Settings
from fashion.service.uploads import Sent

MOST_LABELS = 5  # of a photo that is kept for review
CROWDED_S = 5  # without half of the queue free, from when on a balancer is to look elsewhere


@dataclass
class Service:
    """One service.

    Attributes:
        settings: What it was told.
        models: The model that it serves.
        metrics: What it counts.
        review: Where photos are kept for people to decide on, if they are.
        line: Where photos wait.
        is_draining: Whether it is about to end.
    """

    settings: Settings
    models: Models
    metrics: Metrics = field(default_factory=Metrics)
    review: ReviewStore | None = None
    line: Line = field(init=False)
    is_draining: bool = False

    def __post_init__(self) -> None:
        """Begin to wait for photos."""
        self.line = Line(self.settings.limits, self.metrics)
        self.metrics.serve(self.models.current)

    @property
    def status(self) -> str:
        """Whether it is `ready`, `draining` or `overloaded`."""
        if self.is_draining:
            return "draining"
        return "overloaded" if self.line.crowded_s() > CROWDED_S else "ready"

    def reload(self) -> None:
        """Load the bundle again; see `Models.reload`."""
        is_taken = self.models.reload()
        self.metrics.reloads.labels("taken" if is_taken else "refused").inc()
        self.metrics.serve(self.models.current)
        if self.review is not None and is_taken:
            self.review.know_classes(self.models.current.network.class_names)

    def check_place(self) -> None:
        """Refuse a request before its body is read, if there is no place for a photo.

        Raises:
            Problem: There is none.
        """
        if self.line.free < 1:
            raise self._full()

    async def label(
        self, sent: Sequence[Sent], model: ServedModel, request: Request
    ) -> list[Outcome]:
        """Return what becomes of photos, in their order.

        When the client goes, or the request is given up, they are given up, too.

        Raises:
            Problem: There is no place for them, or their time has passed.
        """
        deadline = time.monotonic() + self.settings.limits.deadline_s
        photos = [
            Photo(each.name, each.content, model, deadline) for each in sent if not each.refused
        ]
        try:
            self.line.enter(photos)
        except FullError:
            raise self._full() from None
        waiting = asyncio.gather(*(asyncio.wrap_future(photo.outcome) for photo in photos))
        leaving = asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait((waiting, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                raise ClientGone
            outcomes = iter(waiting.result())
        except LateError:
            raise busy("The photos' time passed before their turn came.", "late") from None
        finally:
            leaving.cancel()
            for photo in photos:
                photo.outcome.cancel()
        return [each.refused or next(outcomes) for each in sent]

    async def offer(
        self, sent: Sequence[Sent], outcomes: Sequence[Outcome], model: ServedModel
    ) -> list[str | None]:
        """Keep the photos that people are to decide on; return of each why it was kept, if so."""
        if self.review is None:
            return [None] * len(sent)
        return await asyncio.to_thread(_offer, self.review, sent, outcomes, model)

    def _full(self) -> Problem:
        return busy(
            f"As many photos wait as queue={self.settings.limits.queue} allows; try again in a "
            "moment."
        )


def _offer(
    review: ReviewStore, sent: Sequence[Sent], outcomes: Sequence[Outcome], model: ServedModel
) -> list[str | None]:
    kinds: list[str | None] = []
    for each, outcome in zip(sent, outcomes, strict=True):
        if not isinstance(outcome, Labelled) or model.threshold is None:
            kinds.append(None)
            continue
        kept = review.offer(
            each.content,
            sha256=outcome.sha256,
            name=each.name,
            size=(outcome.width, outcome.height),
            labels=likeliest(model.network.heads, outcome, MOST_LABELS),
            sure=bool(is_sure(outcome, model)),
            model=f"{model.id} int8" if model.int8 else model.id,
            threshold=model.threshold,
        )
        kinds.append(kept)
    return kinds


class ClientGone(Exception):  # noqa: N818 - no error of ours
    """Nobody waits for the reply any more."""


async def _gone(request: Request) -> None:
    """Return when the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
