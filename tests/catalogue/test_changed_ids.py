import pytest

from fashion.catalogue.changed_ids import find_change


@pytest.mark.parametrize(
    ("id_", "known", "what"),
    [
        ("1163.0", "1163", "with .0"),
        ("1163,00", "1163", "with ,00"),
        ("1163", "0001163", "leading zeros are lost"),
        ("0", "0000", "leading zeros are lost"),
        ("7.0", "007", "with .0"),
        ("1.23E+11", "123456789012", "rounded"),
        ("1,2346e11", "123456789012", "rounded"),
        ("1,234,567", "1234567", "thousands"),
        ("1163.jpg", "1163", "a file's name"),
        ("images/1163.jpg", "1163", "data.image_column takes such"),
        ("images\\1163.JPG", "1163", "a file's name"),
        ("ab 12", "AB12", "case, spaces or accents"),
        ("'=x", "=x", "case, spaces or accents"),
    ],
)
def test_what_became_of_an_id_is_told(id_, known, what):
    others = ["9999", "x", "223456789012", "0", "01"]
    change = find_change(["unlike", id_], [*[o for o in others if o != known and o != "0"], known])
    assert change[:2] == (id_, known)
    assert what in change.what


def test_ids_that_are_merely_absent_are_not_called_changed():
    assert find_change(["77", "x1", "1.23E+11", "a.b"], ["78", "x2", "456", "ab"]) is None
