"""Open `data.root`, a folder or a zip, and read a catalogue's files from it without unpacking.

A catalogue is a table (`styles.csv`, or `data.table`) with photos beside it, or a folder of photos
for each class.
"""

import hashlib
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath, PurePosixPath

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MAX_FILE_BYTES = 256 * 2**20
NOT_THERE = (
    "data.root={root!r} does not exist. The Fashion Product Images catalogue is published on "
    "Kaggle, small (paramaggarwal/fashion-product-images-small, about 0.6 GB) and in full "
    "(paramaggarwal/fashion-product-images-dataset, 15 to 25 GB): fetch it with "
    "pip install 'fashion[kaggle]' && fashion download, or pass "
    "data.root=<folder or zip>; data=sample needs no download."
)


@dataclass(frozen=True)
class CatalogueRoot:
    """One table and the photos beside it, or a folder of photos for each class.

    Attributes:
        path: The folder or zip the user named.
        csv_name: The name of the table that `read` takes; None where each class has a folder.
        photos: Maps an id to the name that `read` takes: beside a table the id is the name of a
            file in images/ without its ending, without a table the file's path in `path`.
        find: Returns the name that `read` takes of a photo whose path is written in the table,
            relative to the table or to images/; None where there is none inside `path`.
        stamp: Returns of that name a string that changes when the file's content does: checksum
            and size in a zip, size and modification time in a folder.
        read: Returns a file's bytes. Raises OSError or ValueError when it can't be read.
    """

    path: Path
    csv_name: str | None
    photos: dict[str, str]
    find: Callable[[str], str | None]
    stamp: Callable[[str], str]
    read: Callable[[str], bytes]

    @property
    def table_name(self) -> str:
        """The table's file name in messages."""
        return PurePosixPath(self.csv_name).name if self.csv_name else "the folders"


def open_root(root: str | Path, table: str | None = "styles.csv") -> CatalogueRoot:
    """Find a table and its photos in a folder or zip, also nested or repeated as published.

    Args:
        root: The folder or zip.
        table: The table's file name; None has each folder of photos be a class. A root without
            any table, but with folders of photos, is read like that, too.

    Raises:
        FileNotFoundError: Nothing lies at `root`, or neither the table nor folders of photos in it.
        ValueError: The zip is damaged or unsafe, or several tables of that name differ.
    """
    path = Path(root).expanduser()
    if not path.exists():
        raise FileNotFoundError(NOT_THERE.format(root=str(root)))
    path = path.absolute()  # so that it is the same catalogue wherever it is read from
    return _open_folder(path, table) if path.is_dir() else _open_zip(path, table)


def _open_folder(folder: Path, table: str | None) -> CatalogueRoot:
    files = list(_walk(folder, with_photos=table is None))
    tables = [path for path in files if table and path.name == table]
    tables.sort(key=lambda path: (len(path.parts), str(path)))
    digests = {_digest(path.read_bytes()) for path in tables} if len(tables) > 1 else set()
    chosen = _choose_table([str(path) for path in tables], len(digests), folder)
    if chosen is None:
        if table is not None:
            _refuse_other_tables(folder, table, files)
            files = list(_walk(folder, with_photos=True))
        names = [path.relative_to(folder).as_posix() for path in files]
        photos = _photos_in_folders(folder, names, table)
        photos = {id_: str(folder / name) for id_, name in photos.items()}
    else:
        images = Path(chosen).parent / "images"
        entries = os.scandir(images) if images.is_dir() else ()
        names = sorted(entry.name for entry in entries if entry.is_file())
        photos = {id_: str(images / name) for id_, name in _photos_by_id(names).items()}
    base = Path(chosen).parent if chosen else folder
    return CatalogueRoot(folder, chosen, photos, partial(_find_file, base), _file_stamp, _read_file)


def _walk(folder: Path, *, with_photos: bool) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        # The full set has 44,000 files in each of these; none of them is a table.
        skipped = () if with_photos else ("images", "styles")
        folders[:] = sorted(
            name for name in folders if name not in (*skipped, "__MACOSX") and name[0] != "."
        )
        yield from (Path(parent, name) for name in sorted(files))


def _find_file(base: Path, name: str) -> str | None:
    for place in (base, base / "images"):
        if _stays_inside(name) and (place / name).is_file():
            return str(place / name)
    return None


def _file_stamp(name: str) -> str:
    try:
        stat = os.stat(name)
    except OSError:  # gone since the folder was listed; reading it says so
        return "gone"
    return f"{stat.st_size}:{stat.st_mtime_ns}"


def _read_file(name: str) -> bytes:
    if os.path.getsize(name) > MAX_FILE_BYTES:
        raise ValueError(f"larger than {MAX_FILE_BYTES >> 20} MiB")
    return Path(name).read_bytes()


def _open_zip(path: Path, table: str | None) -> CatalogueRoot:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(
            f"data.root={str(path)!r} is neither a folder nor a complete zip file ({error}). "
            "Fetch the file again, or pass data.root=<folder with a table and images/>."
        ) from error
    entries = {info.filename: info for info in archive.infolist() if not info.is_dir()}
    for name in entries:
        if not _stays_inside(name):
            raise ValueError(
                f"data.root={str(path)!r} holds the entry {name!r}, which leaves the archive. "
                "Remove that entry, or pass another data.root."
            )
    own = [PurePosixPath(name) for name in entries if not name.startswith("__MACOSX/")]
    tables = [str(name) for name in own if table and name.name == table]
    tables.sort(key=lambda name: (name.count("/"), name))
    chosen = _choose_table(tables, len({entries[name].CRC for name in tables}), path)
    if chosen is None:
        if table is not None:
            _refuse_other_tables(path, table, own)
        photos = _photos_in_folders(path, sorted(map(str, own)), table)
        base = PurePosixPath()
    else:
        base = PurePosixPath(chosen).parent
        images = base / "images"
        names = sorted(name.name for name in own if name.parent == images)
        photos = {id_: str(images / name) for id_, name in _photos_by_id(names).items()}

    def find(name: str) -> str | None:
        places = (str(base / name), str(base / "images" / name)) if _stays_inside(name) else ()
        return next((place for place in places if place in entries), None)

    def stamp(name: str) -> str:
        return f"{entries[name].file_size}:{entries[name].CRC:08x}"

    return CatalogueRoot(path, chosen, photos, find, stamp, partial(read_entry, archive))


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


def _stays_inside(name: str) -> bool:
    """Return whether a path that a file names is a plain relative one."""
    path = PurePosixPath(name)
    return not (
        path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or not path.parts
    )


def _choose_table(tables: list[str], num_contents: int, root: Path) -> str | None:
    if num_contents > 1:
        raise ValueError(
            f"data.root={str(root)!r} holds {len(tables)} {PurePosixPath(tables[0]).name} that "
            f"differ: {', '.join(tables)}. Pass the folder of the one you mean as data.root."
        )
    return tables[0] if tables else None


def _refuse_other_tables(root: Path, table: str, files: Iterable[PurePath]) -> None:
    """Have the user say which table is meant, where one of another name is there."""
    others = sorted({path.name for path in files if path.suffix.lower() == ".csv"})
    if others:
        raise FileNotFoundError(
            f"data.root={str(root)!r} holds no {table}, but {', '.join(others)}. Pass "
            f"data.table={others[0]}, or data.table=null to take each folder of photos as a class."
        )


def _photos_in_folders(root: Path, names: list[str], table: str | None) -> dict[str, str]:
    """Return the photos that lie in folders, under their own names.

    Raises:
        FileNotFoundError: There are none.
    """
    photos = {name: name for name in names if _is_photo(name)}
    if len({PurePosixPath(name).parent for name in photos} - {PurePosixPath()}) < 2:
        zips = [name for name in names if name.lower().endswith(".zip")] if root.is_dir() else []
        hint = f"; it holds {zips[0]}, pass data.root={root / zips[0]}" if zips else ""
        raise FileNotFoundError(
            f"data.root={str(root)!r} holds {f'no {table}, nor' if table else 'not'} a folder of "
            f"photos for each class{hint or '. Pass the folder or zip that does'}."
        )
    return photos


def _photos_by_id(names: list[str]) -> dict[str, str]:
    """Map ids to file names; where two endings share an id, .jpg comes first."""
    photos: dict[str, str] = {}
    for name in names:
        stem, suffix = os.path.splitext(name)
        if _is_photo(name) and (stem not in photos or suffix == ".jpg"):
            photos[stem] = name
    return photos


def _is_photo(name: str) -> bool:
    return name.lower().endswith(PHOTO_SUFFIXES)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
