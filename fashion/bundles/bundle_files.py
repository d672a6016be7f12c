"""The files of a bundle, in a folder or a zip: each is checked before anything is made of it."""

import hashlib
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Protocol

from fashion.bundles.manifest import MAX_BYTES, NAME, Manifest, bundle_id, read_manifest

DAMAGES = (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError)


class _Place(Protocol):
    """Where a bundle's files lie."""

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]: ...
    def names(self) -> list[str]: ...


class BundleFiles:
    """A bundle's manifest and files.

    Args:
        path: The bundle: its folder, or that folder or what is in it as a zip, which is read where
            it lies.
        key: The setting that names it, for messages.

    Attributes:
        subject: How the bundle is told in messages.
        manifest: The contents of its `bundle.json`.
        id: See `fashion.bundles.manifest.bundle_id`.

    Raises:
        FileNotFoundError: There is nothing.
        ValueError: It is no bundle, or its `bundle.json` is wrong.
    """

    def __init__(self, path: str | Path, key: str = "bundle") -> None:
        path = Path(path).expanduser()
        self.subject = f"{key}={str(path)!r}"
        if not path.exists():
            raise FileNotFoundError(
                f"{self.subject} does not exist; pass a bundle, a folder or a zip that fashion "
                "export has made."
            )
        self._place: _Place = _Folder(path) if path.is_dir() else _Zip(path, self.subject)
        content = self._read(NAME, MAX_BYTES)
        self.manifest: Manifest = read_manifest(content, self.subject)
        self.id = bundle_id(content)

    def read(self, name: str) -> bytes:
        """Return a file that is as the manifest has it.

        Raises:
            ValueError: It is missing, of another size or content, or not in the manifest.
        """
        facts = self.manifest.files.get(name)
        if facts is None:
            raise ValueError(f"{self.subject}: {NAME} doesn't list {name}.")
        content = self._read(name, facts.bytes)
        if len(content) != facts.bytes or hashlib.sha256(content).hexdigest() != facts.sha256:
            raise ValueError(
                f"{self.subject}: {name} isn't the file that {NAME} lists: it was changed or is "
                "damaged. Copy the bundle again."
            )
        return content

    def names(self) -> list[str]:
        """Return the names of all files that lie there, listed or not, but `bundle.json`."""
        return [name for name in self._place.names() if name != NAME]

    def _read(self, name: str, most: int) -> bytes:
        try:
            with self._place.open(name) as file:
                content = file.read(most + 1)
        except (FileNotFoundError, NotADirectoryError, KeyError) as error:
            what = "is no bundle, for it" if name == NAME else "is incomplete: it"
            raise ValueError(
                f"{self.subject} {what} has no {name}. Pass a folder or a zip that fashion export "
                "has made."
            ) from error
        except DAMAGES as error:
            raise ValueError(f"{self.subject}: {name} in the zip is damaged ({error}).") from error
        if len(content) > most:
            raise ValueError(f"{self.subject}: {name} has more than the {most:,} bytes it may.")
        return content


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self, name: str) -> IO[bytes]:
        path = self._path / name
        if not path.is_file() or not path.resolve().is_relative_to(self._path.resolve()):
            raise FileNotFoundError(path)  # what a link leads out of the folder to isn't read
        return path.open("rb")

    def names(self) -> list[str]:
        return sorted(
            path.relative_to(self._path).as_posix()
            for path in self._path.rglob("*")
            if path.is_file()
        )


class _Zip:
    def __init__(self, path: Path, subject: str) -> None:
        self._path = path
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except (*DAMAGES, OSError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{subject} is neither a folder nor a complete zip ({error}); pass a bundle, which "
                "fashion export makes."
            ) from error
        manifests = [name for name in names if name.rpartition("/")[2] == NAME]
        self._top = min(manifests, key=len, default=NAME).removesuffix(NAME)

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        with zipfile.ZipFile(self._path) as archive, archive.open(self._top + name) as file:
            yield file

    def names(self) -> list[str]:
        with zipfile.ZipFile(self._path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
        return sorted(name.removeprefix(self._top) for name in names if name.startswith(self._top))
