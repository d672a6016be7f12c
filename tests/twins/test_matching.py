import numpy as np
from PIL import Image

from fashion.twins import edge_index, matching
from fashion.twins.alignment import compare
from fashion.twins.matching import find_pairs
from fashion.twins.thumbnails import CROPS


def test_an_index_in_lists_finds_what_a_flat_one_does(
    product, encoded, recoloured, thumbnails_of, monkeypatch
):
    originals = [product(seed, shape=seed) for seed in range(150)]
    photos = [*map(encoded, originals), *(encoded(recoloured(image)) for image in originals[:50])]
    thumbnails = thumbnails_of(photos)
    flat = find_pairs(thumbnails)
    assert {*zip(flat.a.tolist(), flat.b.tolist(), strict=True)} >= {
        (i, i + 150) for i in range(50)
    }
    monkeypatch.setattr(edge_index, "VECTORS_A_LIST", 1)
    monkeypatch.setattr(edge_index, "LISTS", 40)
    for one, other in zip(find_pairs(thumbnails), flat, strict=True):
        np.testing.assert_array_equal(one, other)


def test_like_products_that_a_crop_makes_no_more_alike_are_aligned_as_wholes_alone(
    product, encoded, thumbnails_of, monkeypatch
):
    like = [Image.blend(product(1), product(seed), 0.3) for seed in range(2, 22)]
    thumbnails = thumbnails_of([*map(encoded, like)])
    num_pairs = dict.fromkeys(range(1 + len(CROPS)), 0)

    def count(thumbnails, a, b, view):
        num_pairs[view] += len(a)
        return compare(thumbnails, a, b, view)

    monkeypatch.setattr(matching, "compare", count)
    find_pairs(thumbnails)
    assert num_pairs.pop(0) > 50
    assert set(num_pairs.values()) == {0}
