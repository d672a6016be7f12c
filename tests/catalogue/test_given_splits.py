import numpy as np
import pandas as pd
import pytest

from fashion.catalogue.groups import joined
from fashion.catalogue.root import open_root
from fashion.catalogue.split_catalogue import split_catalogue
from fashion.catalogue.splits import SPLITS, assign_given_splits
from fashion.catalogue.structure import Structure
from fashion.catalogue.table import Catalogue, load_catalogue
from fashion.data.preparation import catalogue_facts, load


def table_of(rng, num_classes=4, largest=60, names=SPLITS):
    """A table of random given splits."""
    labels = [f"c{k}" for k in range(num_classes) for _ in range(rng.integers(3, largest))]
    given = rng.choice(names, len(labels))
    ids = [str(number) for number in range(len(labels))]
    return pd.DataFrame(
        {"line": range(2, len(ids) + 2), "id": ids, "photo": ids, "label": labels, "given": given}
    )


def groups_of(rng, table, largest=6):
    """Random groups within a class, numbered by their last row."""
    ends = np.cumsum(rng.integers(1, largest, len(table)))
    number = np.searchsorted(ends, np.arange(len(table)), "right")
    return pd.Series(pd.factorize(table["label"] + number.astype(str))[0], index=table.index)


def catalogue_of(table):
    nothing = pd.DataFrame(columns=["line", "id", "label", "reason", "detail", "photo"])
    return Catalogue(table, nothing, len(table), pd.DataFrame(), "a table", grouped_by="data.g='p'")


def test_all_three_given_splits_are_kept_exactly():
    rng = np.random.default_rng(0)
    for _ in range(20):
        table = table_of(rng)
        split = assign_given_splits(table, groups_of(rng, table), int(rng.integers(9)))["split"]
        assert split.tolist() == table["given"].tolist()


@pytest.mark.parametrize("missing", ["val", "test"])
def test_a_split_that_is_missing_is_a_ninth_of_train_and_parts_no_group(missing):
    rng = np.random.default_rng(1)
    for _ in range(40):
        names = [name for name in SPLITS if name != missing]
        table = table_of(rng, largest=int(rng.integers(10, 200)), names=names)
        groups = groups_of(rng, table)
        split = assign_given_splits(table, groups, 3)["split"]
        was_train = table["given"] == "train"
        assert split[~was_train].tolist() == table["given"][~was_train].tolist()
        assert set(split[was_train]) == {"train", missing}
        in_train = split[was_train].groupby(groups[was_train]).nunique()
        assert (in_train == 1).all()
        for label, rows in table[was_train].groupby("label"):
            number, most = (split[rows.index] == missing).sum(), groups[rows.index].value_counts()
            assert number < len(rows), label
            assert abs(number - len(rows) / 9) <= max(most.max(), 1) + 1
            assert number > 0 or len(most) == 1


def test_nothing_can_be_drawn_from_a_train_of_single_photos():
    table = pd.DataFrame({"id": list("abcd"), "label": list("xyxy")})
    table["given"] = ["train", "train", "test", "test"]
    with pytest.raises(ValueError, match="there is no val, and of the 2 photos of train none"):
        assign_given_splits(table, pd.Series(range(4)), 0)


def write(write_catalogue, folder, given, **columns):
    """A catalogue whose column `season` has the given splits."""
    rows = [
        {
            "id": str(1000 + number),
            "articleType": ("Shirts", "Jeans", "Watches")[number % 3],
            "season": word,
            **{name: values[number] for name, values in columns.items()},
        }
        for number, word in enumerate(given)
    ]
    return write_catalogue(folder, rows, size=(8, 8))


def read(root, column="season", **changes):
    return load_catalogue(
        open_root(root),
        min_images=3,
        structure=Structure(keeps_splits=True, split_column=column, **changes),
    )


WORDS = ["Training", "train", " TRAIN ", "dev", "valid", "VAL", "test", "Testing", "tEST "]


def test_a_column_gives_the_splits_in_any_of_their_words(tmp_path, write_catalogue):
    words = [WORDS[i // 3 % 9] for i in range(54)]
    catalogue = read(write(write_catalogue, tmp_path / "a", [*words, "", " "]))
    splits = split_catalogue(catalogue, None, kind="given", seed=0)
    meant = [["train", "val", "test"][i // 3 % 9 // 3] for i in range(54)]
    assert splits.table["split"].tolist() == meant
    assert splits.facts()["dropped"] == {"no split": 2}
    assert splits.notes() == []


def test_words_that_name_no_split_are_refused_or_left_out_when_few(tmp_path, write_catalogue):
    mostly = ["train", "test", "val"] * 20
    root = write(write_catalogue, tmp_path / "few", [*sorted(mostly), "holdout"])
    catalogue = read(root)
    assert catalogue.counts() == {"kept": 60, "no split": 1}
    assert catalogue.notes == (
        "data.split_column='season' says 'holdout' (1), which is no split: 1 photos are left out.",
    )
    usage = ["train", "query", "gallery"] * 20
    root = write(write_catalogue, tmp_path / "many", mostly, usage=sorted(usage))
    with pytest.raises(ValueError, match=r"'gallery' .*'query' .* of 40 of 60 photos"):
        read(root, column="usage")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["train"] * 12, r"all labelled photos are in train \(12\), so that nothing is held out"),
        (["val", "test"] * 6, r"no labelled photo is in train; there is val \(6\), test \(6\)"),
        ([""] * 12, "none at all|no row"),
    ],
)
def test_splits_that_give_nothing_are_refused(tmp_path, write_catalogue, given, message):
    with pytest.raises(ValueError, match=message):
        read(write(write_catalogue, tmp_path / "a", given))


def test_a_class_without_train_photos_is_left_out_and_one_without_test_is_told(
    tmp_path, write_catalogue
):
    given = ["train", "test", "train"] * 2 + ["val", "val", "train"] * 2 + ["test", "test", "train"]
    root = write(write_catalogue, tmp_path / "a", [*given, *["train", "val", "val"] * 3])
    catalogue = read(root)
    assert catalogue.class_names == ["Shirts", "Watches"]
    assert catalogue.counts() == {"kept": 16, "label not in train": 8}
    splits = split_catalogue(catalogue, None, kind="given", seed=0)
    assert splits.notes() == [
        "1 class has no test photo (Watches): the figures of test say nothing of it."
    ]
    assert splits.class_counts()["Watches"]["test"] == 0


def test_folders_of_photos_give_a_table_s_splits(tmp_path):
    for word in ("train", "val", "test"):
        (tmp_path / "images" / word).mkdir(parents=True)
        for number in range(6):
            (tmp_path / "images" / word / f"{number}.jpg").write_bytes(b"")
    rows = [f"{w}/{n}.jpg,{'ab'[n % 2]}" for n in range(6) for w in ("train", "val", "test")]
    (tmp_path / "styles.csv").write_text("\n".join(["file,label", *rows]))
    catalogue = load_catalogue(
        open_root(tmp_path),
        "label",
        3,
        id_column=None,
        image_column="file",
        structure=Structure(keeps_splits=True),
    )
    assert catalogue.table["given"].tolist() == ["train", "val", "test"] * 6


def test_a_column_that_is_not_there_is_named(tiny_root):
    for key in ("split_column", "group_column"):
        structure = Structure(keeps_splits=True, **{key: "part"})
        with pytest.raises(ValueError, match=f"data.{key}='part': .* its columns are id, gender"):
            load_catalogue(open_root(tiny_root), min_images=20, structure=structure)


def test_joined_groups_are_the_connected_parts():
    nx = pytest.importorskip("networkx")
    rng = np.random.default_rng(0)
    for _ in range(30):
        size = int(rng.integers(1, 80))
        first, second = rng.integers(0, size, (2, size)).tolist()
        graph = nx.Graph()
        for row, (one, other) in enumerate(zip(first, second, strict=True)):
            graph.add_edges_from([(row, ("f", one)), (row, ("s", other))])
        expected = {
            frozenset(node for node in part if isinstance(node, int))
            for part in nx.connected_components(graph)
        }
        groups = pd.Series(joined(first, second))
        assert {frozenset(rows) for rows in groups.groupby(groups).groups.values()} == expected


@pytest.mark.parametrize("folds", [None, 4])
@pytest.mark.parametrize("kind", ["random", "grouped"])
def test_no_product_and_under_grouped_no_twin_is_in_two_splits(kind, folds):
    rng = np.random.default_rng(2)
    for seed in range(15):
        table = table_of(rng, int(rng.integers(2, 6)), largest=300).drop(columns="given")
        table = table[table["label"].map(table["label"].value_counts()) > 100]
        if table["label"].nunique() < 2:
            continue
        table["product"] = groups_of(rng, table).astype(str)
        members = rng.permutation(table.index[: len(table) // 30])
        twins = table.loc[members, ["id", "label"]].assign(distance=0.0)
        twins["group"] = np.arange(len(twins)) // 2
        twins = twins[twins.groupby("group")["id"].transform("size") == 2]
        splits = split_catalogue(catalogue_of(table), twins, kind=kind, seed=seed, folds=folds)
        split = splits.table["split"]
        assert (split.groupby(table["product"]).nunique() == 1).all()
        if kind == "grouped":
            assert not splits.has_twin("test").any()
            assert not splits.has_twin("val").any()
        counts = pd.crosstab(table["label"], split)
        assert counts.min().min() > 0
        if folds is None and kind == "random":
            assert abs((split == "test").mean() - 0.1) < 0.05
        assert splits.facts()["products"] == table["product"].nunique()


def test_given_splits_that_part_a_product_are_counted():
    table = table_of(np.random.default_rng(3))
    table["product"] = table["label"]
    splits = split_catalogue(catalogue_of(table), None, kind="given", seed=0)
    assert splits.table["split"].tolist() == table["given"].tolist()
    assert splits.notes()[0].startswith("4 of 4 products have photos in more than one of the given")


def test_a_column_of_products_keeps_them_together(tmp_path, write_catalogue):
    words = ["Red", "Blue", ""] * 20
    root = write(write_catalogue, tmp_path / "a", [str(i // 3) for i in range(60)], usage=words)
    catalogue = load_catalogue(
        open_root(root), min_images=3, structure=Structure(group_column="season")
    )
    assert catalogue.num_products == 20
    assert catalogue.describe().endswith("; photos of 20 products")
    blank = load_catalogue(open_root(root), min_images=3, structure=Structure(group_column="usage"))
    assert blank.num_products == 2 + 20  # each photo without a value is of its own


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split_column": "part"}, "data.split_column='part' has no effect with data.split=random"),
        ({"split": "given", "folds": 5}, "data.folds=5 draws splits of its own"),
        ({"label_level": 0}, "data.label_level=0: pass 1 for the first folder"),
        ({"group_level": "two"}, "data.group_level='two': pass 1 for the first folder"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(data_settings, changes, message):
    with pytest.raises(ValueError, match=message):
        data_settings("anywhere", **changes)


def test_given_splits_reach_the_summary_of_a_catalogue(tmp_path, write_catalogue, data_settings):
    root = write(write_catalogue, tmp_path / "a", sorted(["train", "val", "test"] * 12))
    settings = data_settings(root, min_images=3, split="given", split_column="season")
    loaded = load(settings)
    facts = catalogue_facts(loaded, loaded.provisional_splits())
    assert (facts["split"], facts["split_column"]) == ("given", "season")
    assert [facts[name] for name in SPLITS] == [12, 12, 12]
