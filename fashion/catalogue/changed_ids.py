"""Ids that a spreadsheet has changed, beside what they were."""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from fashion.catalogue.labels import likeness
from fashion.catalogue.listing import stem

TRIED = 20  # unknown ids that are compared with the known ones
NUMBER = re.compile(r"0*(\d+?)([.,]0{1,2})?")
ROUNDED = re.compile(r"(\d)(?:[.,](\d+))?E\+?(\d+)", re.IGNORECASE)


class Change(NamedTuple):
    """What became of an id.

    Attributes:
        id: As it is.
        known: As it was.
        what: In words, and what to do.
    """

    id: str
    known: str
    what: str


def find_change(ids: Iterable[str], known: Iterable[str]) -> Change | None:
    """Find an id that was changed.

    Args:
        ids: Ids that aren't known; the first few are looked at.
        known: Those that are; looked through only where an id looks changed.

    Returns:
        The first, or None.
    """
    known = list(known)
    tried = [id_ for id_, _ in zip(ids, range(TRIED), strict=False)]
    for form, what in FORMS:
        wanted = {key: id_ for id_ in reversed(tried) if (key := form(id_))}
        of_known = {key: id_ for id_ in known if (key := form(id_)) in wanted} if wanted else {}
        for key, id_ in reversed(wanted.items()):
            if key in of_known:
                return Change(id_, of_known[key], what(id_, of_known[key]))
    return _rounded(tried, known)


def _rounded(tried: list[str], known: list[str]) -> Change | None:
    """Find an id in scientific notation, which keeps a few of its digits."""
    match = next(filter(None, map(ROUNDED.fullmatch, tried)), None)
    if match is None:
        return None
    digits, length = match[1] + (match[2] or ""), int(match[3]) + 1
    for was in known:
        if len(was) == length and was.isdecimal():
            mantissa = f"{int(was):.{len(digits) - 1}E}".partition("E")[0]
            if mantissa.replace(".", "") == digits:
                what = "a spreadsheet rounded the number. Export the table with that column as text"
                return Change(match[0], was, what)
    return None


def _number(id_: str) -> str | None:
    if id_.isdecimal():
        return id_.lstrip("0") or "0"
    match = NUMBER.fullmatch(id_)
    return match[1] if match else None


def _what_of_number(id_: str, known: str) -> str:
    ending = NUMBER.fullmatch(id_)[2]  # type: ignore[index]
    if ending:
        return f"a spreadsheet wrote the number with {ending}. Save that column as text"
    lost = len(known) > len(id_)
    return f"its leading zeros are {'lost' if lost else 'more'}. Save that column as text"


def _digits(id_: str) -> str | None:
    """Return a number without the marks between its thousands."""
    if id_.isdecimal():
        return id_ if len(id_) > 3 else None
    return re.sub(r"\D", "", id_) if re.fullmatch(r"\d{1,3}(?:[.,'\u2019\s]?\d{3})+", id_) else None


def _stem(id_: str) -> str:
    return stem(id_.replace("\\", "/").rpartition("/")[2])


FORMS: tuple[tuple[Callable[[str], str | None], Callable[[str, str], str]], ...] = (
    (_number, _what_of_number),
    (_digits, lambda *_: "a spreadsheet parted its thousands. Save that column as text"),
    (_stem, lambda *_: "it is a file's name; data.image_column takes such"),
    (lambda id_: likeness(id_.strip("'")), lambda *_: "they differ in case, spaces or accents"),
)
