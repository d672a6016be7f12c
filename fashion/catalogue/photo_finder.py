"""From what a shop writes of a photo, a path, an address or an id, to the file that it means."""

import os
import re
import unicodedata
from collections.abc import Iterator
from functools import cached_property
from pathlib import PurePath
from urllib.parse import unquote

from fashion.catalogue.archives import Archive
from fashion.catalogue.containers import Folder
from fashion.catalogue.listing import stem

SEPARATORS = re.compile(r"[;|\n]|,\s*(?=\S)")  # between several photos in a cell
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^/]*", re.IGNORECASE)
PLAIN = re.compile(r"[^\\/?#%:\0]+(?:/[^\\/?#%:\0]+)*")
DRIVE = re.compile(r"[a-z]:/", re.IGNORECASE)


class PhotoFinder:
    """Finds photos among the files beside a table.

    A path is taken as it is written first. Only then other slashes, a question mark and what
    follows it, percent signs, another case, another form of accents, and a missing ending are
    looked past. Of an address and of a path from a disk's root the last parts count.

    Args:
        files: The catalogue's folder or zip.
        base: Where the table lies in it.
        photo_folder: Where photos are looked for beside `base`.

    Attributes:
        firsts: How many cells named several photos, of which the first was taken.
    """

    def __init__(self, files: Folder | Archive, base: PurePath, photo_folder: PurePath) -> None:
        self.firsts = 0
        self._files = files
        self._table_folder = files.prefix(base)
        self._places = list(dict.fromkeys([self._table_folder, files.prefix(photo_folder)]))

    def find(self, written: str) -> str | None:
        """Return the name that the files' `read` takes; None where nothing is meant by it."""
        text = written.strip()
        found = self._find_one(text)
        if found is not None or not text:
            return found
        several = [part for part in map(str.strip, SEPARATORS.split(text)) if part]
        if len(several) < 2:
            return None
        found = self._find_one(several[0])
        self.firsts += found is not None
        return found

    def paths_looked_for(self, written: str) -> list[str]:
        """Return the paths that `find` looks for, relative to the table or the photos' folder."""
        parts = [part for part in map(str.strip, SEPARATORS.split(written)) if part]
        return list(dict.fromkeys(_readings(parts[0]))) if parts else []

    def notes(self, column: str | None) -> list[str]:
        """Return what to know of the photos found by a column, a sentence each."""
        if not self.firsts:
            return []
        return [
            f"{self.firsts:,} cells of data.image_column={column!r} name several photos; the first "
            "of each is taken."
        ]

    def _find_one(self, text: str) -> str | None:
        readings = [text] if is_plain(text) else list(dict.fromkeys(_readings(text)))
        for path in readings:
            for place in self._places:
                if self._files.holds(name := place + path):
                    return name
        for path in readings:
            if found := self._by_form.get(_form(path)):
                return found
        return None

    @cached_property
    def _by_form(self) -> dict[str, str]:
        """The photos by path in one form, with and without ending; the first of equal ones."""
        by_form: dict[str, str] = {}
        listed = [name for name in self._files.names() if name.startswith(self._table_folder)]
        photos = [name for name in listed if self._files.is_photo(name)]
        for place in self._places:
            below = [name for name in photos if name.startswith(place)]
            for ending in (True, False):
                for name in below:
                    path = name[len(place) :].replace(os.sep, "/")
                    by_form.setdefault(_form(path if ending else stem(path)), name)
        return by_form


def is_plain(text: str) -> bool:
    """Return whether a path is sure to have no other reading than itself."""
    return bool(PLAIN.fullmatch(text)) and "/." not in f"/{text}"


def _readings(text: str) -> Iterator[str]:
    """Yield the relative paths that a text may mean, the likeliest first; none leads upwards."""
    plain = text if ADDRESS.match(text) else text.replace("\\", "/")
    forms = [text, plain, plain.split("?", 1)[0], plain.split("?", 1)[0].split("#", 1)[0]]
    forms += [unquote(form) for form in forms[1:]]
    for form in dict.fromkeys(forms):
        path, is_anywhere = ADDRESS.sub("/", form), bool(ADDRESS.match(form) or DRIVE.match(form))
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if not parts or ".." in parts or "\0" in path:
            continue
        for start in range(len(parts)) if is_anywhere or path.startswith("/") else (0,):
            yield "/".join(parts[start:])


def _form(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()
