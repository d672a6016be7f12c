"""How sentences tell numbers of things, and words that were mistyped."""

import difflib
from collections.abc import Iterable


def many(number: int, one: str, several: str = "") -> str:
    """Return a number with what is counted, in the singular or the plural.

    Args:
        number: How many there are.
        one: What one of them is called.
        several: What several are called; without it `one` with an s.
    """
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def first_of(names: Iterable[str], most: int = 5) -> str:
    """Return names with commas between them, and dots in place of those above a number."""
    names = list(names)
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """Return which of some words is most like one, whatever its case.

    Of keys such as `data.root` it is one of the same group, or else of any.
    """
    choices = list(choices)
    group, _, last = word.rpartition(".")
    of_group = [other for other in choices if other.rpartition(".")[0] == group]
    for others in (of_group, choices):
        by_last = {other.rpartition(".")[2].casefold(): other for other in reversed(others)}
        last = last.casefold()
        longer = [other for other in by_last if len(last) > 2 and other.startswith(last)]
        if close := difflib.get_close_matches(last, by_last, n=1) or longer:
            return by_last[close[0]]
    return None


def did_you_mean(word: str, choices: Iterable[str], *, quoted: bool = False) -> str:
    """Return a question for the word that may have been meant, to stand within a sentence.

    Args:
        word: What was typed.
        choices: What might have been.
        quoted: Whether it is a text in quotes, such as a label; else it is a key.
    """
    if quoted:  # a dot has no meaning in it
        by_case = {other.casefold(): other for other in choices}
        found = difflib.get_close_matches(word.casefold(), by_case, n=1)
        return f" (did you mean {by_case[found[0]]!r}?)" if found else ""
    close = nearest(word, choices)
    return f" (did you mean {close}?)" if close else ""
