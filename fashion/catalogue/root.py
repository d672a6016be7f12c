"""Open `data.root`, a folder or a zip, and find a catalogue's table and photos in it.

A catalogue is a table (`styles.csv`, or `data.table`) with photos beside it, or a folder of photos
for each class.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from io import BufferedReader
from pathlib import Path, PurePath, PurePosixPath

from fashion.catalogue.containers import Archive, Folder, is_photo, stays_inside

# The full set has 44,000 files in each of these; none of them is a table.
WITHOUT_TABLES = ("images", "styles")
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
        open: Opens a file of any size, to be read in parts. Raises OSError, and so may reading.
    """

    path: Path
    csv_name: str | None
    photos: dict[str, str]
    find: Callable[[str], str | None]
    stamp: Callable[[str], str]
    read: Callable[[str], bytes]
    open: Callable[[str], BufferedReader]

    @property
    def table_name(self) -> str:
        """The table's file name in messages."""
        return PurePosixPath(self.csv_name).name if self.csv_name else "the folders"


def open_root(
    root: str | Path, table: str | None = "styles.csv", least_folders: int = 2
) -> CatalogueRoot:
    """Find a table and its photos in a folder or zip, also nested or repeated as published.

    Args:
        root: The folder or zip.
        table: The table's file name; None has each folder of photos be a class. A root without
            any table, but with folders of photos, is read like that, too.
        least_folders: How many of them there have to be.

    Raises:
        FileNotFoundError: Nothing lies at `root`, or neither the table nor folders of photos in it.
        ValueError: The zip is damaged or unsafe, or several tables of that name differ.
    """
    path = Path(root).expanduser()
    if not path.exists():
        raise FileNotFoundError(NOT_THERE.format(root=str(root)))
    path = path.absolute()  # so that it is the same catalogue wherever it is read from
    files = Folder(path) if path.is_dir() else _open_archive(path)
    csv_name = _find_table(files, path, table) if table else None
    base = csv_name.parent if csv_name else files.top
    return CatalogueRoot(
        path=path,
        csv_name=str(csv_name) if csv_name else None,
        photos=(
            _photos_by_id(files, base)
            if csv_name
            else _photos_by_path(files, path, table, least_folders)
        ),
        find=partial(_find_photo, files, base),
        stamp=files.stamp,
        read=files.read,
        open=files.open,
    )


def _open_archive(path: Path) -> Archive:
    try:
        archive = Archive(path)
    except ValueError as error:
        raise ValueError(
            f"data.root={str(path)!r} is neither a folder nor a complete zip file ({error}). "
            "Fetch the file again, or pass data.root=<folder with a table and images/>."
        ) from error
    for name in archive.names_outside():
        raise ValueError(
            f"data.root={str(path)!r} holds the entry {name!r}, which leaves the archive. "
            "Remove that entry, or pass another data.root."
        )
    return archive


def _find_table(files: Folder | Archive, root: Path, table: str) -> PurePath | None:
    """Return the table of a name, the outermost of several equal ones; None if there is no table.

    Raises:
        FileNotFoundError: There are only tables of other names.
        ValueError: Several tables of that name differ.
    """
    names = list(files.names(skipped=WITHOUT_TABLES))
    tables = [path for path in names if path.name == table]
    tables.sort(key=lambda path: (len(path.parts), str(path)))
    if not tables:
        _refuse_other_tables(root, table, names)
        return None
    if len(tables) > 1 and len({files.digest(str(path)) for path in tables}) > 1:
        raise ValueError(
            f"data.root={str(root)!r} holds {len(tables)} {table} that differ: "
            f"{', '.join(map(str, tables))}. Pass the folder of the one you mean as data.root."
        )
    return tables[0]


def _refuse_other_tables(root: Path, table: str, names: Iterable[PurePath]) -> None:
    """Have the user say which table is meant, where one of another name is there."""
    others = sorted({path.name for path in names if path.suffix.lower() == ".csv"})
    if others:
        raise FileNotFoundError(
            f"data.root={str(root)!r} holds no {table}, but {', '.join(others)}. Pass "
            f"data.table={others[0]}, or data.table=null to take each folder of photos as a class."
        )


def _photos_by_id(files: Folder | Archive, base: PurePath) -> dict[str, str]:
    """Return the photos in images/ by their ids; where two endings share one, .jpg comes first."""
    photos: dict[str, str] = {}
    for name in files.names_in(base / "images"):
        stem, suffix = os.path.splitext(name)
        if is_photo(name) and (stem not in photos or suffix == ".jpg"):
            photos[stem] = str(base / "images" / name)
    return photos


def _photos_by_path(
    files: Folder | Archive, root: Path, table: str | None, least_folders: int
) -> dict[str, str]:
    """Return the photos that lie in folders by their paths.

    Raises:
        FileNotFoundError: There are none.
    """
    names = [path.relative_to(files.top).as_posix() for path in files.names()]
    photos = {name: str(files.top / name) for name in names if is_photo(name)}
    if len({PurePosixPath(name).parent for name in photos} - {PurePosixPath()}) < least_folders:
        zips = [name for name in names if name.lower().endswith(".zip")] if root.is_dir() else []
        hint = f"; it holds {zips[0]}, pass data.root={root / zips[0]}" if zips else ""
        raise FileNotFoundError(
            f"data.root={str(root)!r} holds {f'no {table}, nor' if table else 'not'} a folder of "
            f"photos for each class{hint or '. Pass the folder or zip that does'}."
        )
    return photos


def _find_photo(files: Folder | Archive, base: PurePath, name: str) -> str | None:
    places = (base / name, base / "images" / name) if stays_inside(name) else ()
    return next((str(place) for place in places if files.holds(str(place))), None)
