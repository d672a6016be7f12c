"""Open `data.root`, a folder or a zip, and find a catalogue's table and photos in it.

A catalogue is a table (`styles.csv`, or `data.table`) with photos beside it, or a folder of photos
for each class.
"""

import difflib
import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from io import BufferedReader
from pathlib import Path, PurePath, PurePosixPath

import numpy as np

from fashion.catalogue.archives import Archive
from fashion.catalogue.containers import UNREADABLE, Folder
from fashion.catalogue.listing import readable, split_ending
from fashion.catalogue.photo_finder import PhotoFinder
from fashion.wording import first_of, many

# The full set has 44,000 files in each of these; none of them is a table.
WITHOUT_TABLES = ("images", "styles")
TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".xls", ".xlsx")
PUBLISHED = "data/fashion-product-images"  # data.root where nothing is passed
NOT_FETCHED = (
    "data.root={root!r} does not exist. The Fashion Product Images catalogue is published on "
    "Kaggle, small (paramaggarwal/fashion-product-images-small, about 0.6 GB) and in full "
    "(paramaggarwal/fashion-product-images-dataset, 15 to 25 GB): in a checkout, "
    "pip install -e '.[kaggle]' && fashion download fetches it; or pass "
    "data.root=<folder or zip>; data=sample needs no download."
)


@dataclass(frozen=True)
class CatalogueRoot:
    """One table and the photos beside it, or a folder of photos for each class.

    Attributes:
        path: The folder or zip the user named.
        csv_name: The name of the table that `read` takes; None where each class has a folder.
        photos: Maps an id to the name that `read` takes: beside a table the id is the name of a
            file in the photos' folder without its ending, without a table the file's path in
            `path`.
        photo_folder: The photos' folder in messages, such as `images/`.
        finder: Finds a photo by what the table says of it.
        stamp: Returns of a name that `read` takes a string that changes when the file's content
            does: checksum and size in a zip, size and modification time in a folder.
        read: Returns a file's bytes. Raises ValueError when it is damaged or too large, and OSError
            when it can't be read now, which says nothing of the file.
        open: Opens a file of any size, to be read in parts. Raises OSError, and so may reading.
        listing_notes: What was passed over, in sentences.
    """

    path: Path
    csv_name: str | None
    photos: dict[str, str]
    photo_folder: str
    finder: PhotoFinder
    stamp: Callable[[str], str]
    read: Callable[[str], bytes]
    open: Callable[[str], BufferedReader]
    listing_notes: tuple[str, ...] = ()

    @property
    def table_name(self) -> str:
        """The table's file name in messages."""
        return PurePosixPath(self.csv_name).name if self.csv_name else "the folders"

    def find(self, written: str) -> str | None:
        """Return the name of the photo that a path in the table means; None where there is none."""
        return self.finder.find(written)

    def keys(self, photos: Iterable[str]) -> np.ndarray:
        """Return what tells photos and their contents apart, `(N,)` of 16 bytes each.

        A key is made of a photo's path in the catalogue, wherever that lies, and its stamp.

        Args:
            photos: Names that `read` takes.
        """
        top = f"{self.path}{os.sep}"
        texts = (f"{name.removeprefix(top)}\n{self.stamp(name)}" for name in photos)
        encoded = (text.encode("utf-8", "surrogateescape") for text in texts)
        digests = b"".join(hashlib.sha256(content).digest()[:16] for content in encoded)
        return np.frombuffer(digests, "V16")


def open_root(
    root: str | Path,
    table: str | None = "styles.csv",
    least_folders: int = 2,
    *,
    photo_folder: str | None = None,
    zip_encoding: str | None = None,
    cache_dir: Path | None = None,
) -> CatalogueRoot:
    """Find a table and its photos in a folder or zip, also nested or repeated as published.

    Args:
        root: The folder or zip.
        table: The table's file name; None has each folder of photos be a class. A root without
            any table, but with folders of photos, is read like that, too.
        least_folders: How many of them there have to be.
        photo_folder: The folder beside the table that holds the photos; None: images/, in any case,
            or the only folder of photos there is, or the table's own.
        zip_encoding: See `Archive`.
        cache_dir: See `Archive`.

    Raises:
        FileNotFoundError: Nothing lies at `root`, or neither the table nor folders of photos in it.
        ValueError: The zip is damaged or unsafe, or several tables of that name differ.
        OSError: A folder can't be read.
    """
    path = Path(root).expanduser()
    if not path.exists():
        raise FileNotFoundError(_not_there(str(root), path))
    path = path.absolute()  # so that it is the same catalogue wherever it is read from
    if path.suffix.lower() in TABLE_SUFFIXES and not path.is_dir():
        raise ValueError(
            f"data.root={str(root)!r} is a table. Pass the folder or zip that holds it: "
            f"data.root={str(path.parent)!r} data.table={path.name!r}."
        )
    files: Folder | Archive
    if path.is_dir():
        files = Folder(path)
    else:
        files = open_archive(path, zip_encoding, key="data.root", cache_dir=cache_dir)
    csv_name = _find_table(files, path, table) if table else None
    base = files.top.joinpath(csv_name).parent if csv_name else files.top
    if csv_name:
        folder = _photo_folder(files, base, photo_folder)
        photos = _photos_by_id(files, folder)
    else:
        folder, photos = base, _photos_by_path(files, path, table, least_folders)
    return CatalogueRoot(
        path=path,
        csv_name=csv_name,
        photos=photos,
        photo_folder=f"{folder.relative_to(base).as_posix()}/" if folder != base else "",
        finder=PhotoFinder(files, base, folder),
        stamp=files.stamp,
        read=partial(_read, files),
        open=files.open,
        listing_notes=_listing_notes(files, path),
    )


def open_archive(
    path: Path, encoding: str | None = None, *, key: str = "", cache_dir: Path | None = None
) -> Archive:
    """Open a zip in which every file can be read.

    Args:
        path: The zip.
        encoding: See `Archive`.
        key: The setting that names it, for messages.
        cache_dir: See `Archive`.

    Raises:
        ValueError: It is damaged, unsafe, or needs a password or a method that isn't there.
    """
    said = f"{key}={str(path)!r}" if key else repr(str(path))
    try:
        archive = Archive(path, encoding, cache_dir)
    except ValueError as error:
        raise ValueError(
            f"{said} is neither a folder nor a complete zip file ({error}). "
            "Fetch the file again, or pass a folder."
        ) from error
    for name in archive.names_outside():
        raise ValueError(
            f"{said} holds the entry {name!r}, which leaves the archive. Remove that entry, or "
            "pass another zip."
        )
    if wrong := archive.unreadable():
        raise ValueError(f"{said}: {wrong[0]!r} {wrong[1]}.")
    return archive


def describe_passed_over(files: Folder | Archive) -> list[str]:
    """Return what was not listed of a folder or zip, a sentence each kind."""
    kinds = Counter(files.passed_over.values())
    examples = {reason: name for name, reason in reversed(files.passed_over.items())}
    sentences = [
        f"{many(count, 'file or folder is', 'files or folders are')} passed over: {reason}, "
        f"{readable(examples[reason])!r} for one."
        for reason, count in kinds.items()
    ]
    strange = files.strange_names if isinstance(files, Archive) else []
    if strange:
        sentences.append(
            f"{many(len(strange), 'name in the zip is', 'names in the zip are')} in no known code "
            f"page, {strange[0]!r} for one. "
            "If that is garbled, pass zip_encoding=cp866 (Cyrillic), cp932 (Japanese), gbk "
            "(Chinese) or the one of the machine that wrote it."
        )
    return sentences


def _not_there(written: str, path: Path) -> str:
    """Return the sentence for a root that isn't there."""
    if written == PUBLISHED or path == Path(PUBLISHED).absolute():
        return NOT_FETCHED.format(root=written)
    beside = path.absolute().parent
    names = [entry.name for entry in beside.iterdir()] if beside.is_dir() else []
    like = difflib.get_close_matches(path.name, names, n=1)
    way_out = f"Is it {str(Path(written).parent / like[0])!r}?" if like else ""
    if not like and not beside.is_dir():
        way_out = f"There is no folder {str(beside)!r} either."
    return f"data.root={written!r} does not exist. {way_out or 'Correct the path.'}"


def _listing_notes(files: Folder | Archive, path: Path) -> tuple[str, ...]:
    """Return what was passed over; a folder that can't be read is no such thing.

    Raises:
        OSError: There is one: with it the classes and splits would be others.
    """
    unreadable = [name for name, reason in files.passed_over.items() if reason == UNREADABLE]
    if unreadable:
        raise OSError(
            f"data.root={str(path)!r}: the folder {unreadable[0]!r} can't be read. Allow yourself "
            "to, or move it elsewhere."
        )
    notes = describe_passed_over(files)
    return tuple(note.replace(" zip_encoding=", " data.zip_encoding=") for note in notes)


def _read(files: Folder | Archive, name: str) -> bytes:
    """Read a file; a fault that may pass is told as one."""
    try:
        return files.read(name)
    except OSError as error:
        raise OSError(
            f"The photo {readable(name)!r} can't be read now ({error.strerror or error}). See "
            "that its disk is there, and type the command again."
        ) from error


def _find_table(files: Folder | Archive, root: Path, table: str) -> str | None:
    """Return the table of a name, the outermost of several equal ones; None if there is no table.

    Raises:
        FileNotFoundError: There are only tables of other names.
        ValueError: Several tables of that name differ.
    """
    names = list(files.names(skipped=WITHOUT_TABLES))
    tables = [name for name in names if os.path.basename(name) == table]
    tables.sort(key=lambda name: (len(PurePath(name).parts), name))
    if not tables:
        _refuse_other_tables(root, table, names)
        return None
    if len(tables) > 1 and len({files.digest(name) for name in tables}) > 1:
        raise ValueError(
            f"data.root={str(root)!r} holds {len(tables)} {table} that differ: "
            f"{first_of(tables)}. Pass the folder of the one you mean as data.root."
        )
    return tables[0]


def _refuse_other_tables(root: Path, table: str, names: Iterable[str]) -> None:
    """Have the user say which table is meant, where one of another name is there."""
    others = sorted({os.path.basename(name) for name in names if name.lower().endswith(".csv")})
    if others:
        name = PurePath(table).name  # of a table whose path was given
        meant = [name] if name in others else difflib.get_close_matches(name, others, n=1)
        raise FileNotFoundError(
            f"data.root={str(root)!r} holds no {table}, but {first_of(others)}. Pass "
            f"data.table={(meant or others)[0]}, or data.table=null to take each folder of photos "
            "as a class."
        )


def _photo_folder(files: Folder | Archive, base: PurePath, asked: str | None) -> PurePath:
    """Return the folder of the photos beside a table.

    Raises:
        FileNotFoundError: The one asked for isn't there.
    """
    folders = files.folders_in(base)
    if asked is not None:
        folder = base.joinpath(*PurePosixPath(asked.replace("\\", "/")).parts)
        if ".." in folder.parts or not (files.names_in(folder) or files.folders_in(folder)):
            raise FileNotFoundError(
                f"data.photo_folder={asked!r}: there is no such folder beside the table; there "
                f"are {', '.join(folders) or 'none'}."
            )
        return folder
    named = sorted(name for name in folders if name.lower() == "images")
    if named:
        return base / ("images" if "images" in named else named[0])
    holding = [name for name in folders if _holds_photos(files, base / name)]
    return base / holding[0] if len(holding) == 1 else base


def _holds_photos(files: Folder | Archive, folder: PurePath) -> bool:
    return any(files.is_photo(name) for name in files.names_in(folder))


def _photos_by_id(files: Folder | Archive, folder: PurePath) -> dict[str, str]:
    """Return a folder's photos by their ids; where two endings share one, .jpg comes first."""
    photos: dict[str, str] = {}
    composed: dict[str, str] = {}
    start = len(files.prefix(folder))
    for name in files.names_in(folder):
        id_, ending = split_ending(name[start:])
        if not ending and not files.is_photo(name):
            continue
        if id_ not in photos or name[start:] == f"{id_}.jpg":
            photos[id_] = name
            if not id_.isascii():
                composed[unicodedata.normalize("NFC", readable(id_))] = name
    return {**composed, **photos}


def _photos_by_path(
    files: Folder | Archive, root: Path, table: str | None, least_folders: int
) -> dict[str, str]:
    """Return the photos that lie in folders by their paths.

    Raises:
        FileNotFoundError: There are none.
    """
    photos: dict[str, str] = {}
    others = []
    start = len(files.prefix(files.top))
    for name in files.names():
        if files.is_photo(name):
            photos[readable(name[start:].replace(os.sep, "/"))] = name
        else:
            others.append(name)
    files.passed_over.update(dict.fromkeys(others, "no photos"))
    if len({name.rpartition("/")[0] for name in photos} - {""}) < least_folders:
        zips = [name for name in others if name.lower().endswith(".zip")]
        hint = f"; it holds {PurePath(zips[0]).name}" if zips else ""
        way_out = ". Pass the folder or zip that does"
        if zips:
            way_out = f", pass data.root={zips[0]}" if root.is_dir() else ": unpack it"
        raise FileNotFoundError(
            f"data.root={str(root)!r} holds {f'no {table}, nor' if table else 'not'} a folder of "
            f"photos for each class{hint}{way_out}."
        )
    return photos
