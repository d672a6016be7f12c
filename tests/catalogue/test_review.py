import random

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


def test_a_list_may_come_back_from_any_spreadsheet(tmp_path):
    text = "sep=;\r\nid;given_label;suggested_label\r\n'=1;Hüte; Mützen \r\n2;Hüte;Mützen\r\n"
    text += ";;\r\n;\r\n"
    expected = Review(labels={"=1": "Mützen", "2": "Mützen"})
    for content in (
        text.encode("utf-16"),
        text.encode("utf-8-sig"),
        text.replace(";", "\t").encode(),
        text.removeprefix("sep=;\r\n").encode(),
    ):
        (tmp_path / "list.csv").write_bytes(content)
        assert read_review(None, tmp_path / "list.csv") == expected
        # What is UTF-8 is read as that, whatever the table is in.
        assert read_review(None, tmp_path / "list.csv", None, "cp1252") == expected
    (tmp_path / "list.csv").write_bytes(text.encode("cp1252"))
    with pytest.raises(
        ValueError, match=r"data\.relabel='.*' is not UTF-8: line 3 has the byte 0xFC"
    ):
        read_review(None, tmp_path / "list.csv")
    assert read_review(None, tmp_path / "list.csv", None, "cp1252") == expected


@pytest.mark.parametrize(
    ("relabel", "message"),
    [
        (
            "id,label\n1.0,Hats\n",
            r"1 of 1 ids .* '1\.0' for one\. For '1\.0' there is '1': .* with \.0",
        ),
        ("id,label\n1,\n", r"has no label in line 2\. Fill it in, or strike the row"),
        ("id,label\n,Hats\n", r"has no id in line 2"),
        ("id,label,label\n1,Hats,Hats\n", r"has several columns 'label'\. Keep one"),
        ('id,label\n1,"Hats\n2,Hats\n', r"a quote in line 2 is not closed"),
    ],
)
def test_what_a_spreadsheet_did_to_a_list_is_told(tmp_path, relabel, message):
    with pytest.raises(ValueError, match=r"data\.relabel.*" + message):
        read_review(None, write(tmp_path / "relabel.csv", relabel)).check(["1", "2"], ["Hats"])


def test_a_new_label_is_told_with_what_may_be_meant(tmp_path):
    relabel = write(tmp_path / "relabel.csv", "id,label\n1,Hatz\n2,Hatz\n3,Blouses\n4,Shoes\n")
    assert read_review(None, relabel).check("1234", ["Hats", "Shoes"]) == [
        "data.relabel brings the label 'Hatz', which no row of the catalogue has, for 2 photos "
        "(did you mean 'Hats'?).",
        "data.relabel brings the label 'Blouses', which no row of the catalogue has, for 1 photo.",
    ]


def test_classes_are_merged_renamed_and_left_out_by_a_list(tiny_root, tmp_path):
    relabel = write(tmp_path / "relabel.csv", "id,label\n1000,Jeans\n1001,Kimonos\n1002,Trousers\n")
    rename = write(tmp_path / "rename.csv", "old;new;photos\nJeans;Trousers;40\nKimonos;Gowns;1\n"
                   "Umbrellas;;2\nShirts;Shirts;39\n;;\n")  # fmt: skip
    before = load_catalogue(open_root(tiny_root), min_images=1)
    review = read_review(None, relabel, rename)
    after = load_catalogue(open_root(tiny_root), min_images=1, review=review)
    assert after.table["label"].value_counts().to_dict() == {
        "Trousers": 41, "Shirts": 39, "Watches": 39, "Gowns": 1,
    }  # fmt: skip
    assert after.notes == (
        "data.relabel brings the label 'Kimonos', which no row of the catalogue has, for 1 photo.",
    )
    assert after.counts() == {"kept": 120, "malformed": 1, "no label": 2, "no image": 1}
    dropped = after.dropped[after.dropped["reason"] == "no label"]
    assert dropped["detail"].tolist() == ["'Umbrellas' before"] * 2
    was = before.table.set_index("line")["label"]
    changed = after.table[after.table["label"] != was[after.table["line"]].to_numpy()]
    assert after.relabelled["line"].tolist() == changed["line"].tolist()
    assert after.relabelled["label_before"].tolist() == was[changed["line"]].tolist()


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        (
            "old,new\nHat,Caps\n",
            r"no row .* has the label 'Hat' \(did you mean 'Hats'\?\)\. Correct",
        ),
        ("old,new\nHats,Caps\nHats,Shoes\n", r"gives the label 'Hats' two names; keep one"),
        (
            "old,new\nHats,Shoes\nShoes,Caps\n",
            r"renames 'Hats' to 'Shoes', and that to 'Caps'\. Giv",
        ),
        ("old,new\nHats,Shoes\nShoes,Hats\n", r"renames 'Hats' to 'Shoes', and that to 'Hats'"),
        ("old,new\n,Caps\n", r"has no old label in line 2"),
        ("id,label\n1,Hats\n", r"needs the columns old and new, or from and to, or label and new_"),
    ],
)
def test_a_list_of_names_that_can_not_be_followed_is_refused(tmp_path, rename, message):
    with pytest.raises(ValueError, match=r"data\.rename.*" + message):
        read_review(None, None, write(tmp_path / "r.csv", rename)).check(["1"], ["Hats", "Shoes"])
    for header in ("from,to", "label,new_label"):
        renamed = read_review(
            None, None, write(tmp_path / "r.csv", f"{header}\nHats, Caf\u0065\u0301\n")
        )
        assert renamed.renamed == {"Hats": "Caf\xe9"}


def test_a_products_id_stands_for_all_its_photos(tmp_path):
    (tmp_path / "images").mkdir()
    rows = [(f"p{i // 2}", ("Shirts", "Jeans")[i // 2 % 2], f"{i}.jpg") for i in range(12)]
    for _, _, name in rows:
        (tmp_path / "images" / name).touch()
    lines = "".join(f"{','.join(row)}\n" for row in rows)
    write(tmp_path / "styles.csv", "id,articleType,file\n" + lines)
    exclude = write(tmp_path / "exclude.csv", "id\np0\np1#2\n")
    relabel = write(tmp_path / "relabel.csv", "id,label\np2,Jeans\np3#1,Shirts\n")
    catalogue = load_catalogue(
        open_root(tmp_path), min_images=1, image_column="file", review=read_review(exclude, relabel)
    )
    labels = catalogue.table.set_index("id")["label"]
    assert labels.to_dict() == {
        "p1#1": "Jeans", "p2#1": "Jeans", "p2#2": "Jeans", "p3#1": "Shirts", "p3#2": "Jeans",
        "p4#1": "Shirts", "p4#2": "Shirts", "p5#1": "Jeans", "p5#2": "Jeans",
    }  # fmt: skip


def test_all_rows_are_decided_on_as_each_would_be():
    draw = random.Random(0)
    ids, labels = [f"p{i}" for i in range(30)], ["a", "b", "c", ""]
    for _ in range(100):
        review = Review(
            frozenset(draw.sample(ids, draw.randrange(5))),
            {id_: draw.choice(labels[:3]) for id_ in draw.sample(ids, draw.randrange(9))},
            {old: draw.choice(["d", ""]) for old in draw.sample(labels[:3], draw.randrange(3))},
        )
        rows = [(id_, draw.choice(ids), draw.choice(labels)) for id_ in ids]
        table = pd.DataFrame(rows, columns=["id", "product", "label"])
        new = [review.labels.get(i, review.labels.get(p, label)) for i, p, label in rows]
        assert review.relabel(table).tolist() == [review.renamed.get(n, n) for n in new]
        out = [not {i, p}.isdisjoint(review.excluded) for i, p, _ in rows]
        assert review.excludes(table).tolist() == out
        assert bool(review) == any([review.excluded, review.labels, review.renamed])
