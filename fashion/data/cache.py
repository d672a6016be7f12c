"""The shelf of a cache folder: photos, features, twins and lists of zips, told and deleted."""

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pandas as pd

from fashion.cache_folder import DamagedError, remove
from fashion.catalogue import zip_index
from fashion.locks import NoLocksError, is_being_made, unless_used
from fashion.shards import INDEX, UNFINISHED, read_index, read_shard, shard_folders
from fashion.twins.groups import read_groups

LOCK = ".lock"
COLUMNS = ["key", "kind", "photos", "input_size", "unreadable", "bytes", "state"]


def list_stores(cache_dir: Path) -> pd.DataFrame:
    """Return one row a store; nothing is written or locked for that.

    The columns are `key`, `kind` (`photos`, `features` of the frozen side of a network for one
    view, `thumbnails` by which twins are found, `twins` among some photos, or `zips`, which files
    one has), `photos`, `input_size`, `unreadable`, `bytes` of the disk and `state`: `complete`,
    `damaged` where it lost a part, `being made` or, where that was cut short, `unfinished`. What a
    store doesn't know is `-`.
    """
    rows = []
    for key, (kind, path) in _stores(cache_dir).items():
        facts, state = READERS[kind](path)
        if state != "complete" and is_being_made(path):
            state = "being made"
        rows.append((key, kind, *facts, *["-"] * (3 - len(facts)), _used(path), state))
    return pd.DataFrame(rows, columns=COLUMNS)


def _stores(cache_dir: Path) -> dict[str, tuple[str, Path]]:
    """Return kind and path of each store by its key, finished or not."""
    stores = {}
    for kind in READERS:
        folder = cache_dir / kind
        names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else ()
        for name in names:
            key, is_lock = name.strip(".").split(".")[0], name.endswith(LOCK)
            if re.fullmatch("[0-9a-f]{16}", key) and (
                not is_lock or is_being_made(folder / name.removesuffix(LOCK))
            ):
                stores[key] = kind, folder / (f"{key}.npz" if kind in FILES else key)
    return stores


def _sharded(folder: Path) -> tuple[list[object], str]:
    """Return photos, their size and those that can't be read, and the state."""
    try:
        facts, fields = read_index(folder)
        shards = [read_shard(path, fields) for path in shard_folders(folder)]
    except FileNotFoundError:
        return [], "unfinished"
    except DamagedError:
        return [], "damaged"
    size = facts.get("input_size")
    known = [] if size is None else [size, sum(len(shard.notes) for shard in shards)]
    is_whole = shards and not any(folder.glob(f"*{UNFINISHED}"))
    state = "complete" if is_whole else "unfinished"
    return [sum(shard.records for shard in shards), *known], state


def _twins(path: Path) -> tuple[list[object], str]:
    try:
        groups, _ = read_groups(path)
    except FileNotFoundError:
        return [], "unfinished"
    except DamagedError:
        return [], "damaged"
    return [len(groups)], "complete"


def _zips(path: Path) -> tuple[list[object], str]:
    try:
        index = zip_index.read_index(path)
    except FileNotFoundError:
        return [], "unfinished"
    except DamagedError:
        return [], "damaged"
    return [int(index.entries["listed"].sum())], "complete"


READERS: dict[str, Callable[[Path], tuple[list[object], str]]] = {
    "photos": _sharded,
    "features": _sharded,
    "thumbnails": _sharded,
    "twins": _twins,
    "zips": _zips,
}
FILES = ("twins", "zips")  # kinds of stores that are one file


def _parts(path: Path) -> list[Path]:
    """Return all that there is of a store, the leftovers of what was cut short with it."""
    parts = [*path.parent.glob(f"{path.stem}*"), *path.parent.glob(f".{path.stem}*")]
    return [part for part in parts if part.suffix != LOCK]


def _used(path: Path) -> int:
    """Return what a store takes of the disk: files of features have holes."""
    parts = _parts(path)
    return sum(_blocks(file) for part in parts for file in (part, *part.rglob("*")))


def _blocks(path: Path) -> int:
    if not path.is_file():  # or no longer
        return 0
    stat = path.stat()
    return 512 * getattr(stat, "st_blocks", -(-stat.st_size // 512))


def delete_stores(cache_dir: Path, keys: list[str]) -> list[str]:
    """Delete the stores of these keys and return the keys deleted.

    `all` stands for every store, finished or not, but those that another process is using.

    Raises:
        ValueError: A key names no store, or one that another process is using.
        OSError: A store can't be deleted, or nobody can tell whether it is in use.
    """
    stores = _stores(cache_dir)
    unknown = [key for key in keys if key not in [*stores, "all"]]
    if unknown:
        raise ValueError(
            f"There is no store {unknown[0]!r} in {cache_dir}; there are: "
            f"{', '.join(stores) or 'none'}."
        )
    chosen = list(stores) if "all" in keys else keys
    deleted = [key for key in chosen if _delete(stores[key][1])]
    in_use = set(keys) - set(deleted) - {"all"}
    if in_use:
        raise ValueError(f"The store {min(in_use)!r} is in use by another process, so it stays.")
    _sweep(cache_dir)
    return deleted


def _delete(path: Path) -> bool:
    """Delete a store unless it is in use, and return whether it was deleted."""
    try:
        with unless_used(path, [path / INDEX]) as is_free:
            for part in _parts(path) if is_free else ():
                remove(part)
    except OSError as error:
        if isinstance(error, NoLocksError) and error.errno is None:
            raise OSError(
                f"The store {path} stays: its disk has no locks, so nobody can tell whether a run "
                "is using it. Delete it by hand if none is."
            ) from error
        raise OSError(f"The store {path} can't be deleted ({error.strerror}).") from error
    return is_free


def _sweep(cache_dir: Path) -> None:
    """Delete the locks that processes left, which earlier releases did always."""
    for lock in [path for kind in READERS for path in (cache_dir / kind).glob(f"*{LOCK}")]:
        with suppress(NoLocksError), unless_used(lock.with_suffix(""), ()):
            pass  # whoever has had a lock deletes it
