import logging
import zipfile

import pandas as pd
import pytest

from fashion.catalogue.folders import divide
from fashion.catalogue.root import open_root
from fashion.catalogue.split_catalogue import split_catalogue
from fashion.catalogue.structure import Structure
from fashion.catalogue.table import load_catalogue
from fashion.data.preparation import load


def write(root, folders):
    """Writes `{folder: photos}`; nobody decodes them here."""
    for folder, count in folders.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (root / folder / f"{number}.jpg").write_bytes(b"")
    return root


def zipped(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*.jpg"):
            archive.write(file, f"{folder.name}/{file.relative_to(folder)}")
    return path


def read(root, min_images=3, **structure):
    return load_catalogue(open_root(root), min_images=min_images, structure=Structure(**structure))


def classes(catalogue):
    return catalogue.table["label"].value_counts().sort_index().to_dict()


LABELS = ["Hats", "Jeans", "Shirts"]
PRODUCTS = {f"{label}/SKU{number}{label}": 2 for label in LABELS for number in range(5)}
VIEWS = {f"{label}/{view}": 6 for label in LABELS for view in ("front", "back")}


@pytest.mark.parametrize("name", ["train", "val", "valid", "Validation", "dev", "TEST", "testing"])
def test_a_folder_that_names_a_split_and_holds_photos_is_no_class(tmp_path, name):
    catalogue = read(write(tmp_path / "a", {"cat": 4, "dog": 4, name: 5}))
    assert classes(catalogue) == {"cat": 4, "dog": 4}
    assert catalogue.counts()["no label"] == 5
    (note,) = catalogue.notes
    assert note.startswith(f"5 photos lie right in the folder {name!r}, which names a split")


@pytest.mark.parametrize("inside", ["", "test/"])
def test_unlabelled_test_photos_beside_train_are_no_class(tmp_path, inside):
    root = write(tmp_path / "a", {"train/cat": 4, "train/dog": 4, f"test/{inside}": 5})
    for catalogue in (read(root), read(zipped(root, tmp_path / "a.zip"))):
        assert classes(catalogue) == {"cat": 4, "dog": 4}
        assert catalogue.counts() == {"kept": 8, "no label": 5}


def test_two_classes_of_which_one_names_a_split_are_too_few(tmp_path):
    with pytest.raises(ValueError, match="leaves 1 of 1 classes of the folders"):
        read(write(tmp_path / "a", {"valid": 9, "invalid": 9}))


def test_folders_of_splits_are_named_where_the_splits_are_drawn_anew(tmp_path):
    root = write(tmp_path / "a", {"train/cat": 4, "train/dog": 4, "test/cat": 2, "test/dog": 2})
    (note,) = read(root).notes
    assert note.startswith("The photos lie in the folders test, train, but the splits are drawn")
    assert "data.split=given" in note
    assert read(root, keeps_splits=True).notes == ()


@pytest.mark.parametrize("level", [-1, 1])
@pytest.mark.parametrize("layout", ["{split}/{label}", "data/{split}/{label}", "{label}/{split}"])
def test_folders_of_splits_are_no_level_wherever_they_lie(tmp_path, layout, level):
    words = {"Training": "train", "dev": "val", "test": "test"}
    given = {
        layout.format(split=word, label=label): 3 for word in words for label in ("cat", "dog")
    }
    for root in (write(tmp_path / "a", given), zipped(tmp_path / "a", tmp_path / "a.zip")):
        catalogue = read(root, label_level=level, keeps_splits=True)
        assert classes(catalogue) == {"cat": 9, "dog": 9}
        for id_, split in zip(catalogue.table["id"], catalogue.table["given"], strict=True):
            assert [split] == [words[part] for part in id_.split("/") if part in words]


def test_a_split_s_name_within_classes_is_a_class():
    folders = [("toys", "car"), ("toys", "train"), ("tools", "saw")]
    assert divide(folders, is_packed=False) == (["", "", ""], folders)


def test_the_label_may_be_any_level(tmp_path):
    root = write(tmp_path / "a", {f"{each}/1": 1 for each in VIEWS})
    expected = {1: LABELS, 2: ["back", "front"], -3: LABELS}
    for level, names in expected.items():
        for each in (root, zipped(root, tmp_path / "a.zip")):
            assert read(each, 1, label_level=level).class_names == names


def test_photos_above_the_level_have_no_label(tmp_path):
    catalogue = read(write(tmp_path / "a", {**VIEWS, "Hats": 2}), label_level=2)
    assert classes(catalogue) == {"back": 18, "front": 18}
    assert catalogue.counts()["no label"] == 2


def test_a_folder_and_its_zip_have_the_same_classes(tmp_path):
    for name, folders in {"p": PRODUCTS, "v": VIEWS, "r": {"cat": 3, "dog": 3, "": 1}}.items():
        root = write(tmp_path / name, folders)
        packed = zipped(root, tmp_path / f"{name}.zip")
        for level in (-1, 1):
            both = [read(each, 1, label_level=level) for each in (root, packed)]
            assert classes(both[0]) == classes(both[1])
            assert both[0].counts() == both[1].counts()


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        ({**VIEWS}, "and 'back' is taken for one class from Hats/back and Jeans/back"),
        ({**VIEWS, "Hats": 3}, "but photos lie at several depths, as in Hats and Hats/back"),
        (dict.fromkeys(PRODUCTS, 4), "and its 15 classes have few photos, 4 or so"),
    ],
)
def test_another_level_is_named_where_it_may_be_meant(tmp_path, folders, words):
    (note,) = read(write(tmp_path / "a", folders)).notes
    assert note.startswith(f"The label is the name of a photo's own folder, {words}")
    assert note.endswith("data.label_level=1 takes Hats, Jeans, Shirts instead.")


def test_nothing_is_said_of_ordinary_folders(tmp_path):
    assert read(write(tmp_path / "flat", {"cat": 3, "dog": 3})).notes == ()
    deep = {f"{top}/{top}{number}": 20 for top in "ab" for number in range(2)}
    assert read(write(tmp_path / "deep", deep)).notes == ()


def test_classes_that_are_products_end_in_the_level_to_pass(tmp_path):
    root = write(tmp_path / "a", PRODUCTS)
    with pytest.raises(ValueError, match="leaves 0 of 15 classes of the folders") as raised:
        read(root)
    assert "data.label_level=1 takes Hats, Jeans, Shirts instead" in str(raised.value)
    assert "label_column" not in str(raised.value)


def test_a_level_below_all_folders_is_told_with_a_photo(tmp_path):
    message = "6 of 6 rows of the folders have no folder that names a label, 'Hats/0.jpg' for one"
    with pytest.raises(ValueError, match=message):
        read(write(tmp_path / "a", {"Hats": 3, "Jeans": 3}), 1, label_level=5)


def test_photos_of_a_product_s_folder_stay_in_one_split(tmp_path):
    root = write(tmp_path / "a", dict.fromkeys(PRODUCTS, 3))
    (note,) = read(root, label_level=1).notes
    assert "data.group_level=2" in note
    catalogue = read(root, label_level=1, group_level=2)
    assert catalogue.notes == ()
    assert catalogue.describe().endswith("; photos of 15 products")
    for kind in ("random", "grouped"):
        splits = split_catalogue(catalogue, None, kind=kind, seed=1)
        folders = splits.table["id"].str.rpartition("/")[0]
        assert (splits.table.groupby(folders)["split"].nunique() == 1).all()
        assert splits.facts()["products"] == 15


def test_the_level_of_products_counts_from_either_end(tmp_path):
    root = write(tmp_path / "a", {f"{each}/large": 2 for each in PRODUCTS})
    tables = [read(root, label_level=1, group_level=level).table for level in (2, -2)]
    products = [pd.factorize(table["product"])[0].tolist() for table in tables]
    assert products[0] == products[1]
    assert len(set(products[0])) == 15


def test_two_products_a_class_are_too_few(tmp_path):
    catalogue = read(write(tmp_path / "a", VIEWS), label_level=1, group_level=2)
    message = r"data\.group_level=2: the class 'Hats' has its 12 photos in 2 products, too few"
    with pytest.raises(ValueError, match=message):
        split_catalogue(catalogue, None, kind="random", seed=0)


@pytest.mark.parametrize("key", ["group_column", "split_column"])
def test_keys_of_tables_are_refused_for_folders(tmp_path, key):
    root = write(tmp_path / "a", VIEWS)
    with pytest.raises(ValueError, match=f"data.{key}='x': data.root=.* has no table"):
        read(root, **{key: "x"})


@pytest.mark.parametrize("key", ["label_level", "group_level"])
def test_keys_of_folders_are_refused_for_tables(tiny_root, key):
    with pytest.raises(ValueError, match=f"data.{key}=1 counts folders, but .* holds styles.csv"):
        read(tiny_root, **{key: 1})


def test_notes_are_told_when_the_catalogue_is_read(tmp_path, data_settings, caplog):
    root = write(tmp_path / "a", VIEWS)
    with caplog.at_level(logging.WARNING):
        load(data_settings(root, min_images=3))
    assert "data.label_level=1" in caplog.text
