"""Names in a catalogue's table, and the settings that ask for them."""

import pytest

from fashion.catalogue.root import open_root
from fashion.catalogue.split_catalogue import split_catalogue
from fashion.catalogue.structure import Structure
from fashion.catalogue.table import load_catalogue

TEXT = "productDisplayName"


@pytest.fixture(scope="module")
def root(write_catalogue, tmp_path_factory):
    """30 photos of two labels, in threes of one name that is written in three ways."""
    forms = (str.upper, str.lower, "  {}  ".format)
    rows = [
        {"id": str(i), "articleType": label, TEXT: forms[i % 3](f"Casio {label} {i // 3}")}
        for i, label in enumerate(["Shirts"] * 15 + ["Watches"] * 15)
    ]
    return open_root(str(write_catalogue(tmp_path_factory.mktemp("named"), rows)), "styles.csv")


def test_names_are_a_column(root):
    catalogue = load_catalogue(root, min_images=3, structure=Structure(text_column=TEXT))
    names = catalogue.table.set_index("id")["name"]
    assert names["0"] == "CASIO SHIRTS 0"
    assert names["2"] == "Casio Shirts 0"


def test_without_the_setting_there_are_none(root):
    assert "name" not in load_catalogue(root, min_images=3).table


def test_photos_of_equal_names_stay_in_one_split_on_request(root):
    structure = Structure(text_column=TEXT, group_column=TEXT)
    catalogue = load_catalogue(root, min_images=3, structure=structure)
    assert catalogue.num_products == 10
    splits = split_catalogue(catalogue, None, kind="random", seed=0)
    assert (
        splits.table.assign(low=splits.table["name"].str.lower().str.strip())
        .groupby("low")["split"]
        .nunique()
        .tolist()
        == [1] * 10
    )
    apart = split_catalogue(
        load_catalogue(root, min_images=3, structure=Structure(text_column=TEXT)),
        *(None,),
        kind="random",
        seed=0,
    )
    names = apart.table["name"].str.lower().str.strip()
    assert apart.table.groupby(names)["split"].nunique().max() > 1


def test_folders_have_no_names(tmp_path, write_catalogue):
    for label in ("a", "b"):
        write_catalogue(tmp_path / label, [{"id": "1", "articleType": "Shirts"}])
        (tmp_path / label / "styles.csv").unlink()
    folders = open_root(str(tmp_path), None)
    with pytest.raises(ValueError, match=r"data\.text_column='name'.*leave data\.text_column out"):
        load_catalogue(folders, min_images=1, structure=Structure(text_column="name"))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"text_mask": "type", "text_column": TEXT}, r"data\.text_mask='type' is unknown; pass"),
        ({"text_mask": "none"}, r"data\.text_mask=none has no effect without names"),
        ({"text_column": "articleType"}, r"data\.text_column='articleType' is what is classified"),
    ],
)
def test_settings_of_names_are_checked(data_settings, tmp_path, changes, reason):
    with pytest.raises(ValueError, match=reason):
        data_settings(tmp_path, **changes)
