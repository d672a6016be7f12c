"""Names as figures can show them: short, in letters that there are, and never two alike."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from fashion.reports.letters import undrawable, without_invisible

MAX_NAME = 26  # as wide as so many Latin letters
CUT = "…"
KEEPS_PLACE = "\N{LEFT-TO-RIGHT MARK}"  # around a name: numbers beside it stay where they are
SEPARATORS = re.compile(r"[\s/\\|>:,;_]+")


def figure_names(names: Iterable[str], length: int = MAX_NAME) -> dict[str, str]:
    """Return how each of some names is written in figures.

    Names that differ are written differently. What all have in common at the beginning is left out
    where one is too long, then the middle, or what comes before the first difference. A name with
    letters that this machine lacks is its number, see `numbered`, and what is left of it.

    Args:
        names: All that are told apart; of a report its classes, so that each has one number.
        length: How wide they may be.
    """
    names = sorted({str(name) for name in names})
    plain = {name: _in_letters(name, i) for i, name in enumerate(names, 1)}
    short = _shorten(list(dict.fromkeys(plain.values())), length)
    shown: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        label = _untaken(short[plain[name]], taken, length)
        taken.add(label)
        shown[name] = _escape(label)
    return shown


def numbered(names: Iterable[str]) -> dict[str, str]:
    """Return the names that figures can't be written with, by the number that they show instead."""
    names = sorted({str(name) for name in names})
    return {f"#{i}": name for i, name in enumerate(names, 1) if undrawable(without_invisible(name))}


def short_label(text: str, length: int = MAX_NAME) -> str:
    """Make a single text fit; a letter that this machine lacks is a question mark."""
    text = _plain(text)
    lacking = undrawable(text)
    text = "".join("?" if letter in lacking else letter for letter in text)
    return _escape(_cut(re.sub(r"\?{2,}", "?", text) if lacking else text, length))


def width(text: str) -> int:
    """Return how wide a text is, in Latin letters."""
    return sum(_width(letter) for letter in text)


def _width(letter: str) -> int:
    if unicodedata.category(letter) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _plain(text: str) -> str:
    return without_invisible(" ".join(str(text).split()))


def _in_letters(name: str, number: int) -> str:
    name = _plain(name)
    lacking = undrawable(name)
    if not lacking:
        return name
    rest = "".join(" " if letter in lacking else letter for letter in name)
    rest = " ".join(word for word in rest.split() if any(map(str.isalnum, word)))
    return f"#{number} {rest}".strip()


def _escape(label: str) -> str:
    """Keep matplotlib from reading a name: `$` as mathematics, `_x` as what no legend shows."""
    label = (f" {label}" if label.startswith("_") else label).replace("$", r"\$")
    is_turned = any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in label)
    return f"{KEEPS_PLACE}{label}{KEEPS_PLACE}" if is_turned else label


def _untaken(label: str, taken: set[str], length: int) -> str:
    number, free = 2, label
    while free in taken:
        free = f"{_beginning(label, length - 1 - len(str(number)))} {number}"
        number += 1
    return free


def _shorten(names: Sequence[str], length: int) -> dict[str, str]:
    """Shorten names that differ such that, but for rare cases, they still do."""
    rest = {name: name for name in names}
    if any(width(name) > length for name in names) and len(names) > 1:
        start = _word_before(names[0], _in_common(names))
        if start > 3:
            rest = {name: CUT + name[start:] for name in names}
    shown = {name: _cut(rest[name], length) for name in names}
    for group in _alike(shown):
        shown |= _from_difference(group, length)
    return shown


def _from_difference(names: Sequence[str], length: int) -> dict[str, str]:
    """Show names from the word on where they begin to differ."""
    differs = _in_common(names)
    start = _word_before(names[0], differs)
    if width(names[0][start:differs]) > length // 2:
        start = max(0, differs - 3)
    shown = {
        name: _with_end((CUT if start else "") + name[start:].lstrip(), length) for name in names
    }
    for group in _alike(shown):
        if len(group) < len(names):
            shown |= _from_difference(group, length)
    return shown


def _alike(shown: dict[str, str]) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for name, label in shown.items():
        groups.setdefault(label, []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _in_common(names: Sequence[str]) -> int:
    """Return how many letters all names begin with."""
    first, last = min(names), max(names)
    pairs = enumerate(zip(first, last, strict=False))
    return next((i for i, (one, other) in pairs if one != other), len(first))


def _word_before(name: str, place: int) -> int:
    """Return where the word begins that the letter at a place belongs to."""
    ends = [match.end() for match in SEPARATORS.finditer(name) if match.end() <= place]
    return ends[-1] if ends and ends[-1] < len(name) else 0


def _cut(name: str, length: int) -> str:
    """Cut a name in its middle: the most of its end stays, from a word on where one begins."""
    if width(name) <= length:
        return name
    tail = _end(name, 3 * length // 5)
    match = SEPARATORS.search(tail)
    if match and len(tail) - match.end() >= len(tail) // 2:
        tail = tail[match.end() :]
    head = _beginning(name, length - len(CUT) - width(tail))
    return f"{head.rstrip()}{CUT}{tail}"


def _with_end(name: str, length: int) -> str:
    """Cut a name such that the most of its beginning stays."""
    if width(name) <= length:
        return name
    return _beginning(name, length - len(CUT)).rstrip() + CUT


def _beginning(name: str, length: int) -> str:
    """Return the whole letters that are at most so wide, with the marks on them."""
    taken = 0
    for i, letter in enumerate(name):
        taken += _width(letter)
        if taken > length:
            return name[:i]
    return name


def _end(name: str, length: int) -> str:
    start = len(name)
    while start and width(name[start - 1 :]) <= length:
        start -= 1
    end = name[start:]
    while end and unicodedata.category(end[0])[0] == "M":  # its letter is cut off
        end = end[1:]
    return end
