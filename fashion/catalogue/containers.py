"""A folder of files, listed and read as `fashion.catalogue.archives.Archive` lists a zip."""

import hashlib
import io
import os
from collections.abc import Collection, Iterator
from pathlib import Path, PurePath

from fashion.catalogue.archives import check_size
from fashion.catalogue.listing import HEAD_BYTES, is_hidden, is_photo

UNREADABLE = "folders that can't be read"


class Folder:
    """The files in a folder and behind its links; the name of one is its path.

    Attributes:
        top: The folder.
        passed_over: Maps what isn't listed to the reason, once something has been listed.
    """

    def __init__(self, path: Path) -> None:
        self.top = path
        self.passed_over: dict[str, str] = {}

    def names(self, skipped: Collection[str] = ()) -> Iterator[str]:
        """List the files, but hidden ones and those in hidden folders and some others.

        Folders behind links come last; no folder is listed twice, so that links can't go round in
        circles.

        Args:
            skipped: Names of folders that aren't looked into.
        """
        seen: set[tuple[int, int]] = set()
        links: list[Path] = []
        yield from self._walk(self.top, skipped, seen, links)
        for link in links:  # grows while it is gone through
            yield from self._walk(link, skipped, seen, links)

    def names_in(self, folder: PurePath) -> list[str]:
        """Return the sorted files right in one folder."""
        entries = self._entries(Path(folder)) if os.path.isdir(folder) else []
        prefix = self.prefix(folder)
        return [prefix + entry.name for entry in entries if entry.is_file()]

    def folders_in(self, folder: PurePath) -> list[str]:
        """Return the sorted names, without the path, of the folders right in one folder."""
        entries = self._entries(Path(folder)) if os.path.isdir(folder) else []
        return [entry.name for entry in entries if entry.is_dir()]

    def prefix(self, folder: PurePath) -> str:
        """Return what the names of the files in a folder begin with."""
        return str(folder / "_")[:-1]

    def holds(self, name: str) -> bool:
        """Return whether there is a file of a name."""
        return os.path.isfile(name)

    def is_photo(self, name: str) -> bool:
        """Return whether a file is a photo, by its ending or else its content."""
        return is_photo(os.path.basename(name), lambda: _head(name))

    def digest(self, name: str) -> str:
        """Return a text that is the same for files of the same content."""
        with Path(name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def stamp(self, name: str) -> str:
        """Return a text that changes when a file's content does: size and modification time."""
        try:
            stat = os.stat(name)
        except OSError:  # gone since the folder was listed; reading it says so
            return "gone"
        return f"{stat.st_size}:{stat.st_mtime_ns}"

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            OSError: It can't be read.
            ValueError: It is larger than `fashion.catalogue.archives.MAX_FILE_BYTES`.
        """
        with Path(name).open("rb") as file:
            check_size(os.fstat(file.fileno()).st_size)
            return file.read()

    def open(self, name: str) -> io.BufferedReader:
        """Open a file of any size, to be read in parts.

        Raises:
            OSError: It can't be read.
        """
        return Path(name).open("rb")

    def _walk(
        self,
        folder: Path,
        skipped: Collection[str],
        seen: set[tuple[int, int]],
        links: list[Path],
    ) -> Iterator[str]:
        waiting = [folder]
        while waiting:
            folder = waiting.pop()
            try:
                stat = os.stat(folder)
                if (stat.st_dev, stat.st_ino) in seen:
                    self.passed_over[str(folder)] = "links to a folder that is listed already"
                    continue
                entries = self._entries(folder)
            except OSError:
                self.passed_over[str(folder)] = UNREADABLE
                continue
            seen.add((stat.st_dev, stat.st_ino))
            folders = [e for e in entries if e.is_dir() and e.name not in skipped]
            links += [folder / entry.name for entry in folders if entry.is_symlink()]
            prefix = self.prefix(folder)
            yield from (prefix + entry.name for entry in entries if entry.is_file())
            waiting += [folder / e.name for e in reversed(folders) if not e.is_symlink()]

    def _entries(self, folder: Path) -> list["os.DirEntry[str]"]:
        """Return what lies right in a folder and is to be listed, sorted by name."""
        listed = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    self.passed_over[str(folder / entry.name)] = "hidden or a system's"
                elif not (entry.is_file() or entry.is_dir()):
                    kind = "broken links" if entry.is_symlink() else "neither files nor folders"
                    self.passed_over[str(folder / entry.name)] = kind
                else:
                    listed.append(entry)
        return sorted(listed, key=lambda entry: entry.name)


def _head(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""
