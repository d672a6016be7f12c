"""The files of a review folder's photos, found by the SHA-256 of their bytes."""

import hashlib
import re
from contextlib import suppress
from pathlib import Path

from fashion.files import write_file

SHA256 = re.compile(r"[0-9a-f]{64}")


class KeptPhotos:
    """Files as they were sent, `ab/ab12…` each; what is on its way there is in `incoming`.

    A photo is written into `incoming` before the database knows it, and moved once it does. What a
    killed process leaves in `incoming` is therefore moved or deleted by the next that looks.

    Args:
        folder: Made when missing.

    Raises:
        OSError: It can't be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.incoming = folder / "incoming"
        self.incoming.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """Return where a photo lies.

        Raises:
            ValueError: It is no SHA-256.
        """
        if not SHA256.fullmatch(sha256):
            raise ValueError(f"sha256={sha256!r} must be 64 digits of 0 to 9 and a to f.")
        return self.folder / sha256[:2] / sha256

    def holds(self, sha256: str) -> bool:
        """Return whether a photo is in its place.

        Raises:
            ValueError: It is no SHA-256.
        """
        return self.path(sha256).is_file()

    def bring(self, sha256: str, content: bytes) -> None:
        """Write a photo into `incoming`."""
        write_file(self.incoming / sha256, content)

    def take_back(self, sha256: str) -> None:
        """Delete a photo from `incoming`, if it is there."""
        (self.incoming / sha256).unlink(missing_ok=True)

    def settle(self, sha256: str) -> None:
        """Move a photo from `incoming` to its place, if nobody has before."""
        path = self.path(sha256)
        path.parent.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):
            (self.incoming / sha256).replace(path)

    def waiting(self) -> list[Path]:
        """Return the files in `incoming`, which a killed process has left."""
        return list(self.incoming.iterdir())

    def read(self, sha256: str) -> bytes | None:
        """Return a photo's bytes; None where there is no such file, or another's bytes in it."""
        try:
            content = self.path(sha256).read_bytes()
        except FileNotFoundError:
            return None
        return content if hashlib.sha256(content).hexdigest() == sha256 else None

    def delete(self, sha256: str) -> None:
        """Delete a photo that need not be there."""
        self.path(sha256).unlink(missing_ok=True)
        self.take_back(sha256)
