import numpy as np
import pytest

from fashion.twins.across import Side, find_nearest


@pytest.fixture
def side(keys_of):
    """Returns side(files, first), photos by their files, whose keys begin at a number."""

    def make(files, first=0):
        return Side(keys_of(first + len(files))[first:], range(len(files)), files.__getitem__)

    return make


def test_each_photo_has_its_nearest_twin(side, product, encoded, recoloured, tmp_path):
    pictures = [product(seed, shape=seed % 3) for seed in range(14)]
    theirs = [encoded(picture, 92) for picture in pictures[:10]]
    theirs += [theirs[3], encoded(recoloured(pictures[4]), 92), b"no photo"]
    ours = [
        *(encoded(pictures[7], 60), encoded(pictures[3], 92), encoded(pictures[12], 92)),
        *(
            b"no photo either",
            encoded(pictures[4].resize((120, 160)), 85),
            encoded(pictures[7], 60),
        ),
    ]
    places, distances = find_nearest(side(ours, 100), side(theirs), tmp_path)
    assert places.tolist() == [7, 3, -1, -1, 4, 7]
    assert distances[1] == 0
    assert (distances <= 0.12).all()


def test_a_crop_is_found_from_either_side(side, product, encoded, tmp_path):
    whole = [product(seed, shape=seed % 3) for seed in range(6)]
    cropped = [picture.crop((0, 36, 180, 240)) for picture in whole]
    files = [[encoded(picture, 92) for picture in pictures] for pictures in (whole, cropped)]
    one = find_nearest(side(files[0], 100), side(files[1]), tmp_path).places
    other = find_nearest(side(files[1], 200), side(files[0], 300), tmp_path).places
    assert (one == np.arange(6)).sum() >= 4
    assert set(one[one != np.arange(6)]) <= {-1}
    np.testing.assert_array_equal(one, other)


def test_what_was_found_is_kept_and_what_is_damaged_found_again(side, product, encoded, tmp_path):
    reads = []
    files = [encoded(product(seed), 90) for seed in range(4)]

    def read(place):
        reads.append(place)
        return files[place]

    ours, theirs = side(files[:2], 50)._replace(read=read), side(files)
    first = find_nearest(ours, theirs, tmp_path)
    assert (first.places.tolist(), sorted(reads)) == ([0, 1], [0, 1])
    (kept,) = (tmp_path / "twins").glob("*.npz")
    kept.write_bytes(kept.read_bytes()[:40])
    again = find_nearest(ours, theirs, tmp_path)
    np.testing.assert_array_equal(first.places, again.places)
    assert sorted(reads) == [0, 1]  # thumbnails are kept, too


def test_no_photos_have_no_twins(side, product, encoded, tmp_path):
    files = [encoded(product(1), 90)]
    assert find_nearest(side([]), side(files), tmp_path).places.tolist() == []
    assert find_nearest(side(files), side([]), tmp_path).places.tolist() == [-1]
