"""From a request's body to the files of photos; nothing is written to disk."""

from http import HTTPStatus
from typing import NamedTuple

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from fashion.names.words import LONGEST
from fashion.service.photos import Refused
from fashion.service.problems import Problem
from fashion.service.settings import Limits
from fashion.wording import many

PART = "photos"
NAME = "name"  # of a product: a field for each photo, in their order
MORE_FIELDS = 4  # of a form, beside its photos and their names
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
        text: The product's name, empty where none was sent.
    """

    name: str
    content: bytes
    refused: Refused | None = None
    text: str = ""


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
        max_fields=limits.max_photos + MORE_FIELDS,
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
        if sum(key not in (PART, NAME) for key, _ in form.multi_items()) > MORE_FIELDS:
            raise _form_problem("", limits)
        texts = checked_texts([str(text) for text in form.getlist(NAME)], len(parts))
        return [
            _sent(_name(part), part.file.read(), limits)._replace(text=text)
            for part, text in zip(parts, texts, strict=True)
        ]
    finally:
        await form.close()


def checked_texts(texts: list[str], number: int, field: str = NAME) -> list[str]:
    """Return the product's name of each photo, as some fields have them.

    Raises:
        Problem: There are some, and not as many as photos, or one is too long.
    """
    if not texts:
        return [""] * number
    if len(texts) != number:
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            f"The form has {many(number, 'photo')} and {many(len(texts), 'field')} {field}; send "
            "one for each photo, in their order, or none.",
        )
    longest = max(map(len, texts))
    if longest > LONGEST:
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            f"A field {field} has {longest:,} characters, where {LONGEST:,} are the most.",
            "bad_name",
        )
    return texts


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
