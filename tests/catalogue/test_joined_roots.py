import zipfile

import numpy as np
import pytest

from fashion.catalogue.joined_roots import JoinedRoot, mark
from fashion.catalogue.root import open_root


@pytest.fixture
def roots(tiny_root, tmp_path):
    """A folder and a zip whose photos have the same names inside."""
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        for path in sorted(tiny_root.rglob("*")):
            if path.is_file():
                content = path.read_bytes() + b"!" * (path.suffix == ".jpg")
                archive.writestr(str(path.relative_to(tiny_root)), content)
    return open_root(tiny_root), open_root(tmp_path / "other.zip")


def test_each_photo_is_its_own_catalogues(roots):
    first, second = roots
    joined = JoinedRoot.of(first, second)
    one, other = first.photos["1000"], mark(second.photos["1000"])
    assert joined.read(other) == joined.read(one) + b"!"
    assert joined.stamp(other) == second.stamp(second.photos["1000"])
    with joined.open(other) as file:
        assert file.read() == joined.read(other)
    keys = joined.keys([other, one, other])
    np.testing.assert_array_equal(keys[[1]], first.keys([first.photos["1000"]]))
    np.testing.assert_array_equal(keys[[0, 2]], second.keys([second.photos["1000"]] * 2))


def test_all_else_is_the_first_catalogues(roots):
    first, second = roots
    joined = JoinedRoot.of(first, second)
    assert (joined.path, joined.table_name) == (first.path, first.table_name)
    assert joined.find("1000.jpg") == first.find("1000.jpg")
