"""A photo on its way: what was sent, what became of it."""

import hashlib
import re
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fashion.catalogue.images import (
    UnreadableImageError,
    decode_image,
    decode_or_say_why,
    header_facts,
)
from fashion.service.models import ServedModel
from fashion.service.settings import Limits

# What Pillow says of a damaged file may name memory or files of this machine; this may not.
HINT = ": pip install"  # which is for who runs the service
PLAIN = re.compile(r"[\w ,;:()'-]{1,120}", re.ASCII)


@dataclass(frozen=True)
class Labelled:
    """A photo that was labelled.

    Attributes:
        sha256: Of its file.
        width: In pixels, as the next, by the file's header.
        height: See above.
        probabilities: `(K,)` float32.
        name_used: Whether they are by the product's name, too; None where none was sent.
    """

    sha256: str
    width: int
    height: int
    probabilities: NDArray[np.float32]
    name_used: bool | None = None


@dataclass(frozen=True)
class Refused:
    """A photo that can't be labelled.

    Attributes:
        code: For programs: `unreadable`, `too_large`, `too_many_pixels` or `bad_name`.
        reason: In words, to follow the photo's name.
    """

    code: str
    reason: str


Outcome = Labelled | Refused


@dataclass(eq=False)
class Photo:
    """A photo that waits for its labels.

    Attributes:
        name: As it was sent; it is echoed, and nothing else is made of it.
        content: The file; None once it is decoded and nobody asks for it.
        model: By which it is labelled.
        deadline: By `time.monotonic`, when nobody wants its labels any more.
        text: The product's name, empty where none was sent.
        outcome: What becomes of it.
        entered: By `time.monotonic`, when it came.
        decoded: The same, when it was decoded.
        square: As the model takes it, in between.
        facts: Its SHA-256, width and height, in between.
    """

    name: str
    content: bytes
    model: ServedModel
    deadline: float
    text: str = ""
    outcome: "Future[Outcome]" = field(default_factory=Future)
    entered: float = field(default_factory=time.monotonic)
    decoded: float = 0.0
    square: NDArray[np.uint8] | None = None
    facts: tuple[str, int, int] = ("", 0, 0)

    def is_wanted(self) -> bool:
        """Whether somebody still waits for it."""
        return not self.outcome.cancelled() and time.monotonic() < self.deadline

    def end(self, outcome: Outcome | Exception) -> None:
        """Tell what became of it, if somebody still waits."""
        if self.outcome.done() or not self.outcome.set_running_or_notify_cancel():
            return
        if isinstance(outcome, Exception):
            self.outcome.set_exception(outcome)
        else:
            self.outcome.set_result(outcome)


def decode(photo: Photo, limits: Limits) -> Refused | None:
    """Decode a photo to what its model takes; return what is wrong with it, if anything is."""
    try:
        header = header_facts(photo.content)
    except UnreadableImageError as error:
        return _unreadable(str(error))
    if header.width * header.height > limits.max_pixels:
        return Refused(
            "too_many_pixels",
            f"has {header.width} x {header.height} pixels, more than max_pixels="
            f"{limits.max_pixels} allows; send a smaller one.",
        )
    square = decode_or_say_why(
        partial(decode_image, photo.content, **photo.model.network.preprocessing)
    )
    if isinstance(square, str):
        return _unreadable(square)
    digest = hashlib.sha256(photo.content).hexdigest()
    photo.square, photo.facts = square, (digest, header.width, header.height)
    return None


def _unreadable(reason: str) -> Refused:
    reason = reason.partition(HINT)[0]
    told = reason if PLAIN.fullmatch(reason) else "it is damaged"
    return Refused("unreadable", f"can't be read: {told}.")
