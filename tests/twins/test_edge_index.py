import numpy as np
import pytest

from fashion.twins import edge_index
from fashion.twins.edge_index import EdgeIndex, Near


def unit(number, seed=0, width=12):
    vectors = np.random.default_rng(seed).normal(size=(number, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def indexed(vectors):
    """The index of vectors that are kept as they are."""
    return EdgeIndex(vectors.__getitem__, np.copy, len(vectors))


def compared(vectors, queries, least, most):
    """Each query with each vector, in float64."""
    cosines = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    for query, row in enumerate(cosines):
        best = np.argsort(-row, kind="stable")[:most]
        yield from ((query, vector) for vector in best if row[vector] > least)


def pairs(near):
    return {*zip(near.query.tolist(), near.vector.tolist(), strict=True)}


@pytest.mark.parametrize(("least", "most"), [(0.3, 400), (0.3, 5), (0.9, 5), (2.0, 5)])
def test_one_list_gives_the_nearest(least, most):
    vectors, queries = unit(400), unit(50, seed=1)
    near = indexed(vectors).near(queries, least, most)
    assert pairs(near) == {*compared(vectors, queries, least, most)}
    assert near.cosine == pytest.approx((queries[near.query] * vectors[near.vector]).sum(axis=1))


def test_lists_that_are_all_searched_give_what_one_does(monkeypatch):
    vectors, queries = unit(3_000), unit(200, seed=1)
    whole = indexed(vectors)
    monkeypatch.setattr(edge_index, "VECTORS_A_LIST", 10)
    monkeypatch.setattr(edge_index, "LISTS", 10**6)
    monkeypatch.setattr(edge_index, "AT_ONCE", 100)  # a list's queries in several steps
    monkeypatch.setattr(edge_index, "BLOCK", 7)
    in_lists = indexed(vectors)
    assert in_lists._num_lists > 100
    assert pairs(in_lists.near(queries, 0.5, 9)) == pairs(whole.near(queries, 0.5, 9))


def test_few_lists_find_the_vectors_themselves(monkeypatch):
    vectors = unit(3_000)
    monkeypatch.setattr(edge_index, "VECTORS_A_LIST", 10)
    monkeypatch.setattr(edge_index, "LISTS", 1)
    near = indexed(vectors).near(vectors, 0.999, 1)
    assert (near.query == near.vector).all()
    assert len(near.query) == 3_000


def test_without_vectors_nothing_is_near():
    near = EdgeIndex(unit(5).__getitem__, np.copy, 0).near(unit(3), 0.5, 2)
    assert isinstance(near, Near)
    assert [len(part) for part in near] == [0, 0, 0]
