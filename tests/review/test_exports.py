import csv
import os

import pytest

from fashion.catalogue.root import open_root
from fashion.catalogue.table import load_catalogue
from fashion.review.exports import Exported, Known, export


@pytest.fixture
def decided(store, offer, decide):
    """Six photos: Tops, Shirts, no class, left out, disputed, undone."""
    photos = [offer(store, number, name=f"shop/{number}.jpg") for number in range(6)]
    decide(store, photos[0], "Tops")
    decide(store, photos[1], "Shirts", kind="accepted")
    decide(store, photos[1], "Shirts", person="ben")
    decide(store, photos[2], kind="no_class")
    decide(store, photos[3], kind="left_out")
    for person, label in (("anna", "Tops"), ("ben", "Shirts")):
        decide(store, photos[4], label, person=person)
    decide(store, photos[5], "Tops")
    decide(store, photos[5], kind="undone")
    return photos


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_new_photos_become_a_catalogue(store, decided, jpeg, tmp_path):
    assert export(store, tmp_path) == Exported(new=2, left_out=2, apart=1)
    root = open_root(tmp_path / "more", "corrections.csv")
    table = load_catalogue(root, "label", None).table.set_index("id")
    assert table["label"].to_dict() == {decided[0]: "Tops", decided[1]: "Shirts"}
    assert root.read(table["photo"][decided[1]]) == jpeg(1)
    assert root.read(table["photo"][decided[1]]) == store.photo(decided[1])
    rows = rows_of(tmp_path / "more" / "corrections.csv")
    assert ["shop/1.jpg", "anna ben"] in [row[3:] for row in rows]
    assert rows_of(tmp_path / "relabel.csv") == [["id", "label"]]
    assert rows_of(tmp_path / "exclude.csv") == [["id"]]


def test_photos_of_the_known_catalogue_become_lists(store, decided, tmp_path):
    known = {
        decided[0]: [Known("11", "Shirts"), Known("12", "Tops")],
        decided[2]: [Known("13", "Tops")],
        decided[4]: [Known("14", "Tops")],
    }
    done = export(store, tmp_path, lambda photos: {p: known[p] for p in photos if p in known})
    assert done == Exported(new=1, relabelled=1, confirmed=1, excluded=1, left_out=1, apart=1)
    assert rows_of(tmp_path / "relabel.csv") == [["id", "label"], ["11", "Tops"]]
    assert rows_of(tmp_path / "exclude.csv") == [["id"], ["13"]]
    assert len(rows_of(tmp_path / "more" / "corrections.csv")) == 2


@pytest.mark.parametrize("order", [(0, 2), (2, 0)])
def test_of_two_photos_of_one_id_the_later_decision_counts(store, decided, decide, order, tmp_path):
    for place in order:
        decide(store, decided[place], *(["Tops"] if place == 0 else []),
               kind="corrected" if place == 0 else "no_class")  # fmt: skip
    found = {decided[place]: [Known("11", "Shirts")] for place in order}
    done = export(store, tmp_path, lambda _: found)
    assert (done.relabelled, done.excluded) == ((1, 0) if order[-1] == 0 else (0, 1))


def test_an_export_again_replaces_the_earlier_and_keeps_the_times_of_photos(
    store, decided, decide, tmp_path
):
    export(store, tmp_path)
    (photo,) = (tmp_path / "more" / "images").glob(f"{decided[0]}*")
    os.utime(store.photos.path(decided[0]), (1_700_000_000, 1_700_000_000))
    decide(store, decided[1], kind="no_class")
    decide(store, decided[1], kind="no_class", person="ben")
    assert export(store, tmp_path).new == 1
    assert [path.name for path in (tmp_path / "more" / "images").iterdir()] == [photo.name]
    assert photo.suffix == ".jpg"
    assert photo.stat().st_mtime == 1_700_000_000


def test_a_photo_whose_file_is_gone_is_counted(store, decided, tmp_path):
    store.photos.path(decided[0]).unlink()
    done = export(store, tmp_path)
    assert (done.new, done.lost) == (1, 1)
    assert "1 whose file is gone or damaged" in done.describe()


def test_without_decisions_there_is_nothing_to_export(store, offer, tmp_path):
    offer(store, 1)
    with pytest.raises(ValueError, match="nobody has decided on a photo yet"):
        export(store, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_spreadsheet_computes_a_name(store, offer, decide, tmp_path):
    decide(store, offer(store, 1, name="=cmd()"), "Tops")
    export(store, tmp_path)
    assert rows_of(tmp_path / "more" / "corrections.csv")[1][3] == "'=cmd()"
