"""Photos -> parts of a set, drawn by chance, each class alike and no group in two."""

import hashlib
from bisect import bisect_right
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd


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


class Draws(NamedTuple):
    """What decides on each photo: no library's random numbers, and no order of rows.

    Attributes:
        ranks: `(N,)` the place of its SHA-256, of seed and id, among those of all.
        fractions: `(N,)` the same number, of which 48 bits are taken, in [0, 1).
    """

    ranks: np.ndarray
    fractions: np.ndarray

    @classmethod
    def of(cls, ids: "pd.Series[str]", split_seed: int) -> "Draws":
        """Draw for each of some ids; equal ones rank equally."""
        seed = f"{split_seed}:".encode()
        hashed = [hashlib.sha256(seed + id_.encode()).digest() for id_ in ids.to_numpy(object)]
        numbers = np.frombuffer(b"".join(hashed), dtype=">u8").astype(np.uint64).reshape(-1, 4)
        first = np.ascontiguousarray(numbers[:, 0])
        order = np.argsort(first, kind="stable")
        if not (np.diff(first[order]) > 0).all():  # ids that are there twice, or a rare chance
            order = np.lexsort(numbers.T[::-1])
        is_new = (np.diff(numbers[order], axis=0, prepend=numbers[order[:1]]) != 0).any(axis=1)
        ranks = np.empty(len(order), dtype=np.int64)
        ranks[order] = is_new.cumsum()
        return cls(ranks, (first >> np.uint64(16)) / 2**48)


class Photos(NamedTuple):
    """What decides where photos go.

    Attributes:
        classes: The K labels, sorted.
        labels: `(N,)` the place of each photo's label among them.
        groups: `(N,)` the number of its group, from 0.
        draws: Of each.
    """

    classes: list[str]
    labels: np.ndarray
    groups: np.ndarray
    draws: Draws

    @classmethod
    def of(cls, table: pd.DataFrame, groups: "pd.Series[int]", split_seed: int) -> "Photos":
        """Take the rows of a catalogue table, and the group of each."""
        numbers = np.unique(groups.to_numpy(), return_inverse=True)[1]
        return cls(*classes_of(table["label"]), numbers, Draws.of(table["id"], split_seed))

    def where(self, chosen: np.ndarray) -> "Photos":
        """Return some of the photos by a mask `(N,)`; each class has one among them."""
        numbers = np.unique(self.groups[chosen], return_inverse=True)[1]
        draws = Draws(*(column[chosen] for column in self.draws))
        return Photos(self.classes, self.labels[chosen], numbers, draws)

    def check_groups(self, num_parts: int, ties: Ties) -> None:
        """Check that each class has a group for each part.

        Raises:
            ValueError: One hasn't.
        """
        per_class = np.bincount(_Groups.of(self, self.groups).labels)
        least = int(per_class.argmin())
        if per_class[least] < num_parts:
            number = np.count_nonzero(self.labels == least)
            raise ValueError(
                f"{ties.setting}: the class {self.classes[least]!r} has its {number} photos in "
                f"{per_class[least]} {ties.groups}, too few for {num_parts} parts. Pass a higher "
                f"data.min_images, {ties.way_out}, or leave its photos out by data.exclude."
            )

    def equal_room(self, weights: list[int]) -> np.ndarray:
        """Return the photos of each class for each part `(K, P)`, in proportion to the weights."""
        counts = np.bincount(self.labels)[:, None]
        room: np.ndarray = counts * np.array(weights) // sum(weights)
        left = counts - room.sum(axis=1, keepdims=True)
        # The parts take turns, so that none grows by rounding.
        turn = np.arange(len(weights)) - np.arange(len(counts))[:, None]
        room += turn % len(weights) < left
        return room


def classes_of(labels: "pd.Series[str]") -> tuple[list[str], np.ndarray]:
    """Return the labels that there are, sorted, and the place of each row's among them `(N,)`."""
    codes, found = pd.factorize(labels)
    names = [str(name) for name in found]
    order = sorted(range(len(names)), key=names.__getitem__)
    places = np.empty(len(names), dtype=np.int64)
    places[order] = np.arange(len(names))
    return [names[i] for i in order], places[codes]


class _Groups(NamedTuple):
    """The G groups and their labels, M pairs of both in all.

    Attributes:
        starts: `(G + 1,)` where the pairs of each group begin, and the last ones end.
        labels: `(M,)` the places of classes.
        counts: `(M,)` the photos of the group that have the label.
    """

    starts: np.ndarray
    labels: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, photos: Photos, groups: np.ndarray) -> "_Groups":
        """Take the groups that photos are in `(N,)`, by their numbers from 0."""
        num_classes = len(photos.classes)
        pairs, counts = np.unique(groups * num_classes + photos.labels, return_counts=True)
        group, labels = np.divmod(pairs, num_classes)
        return cls(np.append(0, np.bincount(group).cumsum()), labels, counts)

    def labels_of(self, group: int) -> np.ndarray:
        """Return the places of a group's classes."""
        return self.labels[self.starts[group] : self.starts[group + 1]]


def share_out(photos: Photos, room: np.ndarray, ties: Ties | None) -> np.ndarray:
    """Return the part `(N,)` of each photo.

    Groups are taken from the largest to the single photos; see `assign_grouped_splits`.

    Args:
        photos: Those to be shared out.
        room: `(K, P)` the photos of each class that a part takes.
        ties: What the groups are, to say so where a class can't be in every part; None: it may lack
            any but the first.

    Raises:
        ValueError: A class can't be in every part, and there are ties.
    """
    places, draws = _by_size(photos)
    groups = _Groups.of(photos, places[photos.groups])
    chosen = _choose(groups, draws, room)
    _give_each_class_all_parts(chosen, groups, photos.classes, room.shape[1], ties)
    part: np.ndarray = chosen[places[photos.groups]]
    return part


def _by_size(photos: Photos) -> tuple[np.ndarray, np.ndarray]:
    """Return the place `(G,)` of each group, the largest first, and a draw from [0, 1) by place."""
    size = np.bincount(photos.groups)
    ranks, draws = np.full(len(size), photos.draws.ranks.max(initial=0)), np.ones(len(size))
    np.minimum.at(ranks, photos.groups, photos.draws.ranks)
    np.minimum.at(draws, photos.groups, photos.draws.fractions)
    order = np.lexsort((ranks, -size))
    places = np.empty(len(size), dtype=np.int64)
    places[order] = np.arange(len(size))
    return places, draws[order]


def _choose(groups: _Groups, draws: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Return the part `(G,)` that each group goes to; each takes its place from the room.

    One depends on those before it, in a few whole numbers: no work for arrays.
    """
    left: list[list[int]] = room.tolist()
    labels, counts = groups.labels.tolist(), groups.counts.tolist()
    chosen = []
    for drawn, (start, end) in zip(draws.tolist(), pairwise(groups.starts.tolist()), strict=True):
        if end - start == 1:
            row, count = left[labels[start]], counts[start]
            part = _part([number if number >= count else 0 for number in row], drawn, row)
            row[part] -= count
        else:
            rows, needed = [left[label] for label in labels[start:end]], counts[start:end]
            part = _part_of_several(rows, needed, drawn)
            for row, count in zip(rows, needed, strict=True):
                row[part] -= count
        chosen.append(part)
    return np.array(chosen, dtype=np.int64)


def _part_of_several(rows: list[list[int]], counts: list[int], drawn: float) -> int:
    """Return the part that a group of several labels goes to: it needs room for each."""
    room = np.array(rows)
    weights = (room * (room >= np.array(counts)[:, None])).min(axis=0)
    return _part(weights.tolist(), drawn, room.sum(axis=0).tolist())


def _part(weights: list[int], drawn: float, room: list[int]) -> int:
    """Return a part by chance, in proportion to the weights.

    Args:
        weights: Of each part.
        drawn: From [0, 1).
        room: Decides where all weights are 0: most is left there, or least too much in it.
    """
    bounds = list(accumulate(weights))
    return bisect_right(bounds, drawn * bounds[-1]) if bounds[-1] else room.index(max(room))


def _give_each_class_all_parts(
    chosen: np.ndarray, groups: _Groups, classes: list[str], num_parts: int, ties: Ties | None
) -> None:
    """Move single groups, the smallest that can be spared, so that each class is in each part."""
    held = np.zeros((len(classes), num_parts), dtype=np.int64)  # groups of a class in a part
    group = np.repeat(np.arange(len(chosen)), np.diff(groups.starts))
    np.add.at(held, (groups.labels, chosen[group]), 1)
    if held.all():
        return
    smallest_first = group[np.lexsort((-group, groups.labels))]
    of_class = np.split(smallest_first, np.bincount(groups.labels).cumsum()[:-1])
    for label in sorted(range(len(classes)), key=lambda k: (len(of_class[k]), -of_class[k][0], k)):
        for part in set(range(num_parts)) - set(np.flatnonzero(held[label]).tolist()):
            spared = (own for own in of_class[label] if _can_be_spared(own, chosen, groups, held))
            moved = next(spared, None)
            if moved is None and ties:
                raise ValueError(
                    f"{ties.setting}: {ties.groups} tie the class {classes[label]!r} to others, so "
                    "that it can't be in every split. Pass a higher data.min_images, or "
                    f"{ties.way_out}."
                )
            if moved is None and part == 0:
                moved = of_class[label][0]
            if moved is not None:
                held[groups.labels_of(moved), chosen[moved]] -= 1
                held[groups.labels_of(moved), part] += 1
                chosen[moved] = part


def _can_be_spared(group: int, chosen: np.ndarray, groups: _Groups, held: np.ndarray) -> bool:
    """Return whether each of its classes has another group in its part."""
    return bool((held[groups.labels_of(group), chosen[group]] > 1).all())
