"""The packed photo store: every photo decoded once into one uint8 file that is memory-mapped.

`fashion cache` lists the stores of a cache folder, `fashion cache delete KEY`
(or `all`) deletes them.
"""

import argparse
import hashlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd
import platformdirs
from filelock import FileLock, Timeout
from tqdm import tqdm

from fashion.catalogue.images import FITS, UnreadableImageError, decode_image
from fashion.catalogue.root import CatalogueRoot

FORMAT = 1
PIXELS, INDEX, UNFINISHED = "photos.u8", "store.json", ".unfinished"
FEATURES_INDEX = (
    "features.json"  # of the stores that `fashion.data.feature_store` keeps beside these
)
CHUNK = 512  # photos decoded between two writes
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhotoStore:
    """A finished store: `(N, H, W, 3)` uint8 on disk, opened when first read.

    Attributes:
        folder: Where it lies.
        ids: The id of each photo, in the order of the file.
        input_size: H and W, in pixels.
        unreadable: Maps the ids whose photo could not be decoded to the reason; their slot is
            white.
    """

    folder: Path
    ids: list[str]
    input_size: int
    unreadable: dict[str, str]

    @cached_property
    def photos(self) -> np.ndarray:
        """The photos, `(N, H, W, 3)` uint8, memory-mapped."""
        shape = (len(self.ids), self.input_size, self.input_size, 3)
        return np.memmap(self.folder / PIXELS, dtype=np.uint8, mode="r", shape=shape)

    def __getstate__(self) -> dict[str, object]:
        """Leave the memory map behind, so that a worker process opens its own."""
        return {key: value for key, value in self.__dict__.items() if key != "photos"}


def default_cache_dir() -> Path:
    """Return the user's cache folder for this project."""
    return Path(platformdirs.user_cache_dir("fashion"))


def open_store(
    root: CatalogueRoot,
    table: pd.DataFrame,
    input_size: int,
    fit: str,
    interpolation: str,
    cache_dir: Path,
) -> PhotoStore:
    """Open the store of these photos, packing it first where there is none.

    The key is made of the photos' ids and contents and of the settings, so a changed photo or
    setting packs a new store. A store appears under its key only when it is complete; of two
    processes that want the same one, the second waits for the first.

    Args:
        root: Reads the photos.
        table: The catalogue table, columns `id` and `photo`.
        input_size: Side of the square, in pixels.
        fit: See `decode_image`.
        interpolation: See `decode_image`.
        cache_dir: The folder of all stores.

    Raises:
        ValueError: `fit` or `input_size` is unknown.
        OSError: The disk lacks the room.
    """
    if fit not in FITS:
        raise ValueError(f"data.fit={fit!r} is unknown; pass {' or '.join(FITS)}.")
    if input_size < 1:
        raise ValueError(f"model.input_size={input_size} must be a number of pixels above 0.")
    folder = store_folder(root, table, input_size, fit, interpolation, cache_dir)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not is_packed(folder):
            decode = partial(
                decode_image, input_size=input_size, fit=fit, interpolation=interpolation
            )
            _pack(folder, table, input_size, lambda photo: decode(root.read(photo)))
    index = json.loads((folder / INDEX).read_text())
    return PhotoStore(folder, table["id"].tolist(), input_size, index["unreadable"])


def store_folder(
    root: CatalogueRoot,
    table: pd.DataFrame,
    input_size: int,
    fit: str,
    interpolation: str,
    cache_dir: Path,
) -> Path:
    """Return where `open_store` keeps the store of these photos, packed or not."""
    digest = hashlib.sha256(f"{FORMAT} {input_size} {fit} {interpolation}\n".encode())
    for id_, photo in zip(table["id"], table["photo"], strict=True):
        digest.update(f"{id_}:{root.stamp(photo)}\n".encode("utf-8", "surrogateescape"))
    return cache_dir / "photos" / digest.hexdigest()[:16]


def is_packed(folder: Path) -> bool:
    """Return whether a store's folder holds a finished store."""
    return (folder / INDEX).exists()


def store_bytes(num_photos: int, input_size: int) -> int:
    """Return the size of a store in bytes."""
    return num_photos * input_size * input_size * 3


def _pack(
    folder: Path, table: pd.DataFrame, input_size: int, decode: Callable[[str], np.ndarray]
) -> None:
    """Decode every photo into a temporary folder and rename it to `folder` when it is complete."""
    unfinished = folder.with_suffix(UNFINISHED)
    shutil.rmtree(unfinished, ignore_errors=True)
    _check_room(folder, len(table), input_size)
    unfinished.mkdir()
    unreadable: dict[str, str] = {}
    white = np.full((input_size, input_size, 3), 255, np.uint8)
    bar = tqdm(total=len(table), desc="Packing photos", unit="photo", disable=None)
    with ThreadPoolExecutor(os.cpu_count()) as pool, open(unfinished / PIXELS, "wb") as pixels, bar:
        for start in range(0, len(table), CHUNK):
            rows = table.iloc[start : start + CHUNK]
            photos = pool.map(lambda name: decode_or_say_why(partial(decode, name)), rows["photo"])
            for id_, photo in zip(rows["id"], photos, strict=True):
                if isinstance(photo, str):
                    unreadable[id_] = photo
                pixels.write((white if isinstance(photo, str) else photo).tobytes())
            bar.update(len(rows))
        pixels.flush()
        os.fsync(pixels.fileno())
    index = {"photos": len(table), "input_size": input_size, "unreadable": unreadable}
    (unfinished / INDEX).write_text(json.dumps(index))
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


def _check_room(folder: Path, num_photos: int, input_size: int) -> None:
    num_bytes = store_bytes(num_photos, input_size)
    free = shutil.disk_usage(folder.parent).free
    size = f"{num_photos:,} photos at {input_size} px take {num_bytes / 1e9:.2f} GB"
    if num_bytes > free:
        raise OSError(
            f"data.cache_dir={str(folder.parent.parent)!r}: {size}, but {free / 1e9:.2f} GB are "
            "free. Pass data.cache_dir on a larger disk, a smaller model.input_size, or delete "
            "stores (fashion cache)."
        )
    log.info("%s in %s", size, folder)


def decode_or_say_why(decode: Callable[[], np.ndarray]) -> np.ndarray | str:
    """Return the decoded photo, or in words why it can't be read or decoded."""
    try:
        return decode()
    except (UnreadableImageError, OSError, ValueError) as error:
        return str(error)


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
            facts[0] = json.loads((folder / FEATURES_INDEX).read_text())["photos"]
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
    features = {path.parent.name for path in cache_dir.glob(f"features/*/{FEATURES_INDEX}")}
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


def main() -> None:
    """List or delete photo stores."""
    parser = argparse.ArgumentParser(
        prog="fashion cache", description="List or delete photo stores."
    )
    parser.add_argument("action", nargs="?", choices=["list", "delete"], default="list")
    parser.add_argument("keys", nargs="*", metavar="KEY", help="stores to delete, or all")
    parser.add_argument(
        "--cache-dir", type=Path, default=default_cache_dir(), help="default: %(default)s"
    )
    options = parser.parse_args()
    if options.action == "delete":
        if not options.keys:
            parser.error("delete needs the KEY of a store, or all")
        try:
            deleted = delete_stores(options.cache_dir, options.keys)
        except ValueError as error:
            parser.error(str(error))
        sys.stdout.write(f"deleted {len(deleted)} stores\n")
    stores = list_stores(options.cache_dir)
    table = stores.to_string(index=False) if len(stores) else "no stores"
    sys.stdout.write(f"{options.cache_dir}\n{table}\n")


if __name__ == "__main__":
    main()
