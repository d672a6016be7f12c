"""A catalogue table -> its column `split`."""

import numpy as np
import pandas as pd

from fashion.catalogue.sharing import Draws, Photos, Ties, classes_of, share_out

SPLITS = ("train", "val", "test")
KINDS = ("random", "grouped", "given")
TWINS = Ties("data.split=grouped", "groups of twins", "data.split=random")
NINTH = [8, 1]  # the weights of two parts, the second of which is one ninth
_NAMES = np.array(SPLITS, dtype=object)


def assign_splits(table: pd.DataFrame, split_seed: int = 0) -> pd.DataFrame:
    """Add the column `split`: 80 % train, 10 % val, 10 % test, stratified by label.

    Val and test have round(N / 10) rows each; every class has the same number of rows in both, at
    least one, apportioned by largest remainder. Which rows those are is decided by the SHA-256 of
    seed and id, so it depends on no library's random numbers and not on the order of the rows.

    Raises:
        ValueError: A class has fewer than 3 rows, or there are more classes than rows in a split.
    """
    classes, codes = classes_of(table["label"])
    counts = np.bincount(codes)
    if counts.min() < 3:
        raise ValueError(
            f"data.min_images: the class {classes[counts.argmin()]!r} has {counts.min()} photos, "
            "too few for the three splits. Pass data.min_images=3 or more."
        )
    order = np.argsort(codes * len(table) + Draws.of(table["id"], split_seed).ranks)
    rank = np.empty(len(table), dtype=np.int64)
    rank[order] = np.arange(len(table)) - (counts.cumsum() - counts)[codes[order]]
    quota = _held_out(counts)[codes]
    return table.assign(split=_NAMES[np.where(rank < quota, 1, np.where(rank < 2 * quota, 2, 0))])


def assign_grouped_splits(
    table: pd.DataFrame, groups: "pd.Series[int]", split_seed: int = 0, ties: Ties = TWINS
) -> pd.DataFrame:
    """Add the column `split` as `assign_splits` does, but never part photos of one group.

    Each class has the same share in val and test as there, as nearly as its groups allow. Groups
    are taken from the largest to the single photos, equals in the order of the SHA-256 of seed and
    id; each goes to one of the splits that still have room for it, drawn in proportion to that
    room. A class that has no group in a split then gets its smallest one there.

    Args:
        table: The catalogue table.
        groups: The group of each row of `table`, by its index.
        split_seed: Decides the splits.
        ties: What the groups are.

    Raises:
        ValueError: A class has fewer than 3 groups, or there are more classes than rows in a split.
    """
    photos = Photos.of(table, groups, split_seed)
    photos.check_groups(len(SPLITS), ties)
    counts = np.bincount(photos.labels)
    held_out = _held_out(counts)
    room = np.stack([counts - 2 * held_out, held_out, held_out], axis=1)
    return table.assign(split=_NAMES[share_out(photos, room, ties)])


def assign_folds(
    table: pd.DataFrame,
    groups: "pd.Series[int]",
    num_folds: int,
    fold: int,
    split_seed: int = 0,
    ties: Ties = TWINS,
) -> pd.DataFrame:
    """Add the column `split` for cross-validation: one fold is `test`, a ninth of the rest `val`.

    Folds are equal in size, stratified by label, and never part photos of one group. Over all folds
    each row is once in `test`.

    Args:
        table: The catalogue table.
        groups: As in `assign_grouped_splits`.
        num_folds: Number of folds, 2 or more.
        fold: Which one is tested on, from 0.
        split_seed: Decides the folds.
        ties: As in `assign_grouped_splits`.

    Raises:
        ValueError: A class has fewer groups than folds, or fewer than 2 in the other folds.
    """
    ties = ties._replace(setting=f"data.folds={num_folds}")
    photos = Photos.of(table, groups, split_seed)
    photos.check_groups(max(num_folds, len(SPLITS)), ties)
    is_tested = share_out(photos, photos.equal_room([1] * num_folds), ties) == fold
    rest = photos.where(~is_tested)
    part = np.full(len(table), SPLITS.index("test"))
    part[~is_tested] = share_out(rest, rest.equal_room(NINTH), ties)
    return table.assign(split=_NAMES[part])


def assign_given_splits(
    table: pd.DataFrame, groups: "pd.Series[int]", split_seed: int = 0
) -> pd.DataFrame:
    """Add the column `split`: what `given` says, and a part of train for a split that isn't given.

    A split that is missing gets a ninth of each class in train, as nearly as groups allow; a class
    of one group stays in train.

    Args:
        table: The catalogue table with its column `given`; two splits of it or all three.
        groups: As in `assign_grouped_splits`.
        split_seed: Decides what is taken from train.

    Raises:
        ValueError: Train has no photo to spare.
    """
    split = table["given"].to_numpy(object, copy=True)
    for missing in sorted(set(SPLITS[1:]) - set(split)):
        in_train = np.flatnonzero(split == "train")
        train = Photos.of(table.iloc[in_train], groups.iloc[in_train], split_seed)
        part = share_out(train, train.equal_room(NINTH), ties=None)
        if not part.any():
            raise ValueError(
                f"data.split=given: there is no {missing}, and of the {len(in_train)} photos of "
                "train none can be spared for it, for each class has but one, or photos that "
                "belong together. Give photos for it, or pass data.split=random."
            )
        split[in_train[part == 1]] = missing
    return table.assign(split=split)


def _held_out(counts: np.ndarray) -> np.ndarray:
    """Return the photos of each class in val, and as many in test."""
    return _apportion(counts, (int(counts.sum()) + 5) // 10)


def _apportion(counts: np.ndarray, total: int) -> np.ndarray:
    """Divide `total` seats among the classes by largest remainder, at least one each."""
    if total < len(counts):
        raise ValueError(
            f"data.min_images keeps {len(counts)} classes, but a split of 10 % has {total} photos, "
            "so that not every class can be in it. Raise data.min_images."
        )
    # Whole numbers only: a float's rounding must not decide a split.
    quota, remainder = np.divmod(counts * total, counts.sum())
    seats: np.ndarray = quota.clip(min=1)
    by_claim = np.argsort(-np.where(quota >= 1, remainder, -1), kind="stable")
    while (missing := total - int(seats.sum())) > 0:
        seats[by_claim[:missing]] += 1
    while (surplus := int(seats.sum()) - total) > 0:
        last = by_claim[::-1]
        seats[last[seats[last] > 1][:surplus]] -= 1
    return seats
