import pandas as pd
import pytest

from fashion.catalogue.review import Review, read_review
from fashion.catalogue.root import open_root
from fashion.catalogue.table import load_catalogue


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_excluded_and_relabelled_photos_are_counted(tiny_root, tmp_path):
    exclude = write(tmp_path / "exclude.csv", "\ufeffreason,id\nblurred,1003\n,2000\n")
    suspects = "id,given_label,suggested_label\n1000,Shirts,Jeans\n1001,Jeans,Jeans\n"
    review = read_review(exclude, write(tmp_path / "suspects.csv", suspects))
    before = load_catalogue(open_root(tiny_root), min_images=10)
    after = load_catalogue(open_root(tiny_root), min_images=10, review=review)
    assert after.counts() == {"kept": 119, "malformed": 1, "excluded": 2, "rare label": 2}
    assert sum(after.counts().values()) == before.rows_in_file
    labels = after.table.set_index("id")["label"]
    assert (labels["1000"], labels["1001"]) == ("Jeans", "Jeans")
    expected = before.table.set_index("id")["label"].drop(["1000", "1003"])
    pd.testing.assert_series_equal(labels.drop("1000"), expected)
    assert after.relabelled.to_dict("records") == [
        {"line": 2, "id": "1000", "label": "Jeans", "label_before": "Shirts"}
    ]
    assert after.describe().endswith("; 1 relabelled")


def test_a_plain_list_of_labels_relabels_too(tmp_path):
    review = read_review(None, write(tmp_path / "new.csv", "id,label\n1,Hats\n1,Hats\n2,Shoes\n"))
    assert review == Review(labels={"1": "Hats", "2": "Shoes"})


@pytest.mark.parametrize(
    ("exclude", "relabel", "message"),
    [
        ("name\n1\n", None, r"data\.exclude='.*' needs the columns id; it has name"),
        (None, "id,new\n1,Hats\n", r"data\.relabel='.*' needs the columns id and suggested_label"),
        (None, "id,label\n1,Hats\n1,Caps\n", r"data\.relabel='.*' gives the id '1' two labels"),
        ("id\n1\n77\n78\n", None, r"data\.exclude: 2 of 3 ids are not in the catalogue, '77'"),
        (None, "id,label\n77,Hats\n", r"data\.relabel: 1 of 1 ids are not in the catalogue, '77'"),
        ("id\n1\n", "id,label\n1,Hats\n", r"data\.exclude and data\.relabel both name the id '1'"),
    ],
)  # fmt: skip
def test_an_unusable_review_is_refused(tmp_path, exclude, relabel, message):
    exclude = exclude and write(tmp_path / "exclude.csv", exclude)
    relabel = relabel and write(tmp_path / "relabel.csv", relabel)
    with pytest.raises(ValueError, match=message):
        read_review(exclude, relabel).check(["1", "2"], ["Hats", "Shoes"])


def test_a_missing_review_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data\.exclude='.*gone\.csv' does not exist"):
        read_review(tmp_path / "gone.csv", None)
