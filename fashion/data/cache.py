"""The shelf of a cache folder: its stores of packed photos and of features, listed and deleted."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from filelock import FileLock, Timeout

from fashion.data import feature_store
from fashion.data.photo_store import INDEX, PIXELS, UNFINISHED, is_packed


def list_stores(cache_dir: Path) -> pd.DataFrame:
    """Return one row a store.

    The columns are `key`, `kind` (`photos`, or `features` of the frozen side of a network),
    `photos`, `input_size`, `unreadable`, `gigabytes` and `state`. The state is `complete`, `being
    packed` or, where the packing was cut short, `unfinished`; features, which are filled as they
    are needed, are `kept` or `being filled`. What a store doesn't know is `-`.
    """
    rows = []
    for kind, key, folder in _folders(cache_dir):
        facts: list[object] = ["-"] * 3
        if kind == "features":
            facts[0] = json.loads((folder / feature_store.INDEX).read_text())["photos"]
            used, state = folder, "kept" if _when_free(folder) else "being filled"
        elif is_packed(folder):
            index = json.loads((folder / INDEX).read_text())
            facts = [index["photos"], index["input_size"], len(index["unreadable"])]
            used, state = folder, "complete"
        else:
            used = folder.with_suffix(UNFINISHED)
            state = "unfinished" if _when_free(folder) else "being packed"
        # What it takes of the disk: files of features have holes.
        size = sum(path.stat().st_blocks * 512 for path in used.rglob("*.[ub]*"))
        rows.append((key, kind, *facts, round(size / 1e9, 3), state))
    columns = ["key", "kind", "photos", "input_size", "unreadable", "gigabytes", "state"]
    return pd.DataFrame(rows, columns=columns)


def _folders(cache_dir: Path) -> list[tuple[str, str, Path]]:
    """Return kind, key and folder of each store, finished or not."""
    packed = {path.parent.stem for path in cache_dir.glob(f"photos/*/{PIXELS}")}
    features = {path.parent.name for path in cache_dir.glob(f"features/*/{feature_store.INDEX}")}
    kinds = {"photos": packed, "features": features}
    return [(kind, key, cache_dir / kind / key) for kind in kinds for key in sorted(kinds[kind])]


def delete_stores(cache_dir: Path, keys: list[str]) -> list[str]:
    """Delete the stores of these keys and return the keys deleted.

    `all` stands for every store, finished or not, but those that another process is using.

    Raises:
        ValueError: A key names no store, or one that another process is using.
    """
    folders = {key: folder for _, key, folder in _folders(cache_dir)}
    unknown = [key for key in keys if key not in [*folders, "all"]]
    if unknown:
        raise ValueError(
            f"There is no store {unknown[0]!r} in {cache_dir}; there are: "
            f"{', '.join(folders) or 'none'}."
        )
    chosen = list(folders) if "all" in keys else keys
    deleted = [key for key in chosen if _when_free(folders[key], _remove)]
    in_use = set(keys) - set(deleted) - {"all"}
    if in_use:
        raise ValueError(f"The store {min(in_use)!r} is in use by another process, so it stays.")
    return deleted


def _when_free(folder: Path, action: Callable[[Path], None] = lambda folder: None) -> bool:
    """Do `action` while holding the store's lock, and return whether the lock was to be had."""
    try:
        with FileLock(f"{folder}.lock", timeout=0):
            action(folder)
    except Timeout:
        return False
    return True


def _remove(folder: Path) -> None:
    for path in (folder, folder.with_suffix(UNFINISHED)):
        if path.exists():
            shutil.rmtree(path)
