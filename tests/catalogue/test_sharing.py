import hashlib
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from fashion.catalogue.sharing import Draws, Photos, Ties, classes_of, share_out

TIES = Ties("data.split=grouped", "groups of twins", "data.split=random")


def plainly_shared_out(table, groups, room, seed, *, may_lack):
    """What `share_out` does, a group and a photo at a time."""
    classes = sorted(set(table["label"]))
    members, labels, draws = {}, {}, {}
    for row, (id_, label, group) in enumerate(
        zip(table["id"], table["label"], groups, strict=True)
    ):
        members.setdefault(group, []).append(row)
        labels.setdefault(group, Counter())[classes.index(label)] += 1
        own = hashlib.sha256(f"{seed}:{id_}".encode()).digest()
        draws[group] = min(own, draws.get(group, own))
    order = sorted(sorted(members), key=lambda group: (-len(members[group]), draws[group]))
    left, part_of = room.copy(), {}
    for group in order:
        free = [left[k] * (left[k] >= count) for k, count in labels[group].items()]
        weights = np.min(free, axis=0)
        if not weights.any():
            weights = np.arange(room.shape[1]) == left[list(labels[group])].sum(axis=0).argmax()
        bounds = np.cumsum(weights)
        draw = int.from_bytes(draws[group][:6]) / 2**48 * bounds[-1]
        part_of[group] = int((bounds <= draw).sum())
        for k, count in labels[group].items():
            left[k, part_of[group]] -= count
    of_class = {k: [group for group in order[::-1] if k in labels[group]] for k in range(len(room))}
    first = {k: order.index(own[0]) for k, own in of_class.items()}
    for k in sorted(of_class, key=lambda k: (len(of_class[k]), -first[k], k)):
        for part in set(range(room.shape[1])) - {part_of[group] for group in of_class[k]}:
            held = {j: Counter(part_of[group] for group in own) for j, own in of_class.items()}
            spared = [
                group
                for group in of_class[k]
                if all(held[j][part_of[group]] > 1 for j in labels[group])
            ]
            if not spared and not may_lack:
                return classes[k]
            if spared or part == 0:
                part_of[(spared or of_class[k])[0]] = part
    return [part_of[group] for group in groups]


def drawn_catalogue(rng):
    """Draws a table of small classes, some ids twice, and groups, some over several labels."""
    sizes = rng.integers(1, rng.integers(4, 60), rng.integers(1, 9))
    labels = rng.permutation(
        np.repeat([f"c{rng.integers(99)} {k}" for k in range(len(sizes))], sizes)
    )
    ids = rng.permutation(3 * len(labels))[: len(labels)].astype(str)
    ids[: rng.integers(0, 3)] = ids[-1]
    groups = np.sort(rng.integers(-9, rng.integers(1, len(labels) + 1), len(labels)))
    if rng.random() < 0.5:
        groups = pd.factorize(pd.Series(labels) + pd.Series(groups).astype(str))[0]
    return pd.DataFrame({"id": ids, "label": labels}), pd.Series(groups)


@pytest.mark.parametrize("as_category", [False, True])
def test_photos_go_where_a_plain_loop_puts_them(as_category):
    rng = np.random.default_rng(0)
    outcomes = Counter()
    for seed in range(200):
        table, groups = drawn_catalogue(rng)
        weights = rng.integers(1, 9, rng.integers(2, 14)).tolist()
        if as_category:
            table["label"] = table["label"].astype("category").cat.add_categories("a class of none")
        photos = Photos.of(table, groups, seed)
        room, may_lack = photos.equal_room(weights), bool(rng.random() < 0.5)
        expected = plainly_shared_out(table, groups, room, seed, may_lack=may_lack)
        if isinstance(expected, str):
            with pytest.raises(ValueError, match=f"tie the class '{expected}' to others"):
                share_out(photos, room, TIES)
        else:
            assert share_out(photos, room, None if may_lack else TIES).tolist() == expected
        outcomes[type(expected)] += 1
    assert min(outcomes[str], outcomes[list]) > 20


def test_room_is_in_proportion_and_what_is_left_over_goes_in_turn():
    labels = np.repeat(np.arange(4), [7, 8, 9, 20])
    photos = Photos(list("abcd"), labels, labels, Draws(labels, labels))
    assert photos.equal_room([1, 1, 1]).tolist() == [[3, 2, 2], [2, 3, 3], [3, 3, 3], [7, 7, 6]]
    assert photos.equal_room([8, 1]).sum(axis=1).tolist() == [7, 8, 9, 20]


@pytest.mark.parametrize("kind", ["str", "object", "category"])
def test_classes_are_sorted_whatever_holds_the_labels(kind):
    labels = pd.Series(["Tops", "Caps", "Éclairs", "Tops"]).astype(kind)
    classes, places = classes_of(labels)
    assert classes == ["Caps", "Tops", "Éclairs"]
    assert places.tolist() == [1, 0, 2, 1]


def test_draws_rank_as_their_hashes_do_and_equal_ids_equally():
    ids = ["7", "x", "é", "7", "12", "x"]
    hashes = [hashlib.sha256(f"5:{id_}".encode()).digest() for id_ in ids]
    draws = Draws.of(pd.Series(ids), 5)
    assert draws.ranks.tolist() == [sorted(set(hashes)).index(own) for own in hashes]
    assert draws.fractions.tolist() == [int.from_bytes(own[:6]) / 2**48 for own in hashes]
