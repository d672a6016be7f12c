"""An index of unit vectors, in which those near to others are looked for, list by list.

faiss sorts the vectors into lists around middles. It would go through the lists of each query in
turn, a vector at a time; all queries of a list together are one product of matrices, which at a
million vectors is twice as fast or more.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import faiss
import numpy as np
import torch

from fashion.cores import one_thread_an_operation, usable_cores

LISTS, VECTORS_A_LIST = 8, 40  # that are searched, and that a list is worth
AT_ONCE = 2**20  # cosines of a list in memory, a thread
BLOCK = 2**13  # vectors that are made at once


class Near(NamedTuple):
    """What is near to queries, `(P,)` each: the query's number, the vector's, and their cosine."""

    query: np.ndarray
    vector: np.ndarray
    cosine: np.ndarray


class EdgeIndex:
    """Vectors in lists.

    Args:
        vectors: Returns some of the vectors as `(n, D)` float32, of length 1, by their numbers.
        size: N, how many there are.
    """

    def __init__(self, vectors: Callable[[np.ndarray], np.ndarray], size: int) -> None:
        if "OMP_NUM_THREADS" not in os.environ:  # faiss knows no quota
            faiss.omp_set_num_threads(usable_cores())
        self._middles, lists = _middles(vectors, size), np.zeros(size, np.int64)
        if self._middles is not None:
            lists = np.concatenate(
                [self._middles.search(vectors(some), 1)[1][:, 0] for some in _blocks(size)]
            )
        self._order = np.argsort(lists, kind="stable")
        self._ends = np.cumsum(np.bincount(lists, minlength=self._num_lists))
        blocks = [vectors(self._order[some]) for some in _blocks(size)]
        self._vectors = np.concatenate(blocks or [vectors(lists)])

    def near(self, queries: np.ndarray, least: float, most: int) -> Near:
        """Return, for each of `queries` `(Q, D)` of length 1, the vectors that are nearest.

        Args:
            queries: Any.
            least: The cosine that they are above.
            most: How many of a query.
        """
        with one_thread_an_operation(), ThreadPoolExecutor(usable_cores()) as pool:
            parts = pool.map(lambda task: self._in_list(queries, task, least), self._tasks(queries))
            nothing = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
            query, vector, cosine = map(np.concatenate, zip(nothing, *parts, strict=True))
        order = np.lexsort((vector, -cosine, query))
        query, vector, cosine = query[order], vector[order], cosine[order]
        starts = np.searchsorted(query, query)  # where the ones of the same query begin
        chosen = np.arange(len(query)) - starts < most
        return Near(query[chosen], vector[chosen], cosine[chosen])

    @property
    def _num_lists(self) -> int:
        return 1 if self._middles is None else int(self._middles.ntotal)

    def _tasks(self, queries: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the lists that are searched, with the queries that are looked for in them."""
        if self._middles is None:
            probes = np.zeros((len(queries), 1), np.int64)
        else:
            probes = self._middles.search(queries, min(LISTS, self._num_lists))[1]
        order = np.argsort(probes, axis=None, kind="stable")
        ends = np.cumsum(np.bincount(probes.ravel(), minlength=self._num_lists))
        for number, rows in enumerate(np.split(order // probes.shape[1], ends[:-1])):
            step = max(1, AT_ONCE // max(1, self._bounds(number)[1] - self._bounds(number)[0]))
            for first in range(0, len(rows), step):
                yield number, rows[first : first + step]

    def _bounds(self, number: int) -> tuple[int, int]:
        return int(self._ends[number - 1]) if number else 0, int(self._ends[number])

    def _in_list(
        self, queries: np.ndarray, task: tuple[int, np.ndarray], least: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        number, rows = task
        bounds = slice(*self._bounds(number))
        one, other = (torch.from_numpy(each) for each in (queries[rows], self._vectors[bounds]))
        cosines = (one @ other.T).numpy()
        row, column = np.nonzero(cosines > least)
        return rows[row], self._order[bounds][column], cosines[row, column]


def _middles(vectors: Callable[[np.ndarray], np.ndarray], size: int) -> faiss.Index | None:
    """Return the middles of the lists; None where there is one list alone."""
    lists = int(4 * size**0.5)
    if size <= VECTORS_A_LIST * lists:  # too few to be sorted
        return None
    sample = vectors(np.arange(0, size, size // (VECTORS_A_LIST * lists)))
    index = faiss.index_factory(sample.shape[1], f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(sample)
    return faiss.clone_index(faiss.extract_index_ivf(index).quantizer)


def _blocks(size: int) -> Iterator[np.ndarray]:
    return (np.arange(first, min(first + BLOCK, size)) for first in range(0, size, BLOCK))
