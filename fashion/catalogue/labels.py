"""Labels as people write them: cleaned, compared, and told from what stands for none."""

import unicodedata
from collections.abc import Iterable

INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff"  # at either end; str.strip takes them for letters
ACCENTS = frozenset(map(chr, range(0x300, 0x370)))  # a dakuten makes another letter, an accent not
# What programs and people write into a cell that has no value; compared without case.
NO_VALUES = frozenset(
    (
        *("nan", "none", "null", "nil", "nat", "undefined"),
        *("na", "n/a", "n.a.", "#na", "#n/a", "<na>", "(none)", "(blank)", "(empty)"),
        *("-", "--", "---", "\u2013", "\u2014", ".", "?"),
    )
)


def clean_text(text: str) -> str:
    """Return a text without space around it, in Unicode's composed form (NFC)."""
    if text.isascii():
        return text.strip()
    before = None
    while text != before:  # spaces and invisible characters may alternate
        before, text = text, text.strip().strip(INVISIBLE)
    return unicodedata.normalize("NFC", text)


def likeness(label: str) -> str:
    """Return what labels share that differ in case, spaces or accents alone."""
    if label.isascii():
        return "".join(label.split()).lower()
    letters = unicodedata.normalize("NFKD", label)
    kept = "".join(c for c in letters if not (c.isspace() or c in ACCENTS))
    return kept.casefold()


def similar_labels(counts: dict[str, int]) -> list[list[str]]:
    """Group the labels that differ in case, spaces or accents alone.

    Args:
        counts: The photos of each label.

    Returns:
        Groups of two or more labels, the most frequent first.
    """
    groups: dict[str, list[str]] = {}
    for label in sorted(counts, key=lambda label: (-counts[label], label)):
        groups.setdefault(likeness(label), []).append(label)
    return [group for group in groups.values() if len(group) > 1]


def no_values(labels: Iterable[str]) -> list[str]:
    """Return the labels that look like none."""
    return [label for label in labels if label.casefold() in NO_VALUES]
