"""Which letters a figure can be written in: those of its own font, and of what is installed."""

import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache

from matplotlib import font_manager, ft2font
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text

OWN = "DejaVu Sans"  # comes with matplotlib
WEIGHTS = ("normal", "bold")
BOXES = "Last Resort"  # how fonts are called that have a box for every letter
# Without it letters that join or turn around, as Arabic ones do, stand each on its own.
CAN_SHAPE = hasattr(ft2font, "__libraqm_version__")


def without_invisible(text: str) -> str:
    """Leave out what shows nothing and what fonts need not have: controls, variation selectors."""
    return "".join(
        letter
        for letter in text
        if unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Co", "Cn")
        and not 0xFE00 <= ord(letter) <= 0xFE0F
    )


def undrawable(text: str) -> set[str]:
    """Return the letters of a text that no font of this machine has."""
    lacking = {letter for letter in text if not _is_own(letter)}
    if not CAN_SHAPE:
        joined = {letter for letter in text if _needs_shaping(letter)}
        return joined | (lacking - joined - _covered(lacking - joined))
    return lacking - _covered(lacking)


def use_fonts(figure: Figure) -> None:
    """Have a figure's texts take letters that their font lacks from installed ones."""
    texts = figure.findobj(Text)
    lacking = {letter for text in texts for letter in text.get_text() if not _is_own(letter)}
    families = _fallbacks(frozenset(lacking - {"\n"}))
    if families:
        for text in texts:
            text.set_fontfamily([OWN, *families])


@cache
def _is_own(letter: str) -> bool:
    return all(ord(letter) in _letters(_own_path(weight)) for weight in WEIGHTS)


def _needs_shaping(letter: str) -> bool:
    is_turned = unicodedata.bidirectional(letter) in ("R", "AL", "AN")
    is_mark = unicodedata.category(letter) in ("Mn", "Mc") and ord(letter) >= 0x0590
    return is_turned or is_mark


def _covered(letters: Iterable[str]) -> set[str]:
    letters = frozenset(letters)
    covered: set[str] = set()
    for family in _fallbacks(letters):
        covered |= {letter for letter in letters if ord(letter) in _letters(_paths()[family])}
    return covered


@cache
def _fallbacks(letters: frozenset[str]) -> tuple[str, ...]:
    """Choose installed families, few of them, that have as many of some letters as there are."""
    families: list[str] = []
    lacking = {ord(letter) for letter in letters}
    while lacking:
        family = max(_paths(), key=lambda name: _rank(name, lacking), default=None)
        found = lacking & _letters(_paths()[family]) if family else set()
        if not found:
            break
        if family and _can_draw(_paths()[family], min(found)):
            families.append(family)
            lacking -= found
        else:
            _paths().pop(str(family))
    return tuple(families)


def _rank(family: str, lacking: set[int]) -> tuple[int, bool, bool, str]:
    """Prefer what has the most, then what goes with a plain font."""
    number = len(lacking & _letters(_paths()[family]))
    return number, "Sans" in family, "Mono" not in family, family


def _can_draw(path: str, code: int) -> bool:
    """Tell whether matplotlib can draw with a font, which holds for outlines, not for pictures."""
    try:
        font = ft2font.FT2Font(path)
        font.set_size(12, 72)
        return font.load_char(code).width > 0
    except (RuntimeError, OSError):
        return False


@cache
def _paths() -> dict[str, str]:
    """Return the file of each installed family, upright and of ordinary weight where there is."""
    return dict(_upright())


def _upright() -> Iterator[tuple[str, str]]:
    def plainness(entry: font_manager.FontEntry) -> tuple[bool, bool]:
        return entry.style == "normal", entry.weight in (400, "normal", "regular")

    for entry in sorted(font_manager.fontManager.ttflist, key=plainness):  # the last one stays
        if not entry.name.startswith((BOXES, OWN)):
            yield entry.name, entry.fname


@cache
def _own_path(weight: str) -> str:
    return font_manager.findfont(FontProperties(family=OWN, weight=weight))


@cache
def _letters(path: str) -> frozenset[int]:
    try:
        return frozenset(ft2font.FT2Font(path).get_charmap())
    except (RuntimeError, OSError):
        return frozenset()
