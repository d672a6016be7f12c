"""Open `data.root`, a folder or a zip, and read a catalogue's files from it without unpacking."""

import hashlib
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MAX_FILE_BYTES = 256 * 2**20
NOT_THERE = (
    "data.root={root!r} does not exist. The Fashion Product Images catalogue is published on "
    "Kaggle, small (paramaggarwal/fashion-product-images-small, about 0.6 GB) and in full "
    "(paramaggarwal/fashion-product-images-dataset, 15 to 25 GB): fetch it with "
    "pip install 'fashion[kaggle]' && python -m fashion.download, or pass "
    "data.root=<folder or zip>; data=sample needs no download."
)


@dataclass(frozen=True)
class CatalogueRoot:
    """One styles.csv and the photos beside it.

    Attributes:
        path: The folder or zip the user named.
        csv_name: The name of styles.csv that `read` takes.
        photos: Maps an id (a file name without its ending) to the name that `read` takes.
        stamps: Maps that name to a string that changes when the file's content does: checksum and
            size in a zip, size and modification time in a folder.
        read: Returns a file's bytes. Raises OSError or ValueError when it can't be read.
    """

    path: Path
    csv_name: str
    photos: dict[str, str]
    stamps: dict[str, str]
    read: Callable[[str], bytes]


def open_root(root: str | Path) -> CatalogueRoot:
    """Find styles.csv and its images in a folder or zip, also nested or repeated as published.

    Raises:
        FileNotFoundError: Nothing lies at `root`, or no styles.csv in it.
        ValueError: The zip is damaged or unsafe, or several styles.csv differ.
    """
    path = Path(root).expanduser()
    if not path.exists():
        raise FileNotFoundError(NOT_THERE.format(root=str(root)))
    return _open_folder(path) if path.is_dir() else _open_zip(path)


def _open_folder(folder: Path) -> CatalogueRoot:
    tables = sorted(_find_tables(folder), key=lambda table: (len(table.parts), str(table)))
    digests = {_digest(table.read_bytes()) for table in tables} if len(tables) > 1 else set()
    zips = sorted(str(entry) for entry in folder.glob("*.zip"))
    hint = f"; it holds {zips[0]}, pass data.root={zips[0]}" if zips else ""
    table = Path(_choose_table([str(table) for table in tables], len(digests), folder, hint))
    photos: dict[str, str] = {}
    stamps: dict[str, str] = {}
    images = table.parent / "images"
    if images.is_dir():
        for entry in sorted(os.scandir(images), key=lambda entry: entry.name):
            if entry.is_file() and _add_photo(photos, entry.name, entry.path):
                stat = entry.stat()
                stamps[entry.path] = f"{stat.st_size}:{stat.st_mtime_ns}"
    return CatalogueRoot(folder, str(table), photos, stamps, _read_file)


def _find_tables(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        # The full set has 44,000 files in each of these; none of them is a table.
        folders[:] = [name for name in folders if name not in ("images", "styles", "__MACOSX")]
        if "styles.csv" in files:
            yield Path(parent, "styles.csv")


def _read_file(name: str) -> bytes:
    if os.path.getsize(name) > MAX_FILE_BYTES:
        raise ValueError(f"larger than {MAX_FILE_BYTES >> 20} MiB")
    return Path(name).read_bytes()


def _open_zip(path: Path) -> CatalogueRoot:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(
            f"data.root={str(path)!r} is neither a folder nor a complete zip file ({error}). "
            "Fetch the file again, or pass data.root=<folder with styles.csv and images/>."
        ) from error
    entries = {info.filename: info for info in archive.infolist() if not info.is_dir()}
    for name in entries:
        if name.startswith("/") or "\\" in name or ".." in PurePosixPath(name).parts:
            raise ValueError(
                f"data.root={str(path)!r} holds the entry {name!r}, which leaves the archive. "
                "Remove that entry, or pass another data.root."
            )
    tables = [
        name
        for name in sorted(entries, key=lambda name: (name.count("/"), name))
        if PurePosixPath(name).name == "styles.csv" and not name.startswith("__MACOSX/")
    ]
    checksums = {entries[name].CRC for name in tables}
    table = _choose_table(tables, len(checksums), path, "")
    photos: dict[str, str] = {}
    stamps: dict[str, str] = {}
    folder = PurePosixPath(table).parent / "images"
    for name in sorted(entries):
        if PurePosixPath(name).parent == folder and _add_photo(
            photos, PurePosixPath(name).name, name
        ):
            stamps[name] = f"{entries[name].file_size}:{entries[name].CRC:08x}"
    return CatalogueRoot(path, table, photos, stamps, partial(read_entry, archive))


def read_entry(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return the content of one file in a zip.

    Raises:
        ValueError: The entry is damaged, encrypted or larger than `MAX_FILE_BYTES`.
    """
    if archive.getinfo(name).file_size > MAX_FILE_BYTES:
        raise ValueError(f"larger than {MAX_FILE_BYTES >> 20} MiB")
    try:
        return archive.read(name)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:
        raise ValueError(f"damaged zip entry: {error}") from error


def _choose_table(tables: list[str], num_contents: int, root: Path, hint: str) -> str:
    if not tables:
        hint = hint or ". Pass the folder or zip that does"
        raise FileNotFoundError(f"data.root={str(root)!r} holds no styles.csv{hint}.")
    if num_contents > 1:
        raise ValueError(
            f"data.root={str(root)!r} holds {len(tables)} styles.csv that differ: "
            f"{', '.join(tables)}. Pass the folder of the one you mean as data.root."
        )
    return tables[0]


def _add_photo(photos: dict[str, str], file_name: str, name: str) -> bool:
    """Enter a photo under its id; where two endings share an id, .jpg comes first."""
    stem, suffix = os.path.splitext(file_name)
    if suffix.lower() not in PHOTO_SUFFIXES or (stem in photos and suffix != ".jpg"):
        return False
    photos[stem] = name
    return True


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
