"""What the folders of a photo's path say: its split, its label, its product.

A folder `train`, `val` or `test` (or another of `SPLIT_WORDS`) is no level, nor is the one folder
that a zip may have around everything.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
import pandas as pd

from fashion.catalogue.labels import clean_text
from fashion.catalogue.root import CatalogueRoot
from fashion.catalogue.structure import Structure, split_named, splits_named
from fashion.wording import first_of

Folders = tuple[str, ...]  # of a photo, the outermost first
TINY = 10  # photos of a class, below which it may be a product
MANY = 3  # times as many classes as folders around them, as products are


@dataclass(frozen=True)
class FolderCatalogue:
    """The photos of a catalogue without a table.

    Attributes:
        table: One row a photo, as `fashion.catalogue.table` describes it, with the columns
            `product` and `given`.
        notes: What to mind, a sentence each.
        way_out: What else could be the labels, to go on with "Lower data.min_images".
    """

    table: pd.DataFrame
    notes: list[str]
    way_out: str


def read_folders(root: CatalogueRoot, structure: Structure) -> FolderCatalogue:
    """Take labels, products and given splits from the folders that the photos lie in.

    Args:
        root: It has no table.
        structure: Which folder is what.
    """
    table = pd.DataFrame({"id": list(root.photos), "photo": list(root.photos.values())})
    table.insert(0, "line", range(1, len(table) + 1))
    folder, distinct = folders_of(root.photos)
    photos = np.bincount(folder, minlength=len(distinct)).tolist()
    splits, levels = divide(distinct, is_packed=not root.path.is_dir())
    labels = [clean_text(_label(path, structure.label_level)) for path in levels]
    table["label"] = [labels[place] for place in folder]
    if structure.group_level is None:
        table["product"] = table["id"]
    else:
        tops = ["/".join(_down_to(path, structure.group_level)) for path in levels]
        table["product"] = [tops[i] or id_ for i, id_ in zip(folder, table["id"], strict=True)]
    named = splits_named(splits)
    table["given"] = [named[place] for place in folder]
    labelled: Counter[Folders] = Counter()
    for path, label, number in zip(levels, labels, photos, strict=True):
        if label:
            labelled[path] += number
    notes = [
        *_notes_on_splits(splits, levels, photos, structure),
        *_notes_on_levels(labelled, structure),
    ]
    hint = "" if any("data.label_level=" in note for note in notes) else _other_level(labelled)
    return FolderCatalogue(table, notes, f"or pass another data.label_level{hint or '.'}")


def folders_of(paths: Iterable[str]) -> tuple[np.ndarray, list[Folders]]:
    """Return of each path the place of its folders among all, and these, the first one first."""
    texts = np.array([path.rpartition("/")[0] for path in paths], dtype=object)
    places, distinct = pd.factorize(texts)
    return places, [tuple(text.split("/")) if text else () for text in distinct]


def divide(folders: Sequence[Folders], is_packed: bool) -> tuple[list[str], list[Folders]]:
    """Return the folder that names a photo's split, empty without one, and its levels.

    Args:
        folders: All that photos lie in; the answer is for each.
        is_packed: Whether they are in a zip.
    """
    around = _around(folders)
    place = _place_of_splits(folders, around)
    skipped = around if is_packed or place == around else 0
    splits, levels = [], []
    for path in folders:
        split = path[place] if place is not None and place < len(path) else ""
        if place is not None and split_named(split):
            below = path[place + 1 :]
            # As test/test/1.jpg: still no class.
            inner = () if len(below) == 1 and split_named(below[0]) else below
            splits.append(split)
            levels.append((*path[skipped:place], *inner))
        else:
            splits.append("")
            levels.append(path[skipped:])
    return splits, levels


def _around(folders: Sequence[Folders]) -> int:
    """Return how many folders are around all photos, none of which names a split."""
    distinct = set(folders)
    names = [*zip(*distinct, strict=False)]
    if len(distinct) == 1:
        names = names[:-1]
    shared = takewhile(lambda each: len(set(each)) == 1 and not split_named(each[0]), names)
    return len(list(shared))


def _place_of_splits(folders: Sequence[Folders], around: int) -> int | None:
    """Return where in the paths a folder may name a split: above all classes, or below each."""
    distinct = set(folders)
    if any(split_named(path[around]) for path in distinct if len(path) > around):
        return around
    for place in range(around + 1, min(map(len, distinct), default=0)):
        named = {split_named(path[place]) for path in distinct}
        if "" not in named and len(named) > 1:
            return place
    return None


def _label(path: Folders, level: int) -> str:
    place = level - 1 if level > 0 else level
    return path[place] if -len(path) <= place < len(path) else ""


def _down_to(path: Folders, level: int) -> Folders:
    """Return the folders down to a level, none where there are fewer."""
    depth = level if level > 0 else len(path) + level + 1
    return path[:depth] if 0 < depth <= len(path) else ()


def _notes_on_splits(
    splits: Sequence[str], levels: Sequence[Folders], photos: Sequence[int], structure: Structure
) -> Iterator[str]:
    unlabelled: Counter[str] = Counter()
    for name, path, number in zip(splits, levels, photos, strict=True):
        if name and not path:
            unlabelled[name] += number
    for name, count in unlabelled.items():
        yield (
            f"{count:,} photos lie right in the folder {name!r}, which names a split and no class: "
            "they have no label. If it is a class, rename the folder."
        )
    named = dict.fromkeys(s for s, path in zip(splits, levels, strict=True) if s and path)
    if len({split_named(name) for name in named}) > 1 and not structure.keeps_splits:
        yield (
            f"The photos lie in the folders {', '.join(named)}, but the splits are drawn anew from "
            "all of them. data.split=given keeps those of the folders."
        )


def _notes_on_levels(counts: Mapping[Folders, int], structure: Structure) -> Iterator[str]:
    """Say where another level may be meant.

    Args:
        counts: How many labelled photos have these levels.
        structure: What was asked for.
    """
    if structure.label_level > 0:
        yield from _note_on_products(counts, structure)
    if structure.label_level != -1:
        return
    hint = _other_level(counts)
    by_label: dict[str, list[Folders]] = {}
    for path in counts:
        by_label.setdefault(path[-1], []).append(path)
    apart = next((paths for paths in by_label.values() if len(paths) > 1), None)
    own = "The label is the name of a photo's own folder, "
    if len({len(path) for path in counts}) > 1:
        few, many = min(counts, key=len), max(counts, key=len)
        yield f"{own}but photos lie at several depths, as in {_shown(few)} and {_shown(many)}{hint}"
    elif apart:
        places = " and ".join(map(_shown, apart[:2]))
        yield f"{own}and {apart[0][-1]!r} is taken for one class from {places}{hint}"
    elif _are_like_products(counts):
        photos = int(np.median([*counts.values()]))
        yield f"{own}and its {len(counts):,} classes have few photos, {photos} or so{hint}"


def _are_like_products(counts: Mapping[Folders, int]) -> bool:
    parents = len({path[:-1] for path in counts})
    are_tiny = counts and np.median([*counts.values()]) < TINY
    return bool(are_tiny and 1 < parents * MANY <= len(counts) * (parents > 1))


def _note_on_products(counts: Mapping[Folders, int], structure: Structure) -> Iterator[str]:
    level = structure.label_level
    below: dict[str, set[str]] = {}
    for path in counts:
        if len(path) > level:
            below.setdefault(path[level - 1], set()).add(path[level])
    fewest = min(map(len, below.values()), default=0)
    if structure.group_level is None and fewest >= 3 and not structure.keeps_splits:
        example = next(path for path in counts if len(path) > level)
        yield (
            f"Photos lie in folders of their own below that of the label, as in {_shown(example)}. "
            f"If those are products, data.group_level={level + 1} keeps the photos of one in one "
            "split."
        )


def _other_level(levels: Iterable[Folders]) -> str:
    """Name the first level that tells photos apart and isn't always their own folder."""
    paths = set(levels)
    for level in range(1, max(map(len, paths), default=0)):
        names = dict.fromkeys(path[level - 1] for path in sorted(paths) if len(path) >= level)
        if len(names) > 1:
            return f"; data.label_level={level} takes {first_of(names, 3)} instead."
    return "."


def _shown(path: Folders) -> str:
    return "/".join(path)
