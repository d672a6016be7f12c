import hashlib

import pandas as pd
import pytest

from fashion.catalogue.root import open_root
from fashion.catalogue.split_catalogue import SplitCatalogue, split_catalogue
from fashion.catalogue.table import Catalogue, load_catalogue


def split_of(table, twins=None, **settings) -> SplitCatalogue:
    """Splits a table whose catalogue dropped nothing."""
    nothing = pd.DataFrame(columns=["line", "id", "label", "reason", "detail"])
    catalogue = Catalogue(table, nothing, len(table), pd.DataFrame(), "a table")
    return split_catalogue(catalogue, twins, **{"kind": "random", "seed": 0, **settings})


def test_splits_csv_is_the_same_bytes_on_any_machine():
    table = pd.DataFrame(
        {
            "id": [str(i) for i in range(30)],
            "label": ["Tops, knitted", 'a "quote"', "Über"] * 10,
            "photo": "unused",
        }
    )
    splits = split_of(table, seed=3)
    content = splits.csv()
    assert content.startswith(b'id,label,split\n0,"Tops, knitted",')
    assert b"\r" not in content
    digest = hashlib.sha256(content).hexdigest()
    assert digest == "4774b9c17be896ec65dd4a5613fd2e095acc362ab245d948ae31194ff89c39cc"
    assert splits.sha256() == digest


def test_the_written_tables_hold_every_row_of_the_file(tiny_root, tmp_path):
    catalogue = load_catalogue(open_root(tiny_root), min_images=10)
    splits = split_catalogue(catalogue, None, kind="random", seed=0)
    splits.write_tables(tmp_path / "new" / "run")
    written = tmp_path / "new" / "run" / "splits.csv"
    assert written.read_bytes() == splits.csv()
    audit = pd.read_csv(tmp_path / "new" / "run" / "audit.csv")
    assert audit["line"].tolist() == [122, 123, 124, 125]
    assert len(pd.read_csv(written)) + len(audit) == catalogue.rows_in_file


def table_and_twins() -> tuple[pd.DataFrame, pd.DataFrame]:
    """60 photos of two classes; the first six make two groups of twins."""
    ids = [str(i) for i in range(60)]
    table = pd.DataFrame({"line": range(2, 62), "id": ids, "label": ["a", "b"] * 30, "photo": ids})
    twins = table[:6][["id", "label"]].assign(group=[0, 0, 0, 0, 1, 1], distance=0.0)
    return table, twins


@pytest.mark.parametrize("seed", range(5))
def test_a_photo_has_a_twin_where_another_of_its_group_is_trained_on(seed):
    table, twins = table_and_twins()
    splits = split_of(table, twins, seed=seed)
    split = dict(zip(splits.table["id"], splits.table["split"], strict=True))
    for name in ("train", "val", "test", "all"):
        expected = [
            any(
                split[other] == "train" and other != id_
                for members in (range(4), range(4, 6))
                if id_ in map(str, members)
                for other in map(str, members)
            )
            for id_ in splits.rows(name)["id"]
        ]
        assert splits.has_twin(name).tolist() == expected
    assert splits.facts()["test_with_twin_in_train"] == splits.has_twin("test").sum()


@pytest.mark.parametrize("settings", [{"kind": "grouped"}, {"kind": "grouped", "folds": 5}])
def test_grouped_splits_keep_the_twins_together(settings):
    table, twins = table_and_twins()
    splits = split_of(table, twins, **settings)
    for _, members in twins.groupby("group"):
        assert splits.table[splits.table["id"].isin(members["id"])]["split"].nunique() == 1
    assert not splits.has_twin("test").any()
    assert not splits.has_twin("val").any()


def test_fewer_classes_keep_their_order_of_targets_and_account_for_the_others():
    table, twins = table_and_twins()
    catalogue = split_of(table, twins).catalogue
    splits = SplitCatalogue.undivided(catalogue, ["c", "b"])
    assert splits.class_names == ["c", "b"]
    assert splits.targets("all").tolist() == [1] * 30
    assert splits.class_counts() == {"b": {"all": 30}}
    assert splits.rows("all")["id"].tolist() == [str(i) for i in range(1, 60, 2)]
    assert splits.facts()["dropped"] == {"unknown label": 30}
    assert splits.has_twin("all") is None
    assert "twins" not in splits.facts()
