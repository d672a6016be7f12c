"""Label the photos of a shard: decoded in threads, computed batch by batch, written as one file."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyarrow.fs import FileSystem

from fashion.catalogue.archives import Archive, check_size
from fashion.catalogue.containers import Folder
from fashion.catalogue.images import decode_measured
from fashion.catalogue.root import open_archive
from fashion.jobs.folder import JobFolder
from fashion.jobs.inputs import ADDRESS
from fashion.jobs.manifest import Entry, PartReader, part_path
from fashion.jobs.orders import Order, Task
from fashion.jobs.results import FileFacts, Outcome, Results, replace_rows
from fashion.jobs.slots import Slots
from fashion.labelling.labeller import Model

OPEN_ZIPS = 8  # whose lists of files a worker keeps


class Decoded(NamedTuple):
    """A photo as the model takes it, or None, and what became of it."""

    square: NDArray[np.uint8] | None
    outcome: Outcome


class ShardLabeller:
    """Labels the shards of one job.

    Args:
        order: The job.
        model: Of its bundle.
        slots: Where it is told which photos are being decoded.
    """

    def __init__(self, order: Order, model: Model, slots: Slots) -> None:
        settings = order.job.settings
        self._order, self._model, self._slots = order, model, slots
        self._folder = JobFolder(order.folder)
        self._batch_size = settings.batch_size
        self._results = Results(order.job)
        self._archive = lru_cache(OPEN_ZIPS)(
            lambda path: open_archive(Path(path), settings.zip_encoding)
        )
        self._loose = Folder(Path(os.sep))
        self._readers: dict[int, PartReader] = {}
        self._free = SimpleQueue[int]()
        for slot in range(order.threads):
            self._free.put(slot)

    def label(self, task: Task) -> None:
        """Label a task's photos and write the results.

        Raises:
            CannotWriteError: The disk can't be written.
            ValueError: The bundle or the job's folder is damaged.
        """
        entries = self._entries(task)
        self._slots.finished = 0
        known = {
            entry.row: Decoded(None, Outcome(task.given_up[entry.row]))
            for entry in entries
            if entry.row in task.given_up
        }
        for entry in entries:
            if entry.row in task.suspects and entry.row not in known:
                known[entry.row] = self._decode(entry)
        outcomes, probabilities = self._label(entries, known)
        probabilities, name_used = self._with_names(entries, outcomes, probabilities)
        rows, photos = [entry.row for entry in entries], [entry.place.name for entry in entries]
        table = self._results.table(rows, photos, outcomes, probabilities, name_used)
        path = self._folder.result(task.shard)
        if task.rows is not None:
            table = replace_rows(self._results.read(path), table)
        self._results.write(path, table)

    def _entries(self, task: Task) -> list[Entry]:
        first, rows, part = task.shard
        if part not in self._readers:
            start = self._order.job.parts[part].first
            self._readers[part] = PartReader(part_path(self._order.folder, part), start)
        entries = self._readers[part].read(first, rows)
        wanted = None if task.rows is None else {*task.rows}
        return [entry for entry in entries if wanted is None or entry.row in wanted]

    def _label(
        self, entries: Sequence[Entry], known: dict[int, Decoded]
    ) -> tuple[list[Outcome], NDArray[np.float32]]:
        """Return what became of each photo, and `(M, W)` of those that could be read."""

        def decode(entry: Entry) -> Decoded:
            return known.get(entry.row) or self._decode(entry)

        size = self._batch_size
        outcomes: list[Outcome] = []
        parts = [np.empty((0, self._order.job.heads.width), np.float32)]
        with ThreadPoolExecutor(self._order.threads) as pool:
            ahead = pool.map(decode, entries[:size])
            for start in range(size, len(entries) + size, size):
                batch = list(ahead)
                ahead = pool.map(decode, entries[start : start + size])
                squares = [each.square for each in batch if each.square is not None]
                if squares:
                    parts.append(self._model.probabilities(np.stack(squares)))
                outcomes += [each.outcome for each in batch]
                self._slots.finished = len(outcomes)
        return outcomes, np.concatenate(parts)

    def _with_names(
        self,
        entries: Sequence[Entry],
        outcomes: Sequence[Outcome],
        probabilities: NDArray[np.float32],
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        """Return `(M, W)` by photo and name, and whose name was used, where the job reads names."""
        names, k = self._model.names, len(self._order.job.classes)
        if names is None or not self._order.job.reads_names:
            return probabilities, None
        products = [
            entry.place.product
            for entry, outcome in zip(entries, outcomes, strict=True)
            if not outcome.error
        ]
        joined, used = names.join(probabilities[:, :k], products)
        return np.concatenate([joined, probabilities[:, k:]], axis=1), used

    def _decode(self, entry: Entry) -> Decoded:
        with self._told(entry.row):
            return self._decoded(entry)

    @contextmanager
    def _told(self, row: int) -> Iterator[None]:
        """Have the slots tell that a row is being decoded, should that kill this process."""
        slot = self._free.get()
        self._slots[slot] = row
        try:
            yield
        finally:
            self._slots[slot] = None
            self._free.put(slot)

    def _decoded(self, entry: Entry) -> Decoded:
        try:
            content = self._read(entry)
        except KeyError:
            return Decoded(None, Outcome("the zip has no file of this name"))
        except (OSError, ValueError, NotImplementedError) as error:
            return Decoded(None, Outcome(str(error) or type(error).__name__))
        facts = FileFacts(hashlib.sha256(content).hexdigest(), len(content))
        try:
            square, measured = decode_measured(content, **self._model.preprocessing)
        except ValueError as error:
            return Decoded(None, Outcome(str(error), facts))
        return Decoded(
            square, Outcome("", facts._replace(width=measured.width, height=measured.height))
        )

    def _read(self, entry: Entry) -> bytes:
        place = entry.place
        if place.member is None:
            return _stored(place.file) if ADDRESS in place.file else self._loose.read(place.file)
        archive: Archive = self._archive(place.file)
        return archive.read(place.member)


def _stored(address: str) -> bytes:
    """Return the content of a photo in an object store, or in what else pyarrow reads.

    Raises:
        OSError: It can't be read.
        ValueError: It is larger than a photo may be, or the address is none.
    """
    store, path = FileSystem.from_uri(address)
    with store.open_input_file(path) as file:
        check_size(file.size())
        content: bytes = file.read()
    return content
