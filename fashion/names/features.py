"""Words and pairs of words as weights of hashed places, as scikit-learn computes them.

NumPy and the standard library are enough: what labels photos needs no scikit-learn. Equal to its
`HashingVectorizer` (`n_features=2**16`, `ngram_range=(1, 2)`, `alternate_sign=False`, `norm=None`)
and `TfidfTransformer` (`sublinear_tf=True`).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PLACES = 2**16
_u = np.uint32  # whose products drop what lies above 32 bits


class Features(NamedTuple):
    """What names weigh at each of `PLACES`, row after row.

    Attributes:
        ends: `(N + 1,)` int64, where each row begins and the last one ends.
        places: Of all rows, each once a row, rising.
        values: As `places`, float64.
    """

    ends: NDArray[np.int64]
    places: NDArray[np.int64]
    values: NDArray[np.float64]

    def row(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the places and the values of a name."""
        part = slice(self.ends[number], self.ends[number + 1])
        return self.places[part], self.values[part]


def count_places(names: Sequence[Sequence[str]]) -> Features:
    """Count the words of names, and the pairs of neighbours among them, at their places.

    Args:
        names: The words of each.
    """
    numbers: dict[str, int] = {}  # of each term, as they come
    terms, lengths = list[int](), list[int]()
    for kept in names:
        own = [*kept, *(f"{first} {second}" for first, second in pairwise(kept))]
        terms.extend(numbers.setdefault(term, len(numbers)) for term in own)
        lengths.append(len(own))
    signed = murmur3([term.encode() for term in numbers]).view(np.int32).astype(np.int64)
    places = (abs(signed) % PLACES)[np.array(terms, np.int64)]
    rows = np.repeat(np.arange(len(lengths)), lengths)
    cells, counts = np.unique(rows * PLACES + places, return_counts=True)
    in_row = np.bincount(cells // PLACES, minlength=len(lengths))
    return Features(np.append(0, in_row.cumsum()), cells % PLACES, counts.astype(np.float64))


def inverse_frequencies(counts: Features) -> NDArray[np.float64]:
    """Return how rare each place is among names, `(PLACES,)`, by which `weigh` multiplies."""
    number = len(counts.ends) - 1
    held = np.bincount(counts.places, minlength=PLACES)
    rarity: NDArray[np.float64] = np.log((1 + number) / (1 + held)) + 1
    return rarity


def weigh(counts: Features, rarity: NDArray[np.floating]) -> Features:
    """Weigh counts by `1 + log` and by their rarity, each row then having length 1.

    Args:
        counts: As `count_places` returns them.
        rarity: As `inverse_frequencies` returns it, of the training split.
    """
    values = (1 + np.log(counts.values)) * rarity[counts.places]
    rows = np.repeat(np.arange(len(counts.ends) - 1), np.diff(counts.ends))
    squares = np.bincount(rows, values**2, minlength=len(counts.ends) - 1)
    return counts._replace(values=values / np.sqrt(squares)[rows])


def murmur3(texts: Sequence[bytes]) -> NDArray[np.uint32]:
    """Return the 32 bits of MurmurHash3 (x86, seed 0) of each text, `(N,)`.

    References:
        Austin Appleby, MurmurHash3, https://github.com/aappleby/smhasher (public domain).
    """
    lengths = np.array([len(text) for text in texts], np.int64)
    order = np.argsort(-lengths, kind="stable")  # those that have a further block are in front
    longest_first = lengths[order]
    starts = (lengths.cumsum() - lengths)[order]
    letters = np.frombuffer(b"".join(texts), np.uint8)
    blocks, hashes = longest_first // 4, np.zeros(len(texts), np.uint32)
    for block in range(blocks.max(initial=0)):
        having = np.searchsorted(-blocks, -block)  # blocks fall along the order
        own = letters[starts[:having, None] + 4 * block + np.arange(4)].view("<u4")[:, 0]
        hashes[:having] = _rotated(hashes[:having] ^ _mixed(own), 13) * _u(5) + _u(0xE6546B64)
    tails = np.zeros(len(texts), np.uint32)
    for place in range(3):
        has_it = longest_first % 4 > place
        tail = letters[starts[has_it] + 4 * blocks[has_it] + place].astype(np.uint32)
        tails[has_it] ^= tail << _u(8 * place)
    hashes ^= _mixed(tails) ^ longest_first.astype(np.uint32)  # a tail of 0 is mixed to 0
    hashes = (hashes ^ hashes >> _u(16)) * _u(0x85EBCA6B)
    hashes = (hashes ^ hashes >> _u(13)) * _u(0xC2B2AE35)
    return (hashes ^ hashes >> _u(16))[np.argsort(order)]


def _mixed(blocks: NDArray[np.uint32]) -> NDArray[np.uint32]:
    return _rotated(blocks * _u(0xCC9E2D51), 15) * _u(0x1B873593)


def _rotated(numbers: NDArray[np.uint32], bits: int) -> NDArray[np.uint32]:
    return numbers << _u(bits) | numbers >> _u(32 - bits)
