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
AT_ONCE = 2**18  # cosines of a list in memory, a thread
BLOCK = 2**13  # vectors that are made at once


class Near(NamedTuple):
    """What is near to queries, `(P,)` each: the query's number, the vector's, and their cosine."""

    query: np.ndarray
    vector: np.ndarray
    cosine: np.ndarray

    def where(self, chosen: np.ndarray) -> "Near":
        """Return those that a mask `(P,)` chooses."""
        return Near(*(part[chosen] for part in self))


class EdgeIndex:
    """Vectors in lists.

    Args:
        edges: Returns some of what is kept in memory, by their numbers, `(n, D)` uint8.
        unit: Makes vectors of them, `(n, D)` float32, of length 1.
        size: N, how many there are.
    """

    def __init__(
        self,
        edges: Callable[[np.ndarray], np.ndarray],
        unit: Callable[[np.ndarray], np.ndarray],
        size: int,
    ) -> None:
        if "OMP_NUM_THREADS" not in os.environ:  # faiss knows no quota
            faiss.omp_set_num_threads(usable_cores())
        numbers = np.arange(size)
        blocks = [slice(first, first + BLOCK) for first in range(0, max(size, 1), BLOCK)]
        self._edges = np.concatenate([edges(numbers[block]) for block in blocks])
        self._unit = unit
        self._middles, lists = self._trained(), np.zeros(size, np.int64)
        if self._middles is not None:
            for block in blocks:
                lists[block] = self._middles.search(unit(self._edges[block]), 1)[1][:, 0]
        self._order = np.argsort(lists, kind="stable")
        self._ends = np.cumsum(np.bincount(lists, minlength=self._num_lists))
        self._places = np.argsort(self._order)
        self._edges = self._edges[self._order]  # list by list

    def vectors(self, numbers: np.ndarray) -> np.ndarray:
        """Return some of the vectors, `(n, D)` float32, by their numbers."""
        return self._unit(self._edges[self._places[numbers]])

    def near(self, queries: np.ndarray, least: float, most: int) -> Near:
        """Return, for each of `queries` `(Q, D)` of length 1, the vectors that are nearest.

        Args:
            queries: Any.
            least: The cosine that they are above.
            most: How many of a query.
        """
        with one_thread_an_operation(), ThreadPoolExecutor(usable_cores()) as pool:
            lists = pool.map(
                lambda task: self._in_list(queries, least, *task), self._tasks(queries)
            )
            parts = [near for found in lists for near in found]
        nothing = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
        query, vector, cosine = map(np.concatenate, zip(nothing, *parts, strict=True))
        order = np.lexsort((vector, -cosine, query))
        query, vector, cosine = query[order], vector[order], cosine[order]
        starts = np.searchsorted(query, query)  # where the ones of the same query begin
        chosen = np.arange(len(query)) - starts < most
        return Near(query, vector, cosine).where(chosen)

    def _trained(self) -> faiss.Index | None:
        """Return the middles of the lists; None where there is one list alone."""
        size = len(self._edges)
        lists = int(4 * size**0.5)
        if size <= VECTORS_A_LIST * lists:  # too few to be sorted
            return None
        sample = self._unit(self._edges[:: size // (VECTORS_A_LIST * lists)])
        index = faiss.index_factory(sample.shape[1], f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT)
        index.train(sample)
        return faiss.clone_index(faiss.extract_index_ivf(index).quantizer)

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
        yield from enumerate(np.split(order // probes.shape[1], ends[:-1]))

    def _in_list(
        self, queries: np.ndarray, least: float, number: int, rows: np.ndarray
    ) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Return what some of the queries are near to in a list: their rows, vectors, cosines."""
        bounds = slice(self._ends[number - 1] if number else 0, self._ends[number])
        vectors, numbers, near = self._unit(self._edges[bounds]), self._order[bounds], []
        step = max(1, AT_ONCE // max(1, len(vectors)))
        for some in (rows[first : first + step] for first in range(0, len(rows), step)):
            one, other = map(torch.from_numpy, (np.take(queries, some, axis=0), vectors))
            cosines = (one @ other.T).numpy().ravel()
            found = np.flatnonzero(cosines > least)  # many times as fast as rows and columns
            row, column = np.divmod(found, len(vectors))
            near.append((some[row], numbers[column], cosines[found]))
        return near
