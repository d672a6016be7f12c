"""From a request's body to the files of photos; nothing is written to disk."""

from http import HTTPStatus
from typing import NamedTuple

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from fashion.service.photos import Refused
from fashion.service.problems import Problem
from fashion.service.settings import Limits

PART = "photos"
MORE_FIELDS = 4  # of a form, beside its photos
MAX_NAME_BYTES = 1024
UNNAMED = "photo"
RAW = ("image/", "application/octet-stream")
FORM = "multipart/form-data"


class Sent(NamedTuple):
    """A photo as it came.

    Attributes:
        name: As it was sent.
        content: Its file.
        refused: What is wrong with it already, if anything is.
    """

    name: str
    content: bytes
    refused: Refused | None = None


class _Form(MultiPartParser):
    spool_max_size = 2**62  # photos are kept in memory, whose limit is that of the body


def media_type(request: Request) -> str:
    """Return what a body is said to be, in small letters, without parameters."""
    return request.headers.get("content-type", RAW[1]).partition(";")[0].strip().lower()


async def read_form(request: Request, limits: Limits) -> list[Sent]:
    """Return the photos of a form, one at least, in their order.

    Raises:
        Problem: The form is broken, or has too much or nothing in it.
    """
    parser = _Form(
        request.headers,
        request.stream(),
        max_files=limits.max_photos,
        max_fields=MORE_FIELDS,
    )
    try:
        form = await parser.parse()
    except (MultiPartException, UnicodeError) as error:
        raise _form_problem(str(getattr(error, "message", "")), limits) from None
    try:
        parts = [part for part in form.getlist(PART) if isinstance(part, UploadFile)]
        if not parts:
            raise Problem(
                HTTPStatus.BAD_REQUEST,
                f"The form has no file in a part {PART}; send -F {PART}=@photo.jpg, once a photo.",
            )
        return [_sent(_name(part), part.file.read(), limits) for part in parts]
    finally:
        await form.close()


def checked_name(name: str) -> str:
    """Return a name that isn't too long.

    Raises:
        Problem: It is.
    """
    if refused := _refused_name(name):
        raise Problem(HTTPStatus.BAD_REQUEST, f"name {refused.reason}")
    return name


def _name(part: UploadFile) -> str:
    """Return a file's name; what some encodings leave of half characters is no text."""
    return (part.filename or UNNAMED).encode("utf-8", "replace").decode()


def _sent(name: str, content: bytes, limits: Limits) -> Sent:
    if refused := _refused_name(name):
        return Sent(name[:80] + "…", b"", refused)
    if len(content) > limits.max_bytes:
        reason = (
            f"has {len(content) / 1e6:.1f} MB, more than the {limits.max_mb:g} MB that max_mb "
            "allows; send a smaller file."
        )
        return Sent(name, b"", Refused("too_large", reason))
    return Sent(name, content)


def _refused_name(name: str) -> Refused | None:
    size = len(name.encode("utf-8", "replace"))
    if size <= MAX_NAME_BYTES:
        return None
    return Refused("bad_name", f"has {size:,} bytes, where {MAX_NAME_BYTES:,} are the most.")


def _form_problem(message: str, limits: Limits) -> Problem:
    if message.startswith("Too many files"):
        return Problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"The form has more photos than max_photos={limits.max_photos} allows; send fewer at a "
            "time.",
            "too_many",
        )
    return Problem(
        HTTPStatus.BAD_REQUEST,
        f"The form can't be read: it is broken, or has more than {MORE_FIELDS} fields beside its "
        f"photos; send each photo as a file in a part {PART}.",
    )
