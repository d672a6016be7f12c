import numpy as np
import pandas as pd
import pytest

from fashion.catalogue.splits import (
    assign_folds,
    assign_grouped_splits,
    assign_splits,
)


def table_of(sizes):
    """A catalogue table whose k-th class has sizes[k] rows."""
    labels = [f"class {k:03}" for k, size in enumerate(sizes) for _ in range(size)]
    ids = [str(1_000 + i) for i in range(len(labels))]
    return pd.DataFrame({"id": ids, "label": labels})


@pytest.mark.parametrize("num_rows", [30, 34, 35, 36, 44, 45, 101, 995])
def test_val_and_test_have_a_tenth_each_rounded(num_rows):
    sizes = [num_rows - 2 * (num_rows // 3), num_rows // 3, num_rows // 3]
    counts = assign_splits(table_of(sizes))["split"].value_counts()
    tenth = int(num_rows / 10 + 0.5)
    assert counts.to_dict() == {"train": num_rows - 2 * tenth, "val": tenth, "test": tenth}


def test_any_class_sizes_give_exact_splits_with_every_class_in_each():
    rng = np.random.default_rng(0)
    tried = 0
    while tried < 300:
        tiny = rng.integers(3, rng.integers(4, 14), size=rng.integers(1, 40))
        large = rng.integers(10, 600, size=rng.integers(0, 6))
        sizes = rng.permutation(np.concatenate([tiny, large]))
        tenth = (sizes.sum() + 5) // 10
        if len(sizes) > tenth:
            continue
        tried += 1
        table = assign_splits(table_of(sizes))
        counts = pd.crosstab(table["label"], table["split"])
        assert counts["val"].sum() == counts["test"].sum() == tenth, sizes
        assert counts.min().min() >= 1, sizes
        assert (counts["val"] == counts["test"]).all(), sizes
        assert counts.sum(axis=1).tolist() == sizes.tolist()


def test_splits_are_stratified_to_within_one_row():
    rng = np.random.default_rng(0)
    for _ in range(50):
        sizes = rng.integers(10, 800, size=rng.integers(2, 30))
        table = assign_splits(table_of(sizes))
        val = pd.crosstab(table["label"], table["split"])["val"].to_numpy()
        share = sizes * ((sizes.sum() + 5) // 10) / sizes.sum()
        assert (np.abs(val - share) < 1.0001).all(), sizes


def test_equal_claims_are_settled_by_name():
    table = table_of([25] * 4)
    for rows in (table, table[::-1]):
        split = assign_splits(rows)
        counts = pd.crosstab(split["label"], split["split"])
        assert counts["val"].tolist() == [3, 3, 2, 2]


def test_the_seed_alone_decides_the_splits():
    table = table_of([60, 30, 10])
    np.random.seed(1)
    first = assign_splits(table, split_seed=5)
    np.random.seed(2)
    pd.testing.assert_frame_equal(first, assign_splits(table, split_seed=5))
    others = [assign_splits(table, split_seed=seed)["split"].tolist() for seed in range(5)]
    assert len({tuple(split) for split in [*others, first["split"].tolist()]}) == 6


def test_the_order_of_the_rows_moves_nobody():
    table = table_of([40, 30, 11, 3])
    expected = assign_splits(table).set_index("id")["split"]
    for seed in range(5):
        shuffled = table.sample(frac=1, random_state=seed)
        for rows in (shuffled, shuffled.reset_index(drop=True)):
            split = assign_splits(rows).set_index("id")["split"]
            pd.testing.assert_series_equal(split[expected.index], expected)


def test_a_row_stays_in_its_split_when_another_class_is_relabelled():
    table = table_of([50, 50])
    expected = assign_splits(table)
    renamed = assign_splits(table.replace({"label": {"class 000": "zebra"}}))
    assert expected["split"].tolist() == renamed["split"].tolist()


def test_a_class_too_small_for_three_splits_is_named():
    message = r"data\.min_images: the class 'class 001' has 2 photos, too few for the three splits"
    with pytest.raises(ValueError, match=message):
        assign_splits(table_of([50, 2]))


def test_more_classes_than_rows_in_a_split_are_refused():
    message = r"data\.min_images keeps 10 classes, but a split of 10 % has 4 photos"
    with pytest.raises(ValueError, match=message):
        assign_splits(table_of([4] * 10))


def groups_of(table, rng, share=0.3, largest=8):
    """Draws groups of up to `largest` photos, some over several labels; most stay alone."""
    groups = pd.Series(np.arange(len(table)), index=table.index)
    together = rng.permutation(len(table))[: int(share * len(table))]
    ends = np.cumsum(rng.integers(2, largest, len(together)))
    groups.iloc[together] = len(table) + np.searchsorted(ends, range(len(together)), "right")
    return groups


def test_grouped_splits_part_no_group_and_keep_sizes_and_classes():
    rng = np.random.default_rng(0)
    for sizes in ([4000, 900, 102, 300], rng.integers(100, 900, 20), [2000] * 3):
        table = table_of(sizes)
        groups = groups_of(table, rng)
        split = assign_grouped_splits(table, groups, split_seed=1)
        assert (split.groupby(groups)["split"].nunique() == 1).all()
        shares = split["split"].value_counts(normalize=True)
        assert abs(shares["train"] - 0.8) < 0.005
        assert abs(shares["val"] - 0.1) < 0.005
        assert abs(shares["test"] - 0.1) < 0.005
        counts = pd.crosstab(split["label"], split["split"])
        assert counts.min().min() >= 1
        quota = np.array(sizes) * (sum(sizes) // 10) / sum(sizes)
        assert (np.abs(counts["test"] - quota) <= 0.1 * quota + 2).all()
        assert len(set(split["split"][split["label"].duplicated()])) == 3


def test_grouped_splits_of_single_photos_are_as_large_as_random_ones():
    table = table_of([500, 70, 12])
    alone = pd.Series(range(len(table)), index=table.index)
    counts = pd.crosstab(*assign_grouped_splits(table, alone)[["label", "split"]].to_numpy().T)
    expected = pd.crosstab(*assign_splits(table)[["label", "split"]].to_numpy().T)
    pd.testing.assert_frame_equal(counts, expected)


def test_the_seed_and_the_ids_decide_grouped_splits_alone():
    table = table_of([300, 60])
    groups = groups_of(table, np.random.default_rng(3))
    split = assign_grouped_splits(table, groups, split_seed=2)["split"]
    shuffled = table.sample(frac=1, random_state=0)
    renamed = groups.map({g: -g for g in groups.unique()}).reindex(shuffled.index)
    again = assign_grouped_splits(shuffled, renamed, split_seed=2)["split"]
    pd.testing.assert_series_equal(again.reindex(table.index), split)
    assert (assign_grouped_splits(table, groups, split_seed=3)["split"] != split).any()


def test_a_class_of_three_large_groups_is_in_each_split():
    table = table_of([600, 90])
    groups = pd.Series(range(len(table)), index=table.index)
    groups.iloc[600:] = 10_000 + np.arange(90) % 3
    split = assign_grouped_splits(table, groups)
    counts = pd.crosstab(split["label"], split["split"])
    assert counts.loc["class 001"].tolist() == [30, 30, 30]
    assert (split.groupby(groups)["split"].nunique() == 1).all()


def test_a_class_of_fewer_than_three_groups_is_named():
    table = table_of([600, 90])
    groups = pd.Series(range(len(table)), index=table.index)
    groups.iloc[600:] = 10_000 + np.arange(90) % 2
    message = r"data\.split=grouped: the class 'class 001' has its 90 photos in 2 groups of twins"
    with pytest.raises(ValueError, match=message):
        assign_grouped_splits(table, groups)


@pytest.mark.parametrize("num_folds", [2, 5, 10])
def test_every_row_is_tested_once_over_the_folds(num_folds):
    table = table_of([400, 95, 31])
    groups = groups_of(table, np.random.default_rng(1), share=0.2, largest=4)
    tested = []
    for fold in range(num_folds):
        split = assign_folds(table, groups, num_folds, fold)
        assert (split.groupby(groups)["split"].nunique() == 1).all()
        counts = pd.crosstab(split["label"], split["split"])
        assert counts.min().min() >= 1
        assert abs(counts["test"].sum() - len(table) / num_folds) <= 6
        rest = len(table) - counts["test"].sum()
        assert abs(counts["val"].sum() - rest / 9) <= 6
        tested += split.index[split["split"] == "test"].tolist()
    assert sorted(tested) == list(range(len(table)))
