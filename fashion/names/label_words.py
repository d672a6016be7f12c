"""The words that tell the labels of a catalogue, from which a mask is made."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import NamedTuple

from fashion.names.words import stem, words

DETERMINED = 0.98  # of the photos of each label have its most frequent value of such a column
TIED_NAMES, TIED_SHARE = 20, 0.9  # a word of so many names, so often of one class, tells it
SHORTEST_PART = 4  # letters of a word that is looked for in others, and of what is left
_CAPITALS = re.compile(r"(?<=[a-z])(?=[A-Z])")


class TiedWord(NamedTuple):
    """A word that a training split ties to one class.

    Attributes:
        word: In lower case.
        label: The class.
        names: How many names hold the word.
        share: The share of them that are of the class.
    """

    word: str
    label: str
    names: int
    share: float


def label_words(labels: Iterable[str]) -> list[str]:
    """Return the words of some labels, in order, whole and as people part and join them.

    Of a label of several words also their joined form, of capitals within a word the parts, as of
    `CasualShoes`, and of a word that begins or ends with another what is left, `sweat` of
    `sweatshirts` beside `shirts`.
    """
    found: set[str] = set()
    for label in labels:
        for text in (label, _CAPITALS.sub(" ", label)):
            parts = words(text)
            found.update(parts, ["".join(parts)])
    stems = {stem(word) for word in found}
    whole = [each for each in stems if len(each) >= SHORTEST_PART]
    rests = {
        rest
        for word in stems
        for other in whole
        for rest in (word.removesuffix(other), word.removeprefix(other))
        if rest != word and len(rest) >= SHORTEST_PART
    }
    return sorted((found | rests) - {""})


def determined_columns(
    labels: Sequence[str], columns: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """Return the columns whose value follows from the label, and their values.

    Of the photos that have a value there, 98 % or more have the most frequent one of their label;
    of one that nearly all photos have, that says nothing.

    Args:
        labels: `(N,)`, of the training split.
        columns: Each `(N,)`, by its name; an empty text is no value.
    """
    found = {}
    for name, values in columns.items():
        pairs = Counter(pair for pair in zip(labels, values, strict=True) if pair[1])
        if not pairs:
            continue
        most, total = Counter[str](), Counter[str]()
        for (label, value), count in pairs.items():
            most[label] = max(most[label], count)
            total[value] += count
        number = total.total()
        if most.total() >= DETERMINED * number > max(total.values()):
            found[name] = sorted(total)
    return found


def tied_words(names: Iterable[Sequence[str]], labels: Iterable[str]) -> list[TiedWord]:
    """Return the words that names have in one class nearly alone, by class and number of names.

    They stand in 20 names or more, 90 % of them of one class; where that is the share of a class
    among all names, a word must be rarer in others than that explains.

    Args:
        names: The words of each name.
        labels: The class of each.
    """
    counts, of_label, classes = Counter[str](), Counter[tuple[str, str]](), Counter[str]()
    for kept, label in zip(names, labels, strict=True):
        distinct = set(kept)
        counts.update(distinct)
        of_label.update((word, label) for word in distinct)
        classes[label] += 1
    number, found = classes.total(), []
    for (word, label), count in of_label.items():
        share, elsewhere = count / counts[word], 1 - classes[label] / number
        if counts[word] >= TIED_NAMES and share >= max(TIED_SHARE, 1 - elsewhere / 5):
            found.append(TiedWord(word, label, counts[word], share))
    return sorted(found, key=lambda tied: (tied.label, -tied.names, tied.word))


def read_synonyms() -> list[str]:
    """Return the reviewed list of words for what fashion catalogues label, one a line."""
    text = files("fashion.names").joinpath("synonyms.txt").read_text("utf-8")
    return [line for line in text.split("\n") if line and not line.startswith("#")]
