"""The routes by which people see photos kept for review, and decide on them."""

import io
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from PIL import Image
from pydantic import BaseModel, Field

from fashion.catalogue.images import UnreadableImageError, open_image
from fashion.review.decisions import Decision
from fashion.review.kept_photos import SHA256
from fashion.review.queue import AT_MOST
from fashion.review.review_store import ReviewStore
from fashion.service.problems import Problem
from fashion.wording import did_you_mean

SIDE_PX = 1024  # the longer side of a photo that is shown
QUALITY = 88
# Whatever a photo's file may hold beside its pixels, a browser isn't to run it.
SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class SentDecision(BaseModel):
    """What a person says of a photo; see `fashion.review.decisions.Decision`."""

    sha256: str
    label: str | None = None
    kind: Literal["accepted", "corrected", "no_class", "left_out", "undone"]
    at: str


class SentDecisions(BaseModel):
    """Decisions of one person."""

    person: str
    decisions: Annotated[list[SentDecision], Field(max_length=1000)]


def router(store: ReviewStore, class_names: Callable[[], Sequence[str]]) -> APIRouter:
    """Return the routes of a review folder.

    Args:
        store: The folder.
        class_names: Returns the labels that may be given: those of the model of now.
    """
    routes = APIRouter(prefix="/v1/review", tags=["review"])
    store.know_classes(class_names())

    @routes.get("")
    def waiting(
        kind: Literal["unsure", "blind"] | None = None,
        limit: Annotated[int, Query(ge=1, le=AT_MOST)] = 50,
        after: Annotated[str | None, Query(max_length=100)] = None,
    ) -> dict[str, Any]:
        """Return photos that nobody has decided on, blind ones without labels."""
        queue = store.queue(kind, limit, after)
        photos = []
        for photo in queue.photos:
            told = photo._asdict()
            labels = told.pop("labels")
            if labels:
                told["labels"] = [{"label": name, "probability": share} for name, share in labels]
            photos.append(told)
        return {"photos": photos, "left": queue.left, "next": queue.next}

    @routes.get("/photos/{sha256}", response_class=Response)
    def photo(sha256: str) -> Response:
        """Return a photo, encoded again, of at most 1024 pixels a side."""
        content = store.photo(sha256) if SHA256.fullmatch(sha256) else None
        shown = _encoded(content) if content else None
        if shown is None:
            raise Problem(
                HTTPStatus.NOT_FOUND,
                f"sha256={sha256[:64]!r}: no such photo is kept for review; GET /v1/review lists "
                "those that are.",
            )
        name = {"Content-Disposition": f'inline; filename="{sha256[:12]}.jpg"'}
        return Response(shown, media_type="image/jpeg", headers=SAFE | name)

    @routes.post("/decisions")
    def decide(sent: SentDecisions) -> dict[str, Any]:
        """Keep decisions; what was sent before is kept once."""
        known = class_names()
        for each in sent.decisions:
            if each.label is not None and each.label not in known:
                hint = did_you_mean(each.label, known, quoted=True)
                raise Problem(
                    HTTPStatus.UNPROCESSABLE_ENTITY,
                    f"label={each.label!r} is none of the model's classes{hint}; GET /v1/model "
                    "lists them.",
                    "unknown_label",
                )
        try:
            decisions = [Decision(**each.model_dump()) for each in sent.decisions]
            stored = store.decide(sent.person, decisions)
        except ValueError as error:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
        return {"stored": stored.stored, "unknown": stored.unknown}

    return routes


def _encoded(content: bytes) -> bytes | None:
    """Return a photo as a JPEG that holds its pixels alone; None where it can't be decoded."""
    try:
        image = open_image(content, 2 * SIDE_PX)
    except UnreadableImageError:
        return None
    image.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
