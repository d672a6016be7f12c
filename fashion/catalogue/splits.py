"""A catalogue table -> its column `split`."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd

SPLITS = ("train", "val", "test")
KINDS = ("random", "grouped", "given")


class Ties(NamedTuple):
    """What keeps photos together, in messages.

    Attributes:
        setting: What asks for it.
        groups: What its groups are called.
        way_out: What does without it.
    """

    setting: str
    groups: str
    way_out: str


TWINS = Ties("data.split=grouped", "groups of twins", "data.split=random")


def assign_splits(table: pd.DataFrame, split_seed: int = 0) -> pd.DataFrame:
    """Add the column `split`: 80 % train, 10 % val, 10 % test, stratified by label.

    Val and test have round(N / 10) rows each; every class has the same number of rows in both, at
    least one, apportioned by largest remainder. Which rows those are is decided by the SHA-256 of
    seed and id, so it depends on no library's random numbers and not on the order of the rows.

    Raises:
        ValueError: A class has fewer than 3 rows, or there are more classes than rows in a split.
    """
    counts = table["label"].value_counts().sort_index()
    if counts.min() < 3:
        raise ValueError(
            f"data.min_images: the class {counts.idxmin()!r} has {counts.min()} photos, too few "
            "for the three splits. Pass data.min_images=3 or more."
        )
    order = pd.Series(_draws(table["id"], split_seed), index=table.index).sort_values()
    rank = table.loc[order.index].groupby("label", sort=False).cumcount().reindex(table.index)
    quota = table["label"].map(_held_out(table))
    split = pd.Series("train", index=table.index)
    split[rank < 2 * quota] = "test"
    split[rank < quota] = "val"
    return table.assign(split=split)


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
    _check_groups(table, groups, len(SPLITS), ties)
    held_out = _held_out(table)
    total = table["label"].value_counts().reindex(held_out.index)
    room = np.stack([total - 2 * held_out, held_out, held_out], axis=1)
    part = _share_out(table, groups, room.astype(np.int64), split_seed, ties)
    return table.assign(split=np.array(SPLITS)[part])


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
    _check_groups(table, groups, max(num_folds, len(SPLITS)), ties)
    folds = _share_out(table, groups, _equal_room(table, [1] * num_folds), split_seed, ties)
    split = pd.Series("test", index=table.index)
    rest = table[folds != fold]
    val = _share_out(rest, groups[rest.index], _equal_room(rest, NINTH), split_seed, ties)
    split[rest.index] = np.where(val == 1, "val", "train")
    return table.assign(split=split)


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
    split = table["given"].copy()
    for missing in sorted(set(SPLITS[1:]) - set(split)):
        train = table[split == "train"]
        room = _equal_room(train, NINTH)
        part = _share_out(train, groups[train.index], room, split_seed, ties=None)
        if not part.any():
            raise ValueError(
                f"data.split=given: there is no {missing}, and of the {len(train)} photos of train "
                "none can be spared for it, for each class has but one, or photos that belong "
                "together. Give photos for it, or pass data.split=random."
            )
        split[train.index[part == 1]] = missing
    return table.assign(split=split)


NINTH = [8, 1]  # the weights of two parts, the second of which is one ninth
Labels = tuple[tuple[int, int], ...]  # of a group: the place of a class and its photos


def _check_groups(
    table: pd.DataFrame, groups: "pd.Series[int]", num_parts: int, ties: Ties
) -> None:
    per_class = groups.groupby(table["label"]).nunique()
    if per_class.min() < num_parts:
        name = per_class.idxmin()
        raise ValueError(
            f"{ties.setting}: the class {name!r} has its {(table['label'] == name).sum()} photos "
            f"in {per_class.min()} {ties.groups}, too few for {num_parts} parts. Pass a higher "
            f"data.min_images, {ties.way_out}, or leave its photos out by data.exclude."
        )


def _equal_room(table: pd.DataFrame, weights: list[int]) -> np.ndarray:
    """Return the photos of each class for each part `(K, P)`, in proportion to the weights."""
    counts = table["label"].value_counts().sort_index().to_numpy()[:, None]
    room: np.ndarray = counts * np.array(weights) // sum(weights)
    left = counts[:, 0] - room.sum(axis=1)
    for place, number in enumerate(left):  # the parts take turns, so that none grows by rounding
        room[place, (np.arange(number) + place) % len(weights)] += 1
    return room


def _share_out(
    table: pd.DataFrame,
    groups: "pd.Series[int]",
    room: np.ndarray,
    split_seed: int,
    ties: Ties | None,
) -> np.ndarray:
    """Return the part `(N,)` of each row, no group in two; see `assign_grouped_splits`.

    Args:
        table: The catalogue table.
        groups: The group of each row.
        room: `(K, P)` the photos of each class, sorted by name, that a part takes.
        split_seed: As there.
        ties: As there, to say so where a class can't be in every part; None: it may lack any but
            the first.
    """
    classes = sorted(table["label"].unique())
    order, labels, draws = _groups_by_size(table, groups, classes, split_seed)
    left = room.copy()
    chosen = np.array([_choose(*group, left) for group in zip(labels, draws, strict=True)])
    _give_each_class_all_parts(chosen, labels, classes, room.shape[1], ties)
    part: np.ndarray = groups.map(pd.Series(chosen, index=order)).to_numpy()
    return part


def _groups_by_size(
    table: pd.DataFrame, groups: "pd.Series[int]", classes: list[str], split_seed: int
) -> tuple[list[int], list[Labels], list[float]]:
    """Return the groups, the largest first, with their labels and a draw from [0, 1) each."""
    place = pd.Categorical(table["label"], categories=classes).codes
    counts = Counter(zip(groups.tolist(), place.tolist(), strict=True))
    labels: dict[int, Labels] = {}
    for (group, label), count in sorted(counts.items()):
        labels[group] = (*labels.get(group, ()), (label, count))
    by_draw = sorted(zip(_draws(table["id"], split_seed), groups, strict=True), reverse=True)
    draws = {group: draw for draw, group in by_draw}  # of several the smallest
    size = Counter(groups)
    order = sorted(labels, key=lambda group: (-size[group], draws[group]))
    fractions = [int.from_bytes(draws[group][:6]) / 2**48 for group in order]
    return order, [labels[group] for group in order], fractions


def _choose(labels: Labels, draw: float, room: np.ndarray) -> int:
    """Return the part that a group goes to, and take its place from `room` `(K, P)`."""
    weights = np.min([room[label] * (room[label] >= count) for label, count in labels], axis=0)
    if not weights.any():  # the part with most room left, or least too much in it, takes it all
        weights = np.arange(room.shape[1]) == room[[label for label, _ in labels]].sum(0).argmax()
    bounds = np.cumsum(weights)
    part = int(np.searchsorted(bounds, draw * bounds[-1], side="right"))
    for label, count in labels:
        room[label, part] -= count
    return part


def _give_each_class_all_parts(
    chosen: np.ndarray,
    groups: list[Labels],
    classes: list[str],
    num_parts: int,
    ties: Ties | None,
) -> None:
    """Move single groups, the smallest that can be spared, so that each class is in each part."""
    by_class: dict[int, list[int]] = {}
    for place in range(len(groups) - 1, -1, -1):
        for label, _ in groups[place]:
            by_class.setdefault(label, []).append(place)

    def can_be_spared(place: int) -> bool:
        return all(
            sum(chosen[other] == chosen[place] for other in by_class[label]) > 1
            for label, _ in groups[place]
        )

    for label in sorted(by_class, key=lambda label: len(by_class[label])):
        for part in set(range(num_parts)) - set(chosen[by_class[label]].tolist()):
            moved = next((place for place in by_class[label] if can_be_spared(place)), None)
            if moved is None and ties:
                raise ValueError(
                    f"{ties.setting}: {ties.groups} tie the class {classes[label]!r} to others, so "
                    "that it can't be in every split. Pass a higher data.min_images, or "
                    f"{ties.way_out}."
                )
            if moved is None and part == 0:
                moved = by_class[label][0]
            if moved is not None:
                chosen[moved] = part


def _draws(ids: Iterable[str], split_seed: int) -> list[bytes]:
    """Return what decides on each photo: no library's random numbers, and no order of rows."""
    return [hashlib.sha256(f"{split_seed}:{id_}".encode()).digest() for id_ in ids]


def _held_out(table: pd.DataFrame) -> "pd.Series[int]":
    """Return the photos of each class in val, and as many in test, sorted by name."""
    counts = table["label"].value_counts().sort_index()
    return _apportion(counts, (len(table) + 5) // 10)


def _apportion(counts: "pd.Series[int]", total: int) -> "pd.Series[int]":
    """Divide `total` seats among the classes by largest remainder, at least one each."""
    if total < len(counts):
        raise ValueError(
            f"data.min_images keeps {len(counts)} classes, but a split of 10 % has {total} photos, "
            "so that not every class can be in it. Raise data.min_images."
        )
    # Whole numbers only: a float's rounding must not decide a split.
    quota, remainder = counts * total // counts.sum(), counts * total % counts.sum()
    seats = quota.clip(lower=1)
    by_claim = (
        remainder.where(quota >= 1, -1)
        .sort_index()
        .sort_values(ascending=False, kind="stable")
        .index
    )
    while (missing := total - int(seats.sum())) > 0:
        seats[by_claim[:missing]] += 1
    while (surplus := int(seats.sum()) - total) > 0:
        seats[seats[by_claim[::-1]].loc[lambda s: s > 1].index[:surplus]] -= 1
    return seats
