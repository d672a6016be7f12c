"""What of a name a model may read: everything but the words that say the label.

One function does it wherever names are read: in training, evaluation, prediction and the service.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

from fashion.names.words import compounds, stem

MASKS = ("types", "synonyms", "none")
SHORTEST = 2  # letters of a word that is kept
SHORTEST_AFFIX = 5  # letters of a stem that is also found at either end of a longer word
MOST_WORDS, LONGEST_WORD = 20_000, 100  # of a list that is read from a file
LISTS = ("labels", "synonyms", "tied")


@dataclass(frozen=True)
class Mask:
    """Takes the words out of a name that tell its label.

    Attributes:
        kind: Of `MASKS`.
        labels: The words of all labels, as people write them; a label of several words also joined.
        synonyms: Other words for what the labels name; empty but for `synonyms`.
        tied: Words that the training split ties to one class; empty but for `synonyms`.

    Raises:
        ValueError: The kind is unknown, or a list is none of words or too long.
    """

    kind: str
    labels: Sequence[str] = ()
    synonyms: Sequence[str] = ()
    tied: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Refuse what can't be a mask."""
        if self.kind not in MASKS:
            raise ValueError(f"the mask is {self.kind!r}; expected {', '.join(MASKS)}.")
        for name in LISTS:
            listed = getattr(self, name)
            if not isinstance(listed, (list, tuple)) or len(listed) > MOST_WORDS:
                raise ValueError(f"the mask's {name} must be a list of at most {MOST_WORDS:,}.")
            if not all(isinstance(word, str) and len(word) <= LONGEST_WORD for word in listed):
                raise ValueError(
                    f"the mask's {name} must be words of at most {LONGEST_WORD} letters."
                )

    @cached_property
    def stems(self) -> frozenset[str]:
        """The stems of all words that are taken out; none where the kind is `none`."""
        if self.kind == "none":
            return frozenset()
        return frozenset(stem(word) for name in LISTS for word in getattr(self, name))

    def keep(self, name: str) -> list[str]:
        """Return the words of a name that are left, in lower case and in their order.

        A word goes where it, one of the parts that its hyphens join or the letters in it have the
        stem of a masked word, and where it begins or ends with one of five letters or more, as
        `wristwatch` does. Of those left two go that joined have such a stem, as `back pack` does.
        What is left depends on no word that goes, so that none can be told from it.
        """
        joined = ["".join(parts) for parts in compounds(name) if not self.tells(parts)]
        left = [word for word in joined if len(word) >= SHORTEST]
        gone = [stem(first + second) in self.stems for first, second in pairwise(left)]
        return [
            word
            for word, before, after in zip(left, [False, *gone], [*gone, False], strict=False)
            if not (before or after)
        ]

    def tells(self, parts: Sequence[str]) -> bool:
        """Return whether a word, given as the parts that its hyphens join, is taken out."""
        return self._tells(tuple(parts))

    def state(self) -> dict[str, Any]:
        """Return plain lists, from which `from_state` makes the same mask."""
        return {"kind": self.kind, **{name: list(getattr(self, name)) for name in LISTS}}

    @classmethod
    def from_state(cls, state: object) -> "Mask":
        """Rebuild what `state` returned.

        Raises:
            ValueError: It is something else, or too large.
        """
        if not isinstance(state, Mapping) or not {"kind", *LISTS} <= state.keys():
            raise ValueError(f"the mask lacks one of kind, {', '.join(LISTS)}.")
        return cls(state["kind"], *(state[name] for name in LISTS))

    @cached_property
    def _tells(self) -> Callable[[tuple[str, ...]], bool]:
        """Whether a word, given as the parts that its hyphens join, says a label."""
        stems = self.stems

        def is_masked(form: str) -> bool:
            found = stem(form)
            ends = range(SHORTEST_AFFIX, len(found))
            return found in stems or any(
                found[:end] in stems or found[-end:] in stems for end in ends
            )

        def tells(parts: tuple[str, ...]) -> bool:
            joined = "".join(parts)
            runs = re.findall(r"[^\W\d_]+", joined)  # shirt of shirt2
            pairs = map("".join, pairwise(parts))
            return any(map(is_masked, {joined, *parts, *runs, *pairs}))

        return lru_cache(2**16)(tells)  # a catalogue has few words, each in many names
