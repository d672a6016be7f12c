import csv
import re

import pandas as pd
import pytest

from fashion.catalogue.review import Review
from fashion.catalogue.root import open_root
from fashion.catalogue.split_catalogue import split_catalogue
from fashion.catalogue.table import drop_unreadable, load_catalogue

STUDY_COUNTS = {
    "Shorts": 547, "Trousers": 530, "Flats": 500, "Bra": 477, "Dresses": 464, "Sarees": 427,
    "Earrings": 416, "Deodorant": 347, "Nail Polish": 329, "Lipstick": 315, "Track Pants": 304,
    "Clutches": 290, "Sweatshirts": 285, "Caps": 283, "Sweaters": 277, "Jackets": 258,
    "Innerwear Vests": 242, "Kurtis": 234, "Tunics": 229, "Nightdress": 189, "Leggings": 177,
    "Pendant": 176, "Capris": 175, "Necklace and Chains": 160, "Lip Gloss": 144,
    "Night suits": 141, "Trunk": 140, "Skirts": 128, "Scarves": 119, "Ring": 118, "Dupatta": 116,
    "Cufflinks": 106, "Kajal and Eyeliner": 102,
}  # fmt: skip
REAL_SPLITS_SHA256 = "4bd82564fa5b57c0bb1f3a4eb140cec15a7aee57ee0dc13e322f5f2db438bac6"


@pytest.fixture(scope="module")
def real(real_root):
    return open_root(real_root)


@pytest.fixture
def write_table(tmp_path):
    """Returns write(text or bytes), which gives the root of a folder with that styles.csv.

    Photos 1 to 99 exist and are empty: a catalogue is read without decoding one.
    """

    def write(content):
        (tmp_path / "images").mkdir()
        for i in range(1, 100):
            (tmp_path / "images" / f"{i}.jpg").touch()
        content = content.encode() if isinstance(content, str) else content
        (tmp_path / "styles.csv").write_bytes(content)
        return open_root(tmp_path)

    return write


def styles(*rows, header="id,articleType,name"):
    return "\n".join([header, *rows]) + "\n"


GOOD = [f"{i},{'Shirts' if i % 2 else 'Jeans'},name {i}" for i in range(1, 21)]


def test_the_studys_catalogue_is_reproduced_row_by_row(real):
    catalogue = load_catalogue(real)
    assert catalogue.rows_in_file == 44_446
    assert catalogue.rows_read == 44_424
    assert catalogue.counts() == {
        "kept": 42_150, "malformed": 22, "no image": 5, "rare label": 2_269,
    }  # fmt: skip
    no_image = catalogue.dropped[catalogue.dropped["reason"] == "no image"]
    assert set(no_image["id"]) == {"39403", "39410", "39401", "39425", "12347"}
    assert len(catalogue.class_names) == 54
    splits = split_catalogue(catalogue, None, kind="random", seed=0)
    sizes = splits.table["split"].value_counts().to_dict()
    assert sizes == {"train": 33_720, "val": 4_215, "test": 4_215}
    assert splits.sha256() == REAL_SPLITS_SHA256


def test_all_33_class_counts_of_the_study_are_met(real):
    counts = load_catalogue(real).table["label"].value_counts()
    assert len(STUDY_COUNTS) == 33
    assert counts[list(STUDY_COUNTS)].to_dict() == STUDY_COUNTS
    assert counts.iloc[0] == counts["Tshirts"] == 7_066
    assert counts.min() == 102


def test_the_22_malformed_rows_of_the_real_table_can_be_repaired(real):
    catalogue = load_catalogue(real, malformed_rows="repair")
    assert catalogue.rows_read == catalogue.rows_in_file == 44_446
    assert len(catalogue.table) == 42_269
    assert len(catalogue.class_names) == 55
    skipped = load_catalogue(real).class_names
    assert set(catalogue.class_names) - set(skipped) == {"Accessory Gift Set"}


def test_the_words_na_and_bare_quotes_are_read_as_they_stand(real):
    catalogue = load_catalogue(real, "usage", min_images=1)
    assert (catalogue.table["label"] == "NA").sum() == 316
    assert {"7491", "7497"} <= set(catalogue.table["id"])


@pytest.mark.parametrize(
    ("column", "classes", "kept"),
    [
        ("subCategory", 27, 43_974),
        ("masterCategory", 5, 44_393),
        ("gender", 5, 44_419),
        ("baseColour", 30, 43_732),
        ("season", 4, 44_398),
        ("usage", 5, 44_295),
    ],
)
def test_other_columns_can_be_the_label(real, column, classes, kept):
    catalogue = load_catalogue(real, column)
    assert (len(catalogue.class_names), len(catalogue.table)) == (classes, kept)
    assert sum(catalogue.counts().values()) == catalogue.rows_in_file == 44_446
    table = split_catalogue(catalogue, None, kind="random", seed=0).table
    sizes = table["split"].value_counts()
    assert sizes["val"] == sizes["test"] == (kept + 5) // 10
    assert (pd.crosstab(table["label"], table["split"]) >= 1).all().all()


def test_the_real_table_agrees_with_pandas_on_every_label(real, tmp_path):
    (tmp_path / "styles.csv").write_bytes(real.read(real.csv_name))
    expected = pd.read_csv(
        tmp_path / "styles.csv", on_bad_lines="skip", keep_default_na=False, dtype=str
    ).set_index("id")["articleType"]
    table = load_catalogue(real, min_images=1).table.set_index("id")["label"]
    assert len(expected) == 44_424
    pd.testing.assert_series_equal(table, expected[table.index], check_names=False)


def test_every_row_is_kept_or_dropped_with_its_reason(tiny_root):
    catalogue = load_catalogue(open_root(tiny_root), min_images=10)
    with open(tiny_root / "styles.csv", newline="") as file:
        written = [(line, row[0]) for line, row in enumerate(csv.reader(file), 1)][1:]
    assert catalogue.rows_in_file == len(written) == 124
    accounted = pd.concat([catalogue.table, catalogue.dropped])[["line", "id"]]
    assert sorted(accounted.itertuples(index=False, name=None)) == written
    dropped = catalogue.dropped.set_index("id")[["label", "reason", "detail"]].T.to_dict("list")
    assert dropped == {
        "2000": ["Jeans", "no image", ""],
        "2001": ["Umbrellas", "rare label", "2 photos, fewer than 10"],
        "2002": ["Umbrellas", "rare label", "2 photos, fewer than 10"],
        "2003": ["", "malformed", "12 fields, not 10"],
    }
    assert catalogue.rows_read == 123
    assert catalogue.counts() == {"kept": 120, "malformed": 1, "no image": 1, "rare label": 2}
    assert catalogue.describe() == (
        "124 rows in styles.csv = 120 kept in 3 classes + 4 dropped "
        "(2 rare label, 1 malformed, 1 no image)"
    )


def test_each_kept_row_has_its_own_label_and_photo(tiny_root):
    root = open_root(tiny_root)
    table = load_catalogue(root, min_images=10).table
    labels = pd.read_csv(tiny_root / "styles.csv", dtype=str, on_bad_lines="skip")
    labels = labels.set_index("id")["articleType"]
    assert (table["label"].to_numpy() == labels[table["id"]].to_numpy()).all()
    assert list(table["photo"]) == [f"{tiny_root}/images/{id_}.jpg" for id_ in table["id"]]
    assert table["id"].is_unique


def test_a_repaired_row_keeps_its_label(tiny_root):
    catalogue = load_catalogue(open_root(tiny_root), min_images=10, malformed_rows="repair")
    assert catalogue.counts() == {"kept": 121, "no image": 1, "rare label": 2}
    assert catalogue.table.set_index("id")["label"]["2003"] == "Shirts"


def test_repair_leaves_rows_with_too_few_fields_malformed(write_table):
    root = write_table(styles(*GOOD, "21,Shirts", "22"))
    for malformed_rows in ("skip", "repair"):
        catalogue = load_catalogue(root, min_images=3, malformed_rows=malformed_rows)
        dropped = catalogue.dropped[["line", "id", "reason", "detail"]].to_numpy().tolist()
        assert dropped == [
            [22, "21", "malformed", "2 fields, not 3"],
            [23, "22", "malformed", "1 fields, not 3"],
        ]


def test_a_row_without_label_is_dropped_and_said_so(write_table):
    catalogue = load_catalogue(write_table(styles(*GOOD, "21,,nameless")), min_images=3)
    assert catalogue.counts() == {"kept": 20, "no label": 1}


def test_blank_lines_quotes_crlf_and_a_byte_order_mark_are_no_faults(write_table):
    rows = [*GOOD[:10], "", '21,Shirts,"a name, with ""commas"" and\nanother line"', *GOOD[10:]]
    content = b"\xef\xbb\xbf" + styles(*rows).replace("\n", "\r\n").encode()
    catalogue = load_catalogue(write_table(content), min_images=3)
    assert catalogue.rows_in_file == len(catalogue.table) == 21
    lines = dict(zip(catalogue.table["id"], catalogue.table["line"], strict=True))
    assert [lines[id_] for id_ in ("1", "10", "21", "11")] == [2, 11, 13, 15]


def test_a_list_that_leaves_out_every_row_is_named(write_table):
    root = write_table(styles("1,Shirts,a", "2,Shirts,b"))
    with pytest.raises(
        ValueError, match=r"no row of styles\.csv is left\. They fell as excluded \(2\)"
    ):
        load_catalogue(root, min_images=1, review=Review(frozenset({"1", "2"})))


def test_labels_need_min_images_photos_not_rows(write_table):
    rows = [*GOOD, "21,Hats,a", "22,Hats,b", "23,Hats,c", "100,Hats,without photo"]
    root = write_table(styles(*rows))
    assert load_catalogue(root, min_images=3).class_names == ["Hats", "Jeans", "Shirts"]
    catalogue = load_catalogue(root, min_images=4)
    assert catalogue.class_names == ["Jeans", "Shirts"]
    assert catalogue.counts() == {"kept": 20, "no image": 1, "rare label": 3}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"data\.root='{root}': .*styles\.csv has no rows"),
        ("id,articleType,name\n", r"data\.root='{root}': .*styles\.csv has no rows"),
        (
            styles(*GOOD, header="number,articleType,name"),
            r"data\.id_column='id': .*data\.root='{root}' has no column 'id'; its columns are num",
        ),
        (
            styles(*GOOD, header="id,type,name"),
            r"data\.label_column='articleType': .*no column 'articleType'; .* are id, type",
        ),
        (
            styles(*GOOD, "21,Shirts,caf\xe9").encode("latin-1"),
            r"data\.root='{root}': .*styles\.csv is not UTF-8: line 22 has the byte 0xE9\. Save",
        ),
        (
            styles(*GOOD[:5], '21,Shirts,"a name', *GOOD[5:]),
            r"data\.root='{root}': styles\.csv: a quote in line 7 is not closed",
        ),
        (
            styles(*GOOD[:5], '21,"Shirts,a name', *GOOD[5:10], '22,Jeans,"b"', *GOOD[10:]),
            r"data\.root='{root}': styles\.csv: a quote in line 7 is not closed",
        ),
        (
            styles("100,Shirts,a", "101,Jeans,b"),
            r"data\.root='{root}': no row of .*styles\.csv has a photo images/<id>\.jpg",
        ),
        (
            styles(*GOOD[::2]),
            r"data\.min_images=3 leaves 1 of 1 classes of data\.label_column='articleType'; a "
            r"classifier needs two\. The largest classes are 'Shirts' \(10\)\. Lower",
        ),
        (
            styles(*GOOD[:3]),
            r"data\.min_images=3 leaves 0 of 2 classes .*'Shirts' \(2\), 'Jeans' \(1\)\. Lower",
        ),
    ],
    ids=[
        "empty", "header only", "no id", "no label", "encoding", "quote", "quote closed later",
        "no photos", "one class", "no class",
    ],
)  # fmt: skip
def test_an_unusable_table_is_refused_in_one_sentence(write_table, content, message):
    root = write_table(content)
    with pytest.raises(ValueError, match=message.format(root=re.escape(str(root.path)))):
        load_catalogue(root, min_images=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"malformed_rows": "keep"},
            r"data\.malformed_rows='keep' is unknown; pass skip or repair",
        ),
        ({"min_images": 0}, r"data\.min_images=0 must be at least 1"),
        (
            {"label_column": "colour"},
            r"data\.label_column='colour': .*columns are id, gender, mast",
        ),
    ],
)
def test_a_wrong_setting_is_named(tiny_root, settings, message):
    with pytest.raises(ValueError, match=message):
        load_catalogue(open_root(tiny_root), **settings)


def test_unreadable_photos_are_dropped_and_can_make_a_label_rare(tiny_root):
    catalogue = load_catalogue(open_root(tiny_root), min_images=40)
    assert drop_unreadable(catalogue, {}, 40) is catalogue
    jeans = catalogue.table[catalogue.table["label"] == "Jeans"]["id"].iloc[0]
    dropped = drop_unreadable(catalogue, {jeans: "empty file"}, 40)
    assert dropped.class_names == ["Shirts", "Watches"]
    assert dropped.counts() == {
        "kept": 80, "malformed": 1, "no image": 1, "rare label": 2 + 39, "unreadable image": 1,
    }  # fmt: skip
    row = dropped.dropped.set_index("id").loc[jeans]
    assert (row["reason"], row["detail"]) == ("unreadable image", "empty file")
    assert sum(dropped.counts().values()) == dropped.rows_in_file
