import pandas as pd
import pytest

from fashion.attributes import MISSING, Heads
from fashion.catalogue.attributes import attribute_facts, choose_values, describe_attribute
from fashion.catalogue.root import open_root
from fashion.catalogue.split_catalogue import SplitCatalogue, split_catalogue
from fashion.catalogue.table import load_catalogue


@pytest.fixture
def root(write_catalogue, tmp_path):
    """60 Shirts and Jeans: a third of each gender, one in ten without, three Unisex."""
    genders = ["Men", "Women", "Boys"] * 19 + ["NA", "", "Unisex"]
    rows = [
        {"id": str(i), "articleType": ["Shirts", "Jeans"][i % 2], "gender": gender}
        for i, gender in enumerate(genders)
    ]
    return open_root(write_catalogue(tmp_path / "catalogue", rows))


def load(root, *attributes, **settings):
    return load_catalogue(root, min_images=5, attributes=attributes, **settings)


def test_splits_are_those_of_the_label_alone(root):
    alone = split_catalogue(load(root), None, kind="random", seed=0)
    splits = split_catalogue(load(root, "gender"), None, kind="random", seed=0, min_images=5)
    assert splits.table["split"].tolist() == alone.table["split"].tolist()
    assert splits.class_names == alone.class_names == ["Jeans", "Shirts"]
    assert splits.attributes == {"gender": ("Boys", "Men", "Women")}
    assert splits.csv().startswith(b"id,label,split,label:gender\n0,Shirts,")
    assert alone.csv().startswith(b"id,label,split\n0,Shirts,")
    assert splits.sha256() != alone.sha256()


def test_a_photo_without_a_value_or_with_a_rare_one_keeps_its_label(root):
    splits = split_catalogue(load(root, "gender"), None, kind="random", seed=0, min_images=5)
    targets = splits.targets("all")
    assert targets.shape == (60, 2)
    assert targets[:4, 1].tolist() == [1, 2, 0, 1]
    assert targets[-3:, 1].tolist() == [MISSING] * 3  # what looks like none, none, and a rare one
    assert (targets[:, 0] == splits.table["label"].eq("Shirts")).all()
    facts = {"values": 3, "photos": 57, "no_value": 2, "rare": {"Unisex": 1}}
    assert splits.facts()["attributes"] == {"gender": facts}
    [line] = splits.describe_attributes()
    assert line == (
        "gender: 57 photos of 3 values; 2 without one, 1 with one that doesn't count: 'Unisex' (1)"
    )
    assert "attributes" not in split_catalogue(load(root), None, kind="random", seed=0).facts()


def test_a_value_that_no_training_photo_has_does_not_count():
    values, splits = ["a", "b", "c"] * 4, ["train", "train", "test"] * 4
    table = pd.DataFrame({"label:kind": values, "split": splits})
    assert choose_values(table, 2) == {"kind": ("a", "b")}
    facts = attribute_facts(table, {"kind": ("a", "b"), "other": ("x", "y")})
    assert facts["kind"] == {"values": 2, "photos": 8, "no_value": 0, "rare": {"c": 4}}
    assert facts["other"]["no_value"] == 12  # of a catalogue that lacks the column
    assert describe_attribute("kind", {**facts["kind"], "rare": {}}).endswith("; 0 without one")


def test_the_values_of_a_model_are_looked_for_in_any_catalogue(root):
    heads = Heads.of(["Shirts"], {"gender": ["Women", "Men"], "season": ["Fall", "Summer"]})
    splits = SplitCatalogue.undivided(load(root, "gender"), ["Shirts"], attributes=heads.attributes)
    assert splits.heads == heads
    assert set(splits.targets("all")[:, 1].tolist()) == {0, 1, MISSING}
    assert set(splits.targets("all")[:, 2].tolist()) == {MISSING}


def test_an_attribute_of_one_value_is_refused(root):
    with pytest.raises(
        ValueError,
        match=r"data\.label_column: 'masterCategory' has 0 values of data\.min_images=5 photos .* "
        r"two; its largest are none\. Leave it out of the list, or lower data\.min_images\.",
    ):
        split_catalogue(load(root, "masterCategory"), None, kind="random", seed=0, min_images=5)
    with pytest.raises(ValueError, match=r"'gender' has 0 values .* are 'Men' \(19\), 'Women'"):
        split_catalogue(load(root, "gender"), None, kind="random", seed=0, min_images=20)


def test_a_column_that_is_not_there_is_named(root):
    with pytest.raises(
        ValueError, match=r"data\.label_column\[2\]='gendr': .* \(did you mean 'gender'\?\)"
    ):
        load(root, "usage", "gendr")


def test_folders_tell_no_attributes(tmp_path, write_catalogue):
    write_catalogue(tmp_path, [{"id": str(i), "articleType": "Shirts"} for i in range(6)])
    (tmp_path / "styles.csv").unlink()
    (tmp_path / "other").mkdir()
    (tmp_path / "images" / "0.jpg").rename(tmp_path / "other" / "0.jpg")
    with pytest.raises(ValueError, match=r"data\.label_column=\['a', 'b'\]: .* has no table"):
        load_catalogue(open_root(tmp_path, None), "a", 1, attributes=["b"])
