"""ReviewStore: the folder in which photos wait for people to decide on them."""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock
from typing import Any, Literal, NamedTuple

from fashion.files import size_text
from fashion.review.decisions import Decision, Said, check_person, standing
from fashion.review.kept_photos import SHA256, KeptPhotos
from fashion.review.queue import BLIND, UNSURE, Queue, read_queue, turn_of
from fashion.review.schema import open_database, telling, together

DATABASE, PHOTOS = "review.sqlite", "photos"
MAX_GB = 5.0
# Of sure photos: 4,000 of them give 200 answers, which tell a precision of 98 % within three
# points, for about a tenth of the work that unsure photos are.
BLIND_SHARE = 0.05
Kind = Literal["unsure", "blind"]
log = logging.getLogger(__name__)


class Stored(NamedTuple):
    """What became of decisions.

    Attributes:
        stored: How many are in the folder now.
        new: How many of them weren't before.
        unknown: The photos, by SHA-256, that aren't in the folder.
    """

    stored: int
    new: int
    unknown: list[str]


class ReviewStore:
    """Photos kept for review and the decisions on them, for several threads and processes.

    Args:
        folder: Made when missing.
        max_gb: What the photos may take; those offered beyond are not kept.
        blind: The share of sure photos that people decide on without a suggestion. Which these are
            depends on their bytes and a salt of the folder.
        must_exist: Refuse a folder that isn't one yet.

    Raises:
        FileNotFoundError: There is none, and there must be.
        ValueError: A setting is out of range, or the folder is of a later release or damaged.
        OSError: It can't be read or written.

    Attributes:
        folder: See above.
        subject: What names it in messages.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        max_gb: float = MAX_GB,
        blind: float = BLIND_SHARE,
        must_exist: bool = False,
    ) -> None:
        if not 0 < max_gb < float("inf"):
            raise ValueError(f"review_gb={max_gb!r} must be a number of gigabytes above 0.")
        if not 0 <= blind <= 1:
            raise ValueError(f"blind={blind!r} must be a share of the sure photos, from 0 to 1.")
        self.folder = Path(folder).expanduser()
        self.subject = f"review={str(folder)!r}"
        self._max_bytes, self._blind = int(max_gb * 1e9), blind
        self._lock, self._told = RLock(), set[str]()
        if must_exist and not (self.folder / DATABASE).is_file():
            raise FileNotFoundError(
                f"{self.subject} is no review folder: it has no {DATABASE}. Pass the folder that "
                "fashion serve review=DIR keeps photos in."
            )
        try:
            self.photos = KeptPhotos(self.folder / PHOTOS)
        except OSError as error:
            raise OSError(
                f"{self.subject} can't be written ({error.strerror or error}). Pass a folder that "
                "you may write to."
            ) from error
        self._connection = open_database(self.folder / DATABASE, self.subject)
        self._salt = self.fact("salt")
        self._finish_what_was_killed()

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._connection.close()

    def offer(
        self,
        content: bytes,
        *,
        sha256: str,
        name: str,
        size: tuple[int, int],
        labels: Sequence[tuple[str, float]],
        sure: bool,
        model: str,
        threshold: float,
    ) -> Kind | None:
        """Keep a photo if a person is to decide on it; nothing that goes wrong is raised.

        Args:
            content: Its file.
            sha256: Of it, in hexadecimal digits.
            name: As it was sent.
            size: Width and height in pixels.
            labels: The likeliest with their probabilities, the first first.
            sure: Whether the first reaches the threshold.
            model: The id of the model.
            threshold: The least probability of a sure label.

        Returns:
            `unsure`, or `blind` where no label is to be suggested; None of what isn't kept.
        """
        if sure and self.draw(sha256) >= self._blind:
            return None
        kind = BLIND if sure else UNSURE
        turn = turn_of(sha256, kind, labels[0][1], self.draw(sha256))
        said = json.dumps(labels, ensure_ascii=False), sure, self._blind if sure else None
        try:
            with self._writing():
                if not self._put(content, sha256, size, turn, kind):
                    return None
                self._note(sha256, name, (model, threshold), said)
                is_blind = self._row("SELECT kind FROM photos WHERE sha256=?", sha256)[0] == BLIND
        except (OSError, ValueError) as error:
            self._tell_once(type(error).__name__, str(error))
            self.photos.take_back(sha256)
            return None
        with suppress(OSError):  # else whoever opens the folder next does so
            self.photos.settle(sha256)
        return BLIND if is_blind else UNSURE

    def queue(self, kind: str | None = None, limit: int = 50, after: str | None = None) -> Queue:
        """Return photos that nobody has decided on; see `fashion.review.queue.read_queue`."""
        return read_queue(self.rows, kind, limit, after)

    def photo(self, sha256: str) -> bytes | None:
        """Return the file of a photo, None if it isn't there.

        Raises:
            ValueError: It is no SHA-256.
        """
        return self.photos.read(sha256)

    def decide(
        self, person: str, decisions: Iterable[Decision], *, saw_labels: bool = False
    ) -> Stored:
        """Keep decisions; one that is there already, of this person and time, stays as it is.

        Args:
            person: Who decides.
            decisions: On which photos, and how.
            saw_labels: Whether labels of blind photos were suggested, too, so that these decisions
                can't tell how often sure labels are right.

        Raises:
            ValueError: The person has no name.
            OSError: The folder can't be written.
        """
        person = check_person(person)
        stored, new, unknown = 0, 0, list[str]()
        with self._writing():
            for each in decisions:
                found = self.rows("SELECT kind FROM photos WHERE sha256=?", each.sha256)
                if not found:
                    unknown.append(each.sha256)
                    continue
                stored += 1
                is_blind = found[0][0] == BLIND and not saw_labels
                new += self._add(person, each, is_blind)
        return Stored(stored, new, unknown)

    def said(self, sha256: str) -> list[Said]:
        """Return the decisions on a photo in the order of time."""
        return self.decisions("WHERE sha256=?", sha256).get(sha256, [])

    def decisions(self, where: str = "", *values: object) -> dict[str, list[Said]]:
        """Return the decisions on each photo, by its SHA-256, in the order of time.

        Args:
            where: Which of them, in SQL.
            values: What stands for its question marks.
        """
        columns = "sha256, person, kind, label, at, stored, blind"
        found: dict[str, list[Said]] = {}
        for row in self.rows(f"SELECT {columns} FROM decisions {where} ORDER BY at, id", *values):
            found.setdefault(row[0], []).append(Said._make((*row[1:-1], bool(row[-1]))))
        return found

    def find(self, name: str) -> list[str]:
        """Return the photos of a name, or of a SHA-256."""
        if SHA256.fullmatch(name):
            return [row[0] for row in self.rows("SELECT sha256 FROM photos WHERE sha256=?", name)]
        return [row[0] for row in self.rows("SELECT sha256 FROM names WHERE name=?", name)]

    def forget(self, photos: Iterable[str]) -> int:
        """Delete photos, by their SHA-256, with all that is known of them; return how many.

        Raises:
            ValueError: One is no SHA-256.
            OSError: The folder can't be written.
        """
        number = 0
        with self._lock:
            for sha256 in photos:
                with self._writing():
                    self.photos.delete(sha256)  # before what knows of it, should this be killed
                    gone = self._connection.execute("DELETE FROM photos WHERE sha256=?", (sha256,))
                    number += gone.rowcount
            with telling(self.subject):
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return number

    def know_classes(self, class_names: Sequence[str]) -> None:
        """Keep the classes of the model that is served, by which imported labels are checked."""
        text = json.dumps(list(class_names), ensure_ascii=False)
        with self._writing():
            self._connection.execute("UPDATE facts SET value=? WHERE key='classes'", (text,))

    def draw(self, sha256: str) -> float:
        """Return the number in [0, 1) that decides whether a sure photo is in the blind share."""
        digest = hashlib.sha256(f"{self._salt}{sha256}".encode()).digest()
        return int.from_bytes(digest[:6], "big") / 2**48

    def fact(self, key: str) -> str:
        """Return what the folder keeps of itself under a key."""
        return str(self._row("SELECT value FROM facts WHERE key=?", key)[0])

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return what a query of the database finds.

        Raises:
            OSError: It can't be read.
        """
        with self._lock, telling(self.subject):
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Write together what the block writes, or nothing."""
        with self._lock, telling(self.subject), together(self._connection):
            yield

    def _row(self, query: str, *values: object) -> tuple[Any, ...]:
        return self.rows(query, *values)[0]

    def _put(
        self, content: bytes, sha256: str, size: tuple[int, int], turn: str, kind: Kind
    ) -> bool:
        """Have a photo in the folder, and return whether there was room for it."""
        found = self.rows("SELECT kind, decided FROM photos WHERE sha256=?", sha256)
        if not found and int(self.fact("bytes")) + len(content) > self._max_bytes:
            self._connection.execute("UPDATE facts SET value=value+1 WHERE key='full'")
            self._tell_once("full", f"they take {size_text(self._max_bytes)}, all of review_gb")
            return False
        if not self.photos.holds(sha256):
            self.photos.bring(sha256, content)
        if not found:
            self._connection.execute(
                "INSERT INTO photos VALUES (?, ?, ?, ?, ?, ?, ?, 0)",
                (sha256, len(content), *size, _now(), kind, turn),
            )
        elif found[0] in ((UNSURE, 0), (kind, 0)):  # what waits blindly goes on doing so
            change = "UPDATE photos SET kind=?, turn=? WHERE sha256=?"
            self._connection.execute(change, (kind, turn, sha256))
        return True

    def _note(
        self, sha256: str, name: str, model: tuple[str, float], said: tuple[str, bool, float | None]
    ) -> None:
        name = name.encode("utf-8", "replace").decode()
        self._connection.execute("INSERT OR IGNORE INTO names VALUES (?, ?)", (sha256, name))
        self._connection.execute(
            "INSERT OR IGNORE INTO predictions VALUES (?, ?, ?, ?, ?, ?, ?)",
            (sha256, *model, *said, _now()),
        )

    def _add(self, person: str, decision: Decision, is_blind: bool) -> int:
        """Add a decision on a photo that is there, and return 1, or 0 of one that is there."""
        last = "SELECT model FROM predictions WHERE sha256=? ORDER BY at DESC LIMIT 1"
        added = self._connection.execute(
            "INSERT OR IGNORE INTO decisions "
            "(person, sha256, at, stored, kind, label, blind, model) "
            f"VALUES (?, ?, ?, ?, ?, ?, ?, ({last}))",
            (
                *(person, decision.sha256, decision.at, _now(), decision.kind, decision.label),
                *(is_blind, decision.sha256),
            ),
        )
        stands = bool(standing(self.said(decision.sha256)))
        change = "UPDATE photos SET decided=? WHERE sha256=?"
        self._connection.execute(change, (stands, decision.sha256))
        return added.rowcount

    def _finish_what_was_killed(self) -> None:
        if not self.photos.waiting():
            return
        with self._writing():
            for path in self.photos.waiting():
                if self.rows("SELECT 1 FROM photos WHERE sha256=?", path.name):
                    self.photos.settle(path.name)
                else:
                    path.unlink(missing_ok=True)

    def _tell_once(self, kind: str, reason: str) -> None:
        if kind not in self._told:
            self._told.add(kind)
            log.warning("%s keeps no more photos: %s.", self.subject, reason.rstrip("."))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
