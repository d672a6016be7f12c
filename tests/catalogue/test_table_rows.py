import csv
import io

import pytest

from fashion.catalogue import archives, table_cells
from fashion.catalogue.csv_rows import CsvForm
from fashion.catalogue.root import open_root
from fashion.catalogue.structure import Structure
from fashion.catalogue.table import load_catalogue

LABELS = ("Shirts", "Jeans", "Hats")
BIG = 123_456_789_012
GOOD = [(str(i), LABELS[i % 3]) for i in range(1, 31)]


def text(rows, header=("id", "articleType"), **dialect):
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n", **dialect).writerows([header, *rows])
    return lines.getvalue()


@pytest.fixture
def shop(tmp_path):
    """Returns shop(text or bytes, photos), a root with that styles.csv and empty photos."""

    def write(content, photos=tuple(f"{i}.jpg" for i in range(1, 31))):
        (tmp_path / "images").mkdir()
        for name in photos:
            (tmp_path / "images" / name).touch()
        content = content.encode() if isinstance(content, str) else content
        (tmp_path / "styles.csv").write_bytes(content)
        return open_root(tmp_path)

    return write


def fallen(catalogue):
    columns = ["line", "id", "label", "reason", "detail"]
    return list(catalogue.dropped.sort_values("line")[columns].itertuples(index=False, name=None))


def test_one_odd_row_is_a_row_of_the_audit(shop):
    odd = ",\n \n3,Jeans\n4,Jeans\nAB/1,Hats\n..,Hats\n,Hats\nx\0,Hats\n99,Hats\n5\n30,\n31,\n"
    catalogue = load_catalogue(shop(text(GOOD) + odd + '1,"Hats'), min_images=3)
    assert fallen(catalogue) == [
        (32, "", "", "empty row", ""),
        (33, "", "", "empty row", ""),
        (34, "3", "Jeans", "repeated id", "stands in line 4"),
        (35, "4", "Jeans", "repeated id", "a copy of line 5"),
        (36, "AB/1", "Hats", "no image", "the id is no file name"),
        (37, "..", "Hats", "no image", "the id is no file name"),
        (38, "", "Hats", "no image", "the id is no file name"),
        (39, "x\0", "Hats", "no image", "the id is no file name"),
        (40, "99", "Hats", "no image", ""),
        (41, "5", "", "malformed", "1 fields, not 2"),
        (42, "30", "", "repeated id", "stands in line 31"),
        (43, "31", "", "no label", ""),
        (44, "1", "", "malformed", "the file ends inside a quote"),
    ]  # fmt: skip
    assert catalogue.rows_in_file == 30 + 13 == sum(catalogue.counts().values())
    assert catalogue.table["id"].tolist() == [id_ for id_, _ in GOOD]


def test_descriptions_may_have_line_breaks_and_commas(shop):
    body = [
        "Cotton, soft\nCotton, soft, washable",
        "1, warm, dry\n2, cold, Jeans",
        "x\nShirts, Hats, Jeans",
    ]
    rows = [(id_, label, body[i % 3]) for i, (id_, label) in enumerate(GOOD)]
    rows[7] = (*rows[7][:2], "<p>" + "x" * 140_000)
    catalogue = load_catalogue(shop(text(rows, ("id", "articleType", "body"))), min_images=3)
    assert len(catalogue.table) == 30


@pytest.mark.parametrize("photos", [None, ("1.jpg", "2.jpg", "9.jpg")])
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_a_quote_that_holds_rows_is_told_even_where_they_have_no_photo(shop, photos, delimiter):
    rows = text([(*row, f"n {i}") for i, row in enumerate(GOOD)], ("id", "articleType", "name"))
    rows = rows.replace("n 4", '"n 4').replace("n 9", 'n 9"').replace(",", delimiter)
    root = shop(rows) if photos is None else shop(rows, photos)
    with pytest.raises(
        ValueError, match=r"styles\.csv: a quote in line 6 is not closed and swallows"
    ):
        load_catalogue(root, min_images=1)


def test_photos_of_a_product_take_its_label_and_have_ids_of_their_own(shop):
    photos = [f"{i}.jpg" for i in range(20)]
    rows = [("p0", "Shirts", "0.jpg"), ("p1", "Jeans", "1.jpg"), ("p0", "", "2.jpg")]
    rows += [("p0", "", ""), ("p0", " ", "0.jpg"), ("p1", "Hats", "3.jpg"), ("p2", "Hats", "4.jpg")]
    rows += [
        ("", "Hats", "5.jpg"),
        ("p3", "", "6.jpg"),
        ("p0#1", "Hats", "7.jpg"),
        ("p0", "", "gone.jpg"),
    ]
    root = shop(text(rows, ("sku", "kind", "file")), photos)
    catalogue = load_catalogue(root, "kind", 1, id_column="sku", image_column="file")
    kept = catalogue.table[["line", "id", "product", "label"]]
    assert list(kept.itertuples(index=False, name=None)) == [
        (2, "p0##1", "p0", "Shirts"),
        (3, "p1##1", "p1", "Jeans"),
        (4, "p0##2", "p0", "Shirts"),
        (7, "p1##2", "p1", "Hats"),
        (8, "p2", "p2", "Hats"),
        (11, "p0#1", "p0#1", "Hats"),
    ]
    assert fallen(catalogue) == [
        (5, "p0", "Shirts", "no image", ""),
        (6, "p0", "Shirts", "repeated id", "stands in line 2"),
        (9, "", "Hats", "no id", ""),
        (10, "p3", "", "no label", ""),
        (12, "p0##3", "Shirts", "no image", "gone.jpg"),
    ]
    assert catalogue.notes[0].startswith("4 rows of styles.csv have no label and take that of the")
    unnamed = load_catalogue(root, "kind", 1, id_column=None, image_column="file")
    assert unnamed.counts() == {"kept": 6, "repeated id": 1, "no label": 4}


def test_repeated_columns_are_refused_only_where_they_are_asked_for(shop):
    header = ("id", "articleType", "note", "note")
    root = shop(text([(*row, "a", "b") for row in GOOD], header))
    catalogue = load_catalogue(root, min_images=3)
    assert catalogue.attributes[["note", "note (2)"]].iloc[0].tolist() == ["a", "b"]
    with pytest.raises(
        ValueError, match=r"data\.label_column='note': .* 2 columns 'note', at the pl"
    ):
        load_catalogue(root, "note")
    with pytest.raises(ValueError, match=r"no column 'articletype' \(did you mean 'articleType'"):
        load_catalogue(root, "articletype")


@pytest.mark.parametrize(
    ("change", "photos", "message"),
    [
        (lambda i: f"{i}.0", "{}.jpg", r"'1\.0' of line 2; images/ holds '1\.jpg': .* \.0\."),
        (str, "000{}.jpg", r"'1' of line 2; images/ holds '0001\.jpg': its leading zeros are lost"),
        (lambda i: f"{BIG + i:.2E}", "BIG", r"'1\.23E\+11' of line 2; images/ holds '12345678"),
        (lambda i: f"x{i}", "{}.jpg", r"'x1' of line 2; images/ holds '1\.jpg'\."),
    ],
)  # fmt: skip
def test_ids_that_match_no_photo_are_shown_beside_one(shop, change, photos, message):
    numbers = range(1, 31)
    names = [photos.format(i) for i in numbers]
    if photos == "BIG":
        names = [f"{BIG + i}.jpg" for i in numbers]
    root = shop(text([(change(i), LABELS[i % 3]) for i in numbers]), names)
    with pytest.raises(
        ValueError, match=r"no row of styles\.csv has a photo .* have no photo: id " + message
    ):
        load_catalogue(root, min_images=3)


def test_a_few_changed_ids_are_told_though_the_rest_is_used(shop):
    rows = [(f"{id_}.0" if id_ in ("7", "9") else id_, label) for id_, label in GOOD]
    catalogue = load_catalogue(shop(text(rows)), min_images=3)
    assert len(catalogue.table) == 28
    (note,) = catalogue.notes
    assert (
        "2 of 30 rows of styles.csv have no photo: id '7.0' of line 8; images/ holds '7.jpg'"
        in note
    )


def test_rows_that_end_in_commas_which_the_header_lacks_are_shown_beside_it(shop):
    root = shop(text([(*row, "") for row in GOOD]))
    message = (
        r"all 30 rows are malformed: line 2 has 3 fields \('1', 'Jeans', ''\), the header 2 \('id'"
    )
    with pytest.raises(
        ValueError, match=message + r".*row ends in delimiters.*malformed_rows=repair"
    ):
        load_catalogue(root, min_images=3)
    repaired = load_catalogue(root, min_images=3, malformed_rows="repair")
    assert repaired.counts() == {"kept": 30}


def test_where_most_rows_fall_the_reason_is_told(shop):
    rows = [(*row, "") if int(row[0]) > 9 else row for row in GOOD]
    catalogue = load_catalogue(shop(text(rows)), min_images=3)
    assert catalogue.counts() == {"kept": 9, "malformed": 21}
    (note,) = catalogue.notes
    assert note.startswith(
        "21 of 30 rows of styles.csv are malformed: line 11 has 3 fields ('10', "
    )


def test_labels_are_cleaned_as_they_are_read(shop):
    rows = [
        (id_, (label, f" {label}\xa0", "Cafe\u0301", "Caf\xe9")[i % 4])
        for i, (id_, label) in enumerate(GOOD)
    ]
    catalogue = load_catalogue(shop(text(rows)), min_images=3)
    assert catalogue.class_names == ["Café", "Hats", "Jeans", "Shirts"]


def test_columns_of_too_many_values_are_kept_only_if_asked_for(shop, monkeypatch):
    monkeypatch.setattr(table_cells, "MANY", 5)
    header = ("id", "articleType", "name", "season", "group")
    rows = [(*row, f"n {i}", i % 5, f"g {i}") for i, row in enumerate(GOOD)]
    root = shop(text(rows, header))
    catalogue = load_catalogue(root, min_images=3, structure=Structure(group_column="group"))
    assert list(catalogue.attributes) == ["id", "articleType", "season", "group"]
    assert catalogue.attributes["group"].tolist() == [f"g {i}" for i in range(30)]
    with pytest.raises(
        ValueError, match=r"data\.group_column='team': styles\.csv of .* has no column"
    ):
        load_catalogue(root, structure=Structure(group_column="team"))


def test_a_table_may_be_larger_than_a_photo(shop, monkeypatch):
    monkeypatch.setattr(archives, "MAX_FILE_BYTES", 10)
    root = shop(text(GOOD))
    with pytest.raises(ValueError, match="larger than"):
        root.read(root.csv_name)
    assert len(load_catalogue(root, min_images=3).table) == 30


def test_the_delimiter_and_the_encoding_can_be_said(shop):
    root = shop(text([(id_, f"{label} é") for id_, label in GOOD], delimiter="|").encode("cp1252"))
    with pytest.raises(ValueError, match=r"is not UTF-8: line 2 has the byte 0xE9"):
        load_catalogue(root, min_images=3)
    with pytest.raises(ValueError, match=r"its columns are id\|articleType\. If .*data\.delimiter"):
        load_catalogue(root, min_images=3, form=CsvForm(encoding="cp1252"))
    catalogue = load_catalogue(root, min_images=3, form=CsvForm("|", "cp1252"))
    assert catalogue.class_names == ["Hats é", "Jeans é", "Shirts é"]
