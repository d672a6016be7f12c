import pandas as pd
import pytest

from fashion.tables import csv_text, mark_text, unmark_text


@pytest.mark.parametrize("kind", ["object", "str", "category"])
def test_text_that_a_spreadsheet_would_compute_is_marked_and_nothing_else(kind):
    cells = pd.Series(["=1+1", "@a", "\tb", "'c", "d=1", None, "é, f", ""]).astype(kind)
    text = csv_text(pd.DataFrame({"cell": cells, "number": range(-4, 4)}))
    expected = ["'=1+1,-4", "'@a,-3", "'\tb,-2", "''c,-1", "d=1,0", ",1", '"é, f",2', ",3"]
    assert text.split("\n") == ["cell,number", *expected, ""]


def test_numbers_among_texts_are_no_text():
    mixed = pd.DataFrame({"cell": pd.Series([-1.5, "-1.5", -2], dtype=object)})
    assert csv_text(mixed) == "cell\n-1.5\n'-1.5\n-2\n"


def test_a_mark_is_taken_off_again():
    for cell in ("=1", "'a", "''", "plain", "-", ""):
        assert unmark_text(str(mark_text(cell))) == cell
