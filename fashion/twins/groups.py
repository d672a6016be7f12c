"""Groups of photos that show the same picture, but for encoding, size, colour or a crop.

Photos become thumbnails, thumbnails that match become pairs, and pairs become groups, by complete
linkage: a twin's twin need not be a twin.
"""

import hashlib
import logging
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform

from fashion.cache_folder import DamagedError, make_folder, reading, remove, writing
from fashion.catalogue.root import CatalogueRoot
from fashion.catalogue.split_catalogue import TWIN_COLUMNS
from fashion.files import replacing
from fashion.locks import alone
from fashion.twins.alignment import Pairs, compare
from fashion.twins.matching import MAX_DISTANCE, find_pairs
from fashion.twins.thumbnail_store import Thumbnails, ThumbnailStore

VERSION = 1  # raised whenever the same photos group otherwise
LARGEST = 2_000  # pictures compared each with each
AT_ONCE = 2**18  # of their pairs, in memory
# What numpy makes of a file that is no archive of arrays, or a damaged one.
UNREADABLE = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error),
)
log = logging.getLogger(__name__)


def find_twins(root: CatalogueRoot, table: pd.DataFrame, cache_dir: Path) -> pd.DataFrame:
    """Find the photos that have twins, or read what was found before.

    Args:
        root: Reads the photos.
        table: The catalogue table, columns `id`, `photo` and `label`.
        cache_dir: Where the groups are kept, under a key made of the photos.

    Returns:
        The columns `group` (from 0, the largest first), `id`, `label` and `distance`: 1 less the
        correlation of the fine structure with that of the group's middle photo, in [0, 1].
    """
    photos = table["photo"].tolist()
    keys = root.keys(photos)

    def find() -> tuple[np.ndarray, np.ndarray]:
        store = ThumbnailStore(cache_dir)
        store.fill(keys, photos, root.read)
        return group_photos(store.of(keys))

    digest = hashlib.sha256(f"{VERSION}\n".encode() + keys.tobytes()).hexdigest()
    groups, distances = kept_or_found(cache_dir, digest, len(photos), find)
    twins = table[["id", "label"]].assign(group=groups, distance=distances)
    twins = twins[twins["group"] >= 0].sort_values(["group", "distance"], kind="stable")
    return twins[TWIN_COLUMNS]


def kept_or_found(
    cache_dir: Path,
    digest: str,
    num_photos: int,
    find: Callable[[], tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Return a number and a distance of each photo, found once and kept from then on.

    Args:
        cache_dir: Where they are kept.
        digest: What tells the photos, and what is looked for, in hexadecimal digits.
        num_photos: How many there are.
        find: Finds it, `(N,)` int64 and `(N,)` float64.

    Raises:
        OSError: A photo can't be read now, or the folder can't be written.
    """
    path, damage = cache_dir / "twins" / f"{digest[:16]}.npz", ""
    try:
        return read_groups(path, num_photos)
    except FileNotFoundError:
        pass
    except DamagedError as error:
        damage = f"The twins in {path} are damaged ({error}), so they are to be found again."
        log.warning(damage)
    make_folder(cache_dir, path.parent.name, damage)
    with alone(path, f"the twins in {path}") as is_alone:
        try:
            return read_groups(path, num_photos)  # found by the process that was waited for
        except (FileNotFoundError, DamagedError):
            groups, distances = find()
        with writing(cache_dir):
            if path.is_dir():
                remove(path)
            with replacing(path, alone=is_alone) as file:
                np.savez_compressed(file, groups=groups, distances=distances)
    return groups, distances


def read_groups(path: Path, num_photos: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return what was found of so many photos, or of any number.

    Raises:
        FileNotFoundError: Nothing was.
        DamagedError: The file isn't as it was written.
        OSError: It can't be read.
    """
    if not os.path.lexists(path):
        raise FileNotFoundError(path)
    if not path.is_file():
        raise DamagedError("it is no file")
    with reading(path.parent.parent):
        content = path.read_bytes()
    try:
        with np.load(BytesIO(content)) as stored:
            groups, distances = stored["groups"], stored["distances"]
    except UNREADABLE as error:
        raise DamagedError(str(error) or type(error).__name__) from error
    number = groups.size if num_photos is None else num_photos
    if not groups.shape == distances.shape == (number,):
        raise DamagedError(f"it is not of {number:,} photos")
    if groups.dtype != np.int64 or distances.dtype != np.float64:
        raise DamagedError("it holds other numbers than groups and distances")
    return groups, distances


def group_photos(thumbnails: Thumbnails) -> tuple[np.ndarray, np.ndarray]:
    """Return of each photo its group, -1 without twins, and its distance to the group's middle.

    Args:
        thumbnails: Those of the photos; one that can't be decoded has no twin.
    """
    pictures, picture = distinct_pictures(thumbnails)
    distinct = thumbnails.of(pictures)
    groups, distances = np.arange(len(pictures)), np.zeros(len(pictures))
    for members, apart in _components(distinct, find_pairs(distinct)):
        inside = fcluster(linkage(apart, "complete"), MAX_DISTANCE, "distance")
        matrix = squareform(apart)
        for number in np.unique(inside):
            chosen = np.flatnonzero(inside == number)
            block = matrix[np.ix_(chosen, chosen)]
            middle = block.sum(axis=1).argmin()
            groups[members[chosen]] = members[chosen[middle]]
            distances[members[chosen]] = block[middle]
    return _numbered(groups[picture]), distances[picture]


def distinct_pictures(thumbnails: Thumbnails) -> tuple[np.ndarray, np.ndarray]:
    """Return the first photo of each picture, and of every photo the number of its picture."""
    digests = pd.DataFrame(thumbnails.take("digests"), columns=["one", "other"])
    digests["unreadable"] = np.where(thumbnails.take("sizes")[:, 0], -1, digests.index)
    picture = digests.groupby(list(digests), sort=False).ngroup().to_numpy()
    return np.unique(picture, return_index=True)[1], picture


def _components(thumbnails: Thumbnails, pairs: Pairs) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pictures that twins connect, and the distances of all their pairs.

    Pictures are `(m,)` int64 in their order; distances are `(m * (m - 1) / 2,)`, as scipy has them.
    """
    part = _parts(pairs, len(thumbnails))
    order = np.argsort(part, kind="stable")[np.count_nonzero(part < 0) :]
    starts = np.flatnonzero(np.diff(part[order], prepend=-1))
    members = np.split(order, starts[1:]) if len(starts) else []
    sizes = np.diff(starts, append=len(order))
    ends = np.cumsum(sizes * (sizes - 1) // 2)
    places, known = _known(pairs, part, order, starts, ends)
    first = 0
    while first < len(members):
        start = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, start + AT_ONCE, side="right")))
        apart = _distances(thumbnails, members[first:last])
        chosen = slice(*np.searchsorted(places, [start, ends[last - 1]]))
        np.minimum.at(apart, places[chosen] - start, known[chosen])
        yield from zip(
            members[first:last], np.split(apart, ends[first : last - 1] - start), strict=True
        )
        first = last


def _parts(pairs: Pairs, size: int) -> np.ndarray:
    """Return the part of each picture that twins connect, -1 of one without, `(size,)` int64.

    Parts that are too large are those of pairs that are nearer.
    """
    part, max_distance, numbered = np.full(size, -1), MAX_DISTANCE, 0
    while len(pairs.a):
        near = pairs.where(pairs.distance <= max_distance)
        edges = coo_array((np.ones(len(near.a), bool), near[:2]), (size, size))
        number, found = connected_components(edges)
        members = np.bincount(found, minlength=number)[found]
        whole = (members > 1) & (members <= LARGEST)
        part[whole] = numbered + found[whole]
        within = (found[pairs.a] == found[pairs.b]) & (members[pairs.a] > LARGEST)
        pairs, max_distance, numbered = pairs.where(within), max_distance / 2, numbered + number
    return part


def _known(
    pairs: Pairs, part: np.ndarray, order: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of pairs among those of all parts, in ascending order, and distances."""
    rank = np.empty(len(part), np.int64)
    rank[order] = np.arange(len(order))
    pairs = pairs.where((part[pairs.a] == part[pairs.b]) & (part[pairs.a] >= 0))
    one, other = np.sort([rank[pairs.a], rank[pairs.b]], axis=0)
    number = np.searchsorted(starts, one, side="right") - 1
    size = np.diff(starts, append=len(order))[number]
    row, column = one - starts[number], other - starts[number]
    # Pairs before those of the part, then before those of the row, from the end.
    places = ends[number] - (size - row) * (size - row - 1) // 2 + column - row - 1
    ascending = np.argsort(places, kind="stable")
    return places[ascending], pairs.distance[ascending]


def _distances(thumbnails: Thumbnails, parts: list[np.ndarray]) -> np.ndarray:
    """Return the distances of wholes in each part, each to each, part after part."""
    rows, columns = zip(*(np.triu_indices(len(members), 1) for members in parts), strict=True)
    a, b = (
        np.concatenate([members[at] for members, at in zip(parts, each, strict=True)])
        for each in (rows, columns)
    )
    return compare(thumbnails, a, b, 0).distance.astype(float)


def _numbered(groups: np.ndarray) -> np.ndarray:
    """Number the groups of two and more from the largest, equals by their first photo."""
    facts = pd.Series(range(len(groups))).groupby(groups).agg(["size", "first"])
    facts = facts[facts["size"] > 1].sort_values(["size", "first"], ascending=[False, True])
    numbers = pd.Series(np.arange(len(facts)), index=facts.index)
    return numbers.reindex(groups).fillna(-1).to_numpy(np.int64)
