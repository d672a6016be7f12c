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
from fashion.twins.thumbnails import Thumbnails, make_thumbnails

VERSION = 1  # raised whenever the same photos group otherwise
LARGEST = 2_000  # pictures compared each with each
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
    groups, distances = _kept_or_found(root, table, cache_dir)
    twins = table[["id", "label"]].assign(group=groups, distance=distances)
    twins = twins[twins["group"] >= 0].sort_values(["group", "distance"], kind="stable")
    return twins[TWIN_COLUMNS]


def _kept_or_found(
    root: CatalogueRoot, table: pd.DataFrame, cache_dir: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Return groups and distances as `group_photos` does, kept from then on."""
    path = cache_dir / "twins" / f"{_key(root, table)}.npz"
    photos, damage = table["photo"].tolist(), ""
    try:
        return read_groups(path, len(photos))
    except FileNotFoundError:
        pass
    except DamagedError as error:
        damage = f"The twins in {path} are damaged ({error}), so they are to be found again."
        log.warning(damage)
    make_folder(cache_dir, path.parent.name, damage)
    with alone(path, f"the twins in {path}") as is_alone:
        try:
            return read_groups(path, len(photos))  # found by the process that was waited for
        except (FileNotFoundError, DamagedError):
            groups, distances = group_photos(lambda i: root.read(photos[i]), len(photos))
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


def _key(root: CatalogueRoot, table: pd.DataFrame) -> str:
    """Return what changes with the photos, their order and how they are grouped."""
    digest = hashlib.sha256(f"{VERSION}\n".encode())
    for id_, photo in zip(table["id"], table["photo"], strict=True):
        digest.update(f"{id_}:{root.stamp(photo)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def group_photos(read: Callable[[int], bytes], num_photos: int) -> tuple[np.ndarray, np.ndarray]:
    """Return of each photo its group, -1 without twins, and its distance to the group's middle.

    Args:
        read: Returns the file of the photo of a number; one that can't be decoded has no twin.
        num_photos: N.
    """
    thumbnails = make_thumbnails(read, num_photos)
    pictures, picture = _distinct(thumbnails)
    distinct = thumbnails.of(pictures)
    groups, distances = np.arange(len(pictures)), np.zeros(len(pictures))
    for members, matrix in _components(distinct, find_pairs(distinct)):
        inside = fcluster(linkage(squareform(matrix), "complete"), MAX_DISTANCE, "distance")
        for number in np.unique(inside):
            chosen = np.flatnonzero(inside == number)
            block = matrix[np.ix_(chosen, chosen)]
            middle = block.sum(axis=1).argmin()
            groups[members[chosen]] = members[chosen[middle]]
            distances[members[chosen]] = block[middle]
    return _numbered(groups[picture]), distances[picture]


def _distinct(thumbnails: Thumbnails) -> tuple[np.ndarray, np.ndarray]:
    """Return the first photo of each picture, and of every photo the number of its picture."""
    readable = thumbnails.sizes[:, 0] > 0
    digests = np.where(readable, thumbnails.digests, np.arange(len(readable)).astype("S32"))
    picture, _ = pd.factorize(digests)
    return np.unique(picture, return_index=True)[1], picture


def _components(
    thumbnails: Thumbnails, pairs: Pairs, max_distance: float = MAX_DISTANCE
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pictures that twins connect, and all distances among them `(m, m)`."""
    near = pairs.distance <= max_distance
    a, b = pairs.a[near], pairs.b[near]
    size = len(thumbnails.fine)
    _, part = connected_components(coo_array((np.ones(len(a)), (a, b)), (size, size)))
    order = np.argsort(part, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(part[order])) + 1)
    for members in parts:
        if len(members) > LARGEST:
            within = np.isin(pairs.a, members) & np.isin(pairs.b, members)
            yield from _components(thumbnails, pairs.where(within), max_distance / 2)
        elif len(members) > 1:
            yield members, _matrix(thumbnails, members, pairs)


def _matrix(thumbnails: Thumbnails, members: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Return the distances of some pictures, each to each."""
    matrix = np.ones((len(members), len(members)))
    rows, columns = np.triu_indices(len(members), 1)
    whole = compare(thumbnails, members[rows], members[columns], 0)
    matrix[rows, columns] = whole.distance
    within = np.isin(pairs.a, members) & np.isin(pairs.b, members)
    a, b = (np.searchsorted(members, column[within]) for column in pairs[:2])
    np.minimum.at(matrix, (a, b), pairs.distance[within])
    matrix = np.minimum(matrix, matrix.T)
    np.fill_diagonal(matrix, 0)
    return matrix


def _numbered(groups: np.ndarray) -> np.ndarray:
    """Number the groups of two and more from the largest, equals by their first photo."""
    facts = pd.Series(range(len(groups))).groupby(groups).agg(["size", "first"])
    facts = facts[facts["size"] > 1].sort_values(["size", "first"], ascending=[False, True])
    numbers = pd.Series(np.arange(len(facts)), index=facts.index)
    return numbers.reindex(groups).fillna(-1).to_numpy(np.int64)
