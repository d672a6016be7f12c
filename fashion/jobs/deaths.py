"""How often a worker has died on which photo: once makes it a suspect, twice gives it up.

Kept in the job's folder, a file a shard, so that it outlasts whoever counts.
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from fashion.jobs import durable
from fashion.jobs.orders import Task

MOST = 2  # deaths of a photo
DIED = "the decoder died twice"


class Deaths:
    """The deaths of a job.

    Args:
        folder: Where they are kept; made with the first one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, first: int, rows: Iterable[int], reason: str = DIED) -> None:
        """Count a death.

        Args:
            first: The first row of the shard.
            rows: Those that were being decoded.
            reason: What is said of one that is given up for it.
        """
        deaths = self._read(first)
        for row in rows:
            deaths[row] = [*deaths.get(row, []), reason]
        with durable.told(self._folder.parent):
            self._folder.mkdir(exist_ok=True)
        durable.write(self._path(first), json.dumps(deaths).encode())

    def told_to(self, task: Task) -> Task:
        """Return a task that knows of the deaths on its rows."""
        deaths = self._read(task.shard.first)
        given_up = {row: reasons[-1] for row, reasons in deaths.items() if len(reasons) >= MOST}
        return replace(task, suspects=frozenset(deaths.keys() - given_up.keys()), given_up=given_up)

    def forget(self) -> None:
        """Have every photo tried again."""
        if self._folder.is_dir():
            for path in self._folder.iterdir():
                path.unlink()

    def _path(self, first: int) -> Path:
        return self._folder / f"rows-{first:012}.json"

    def _read(self, first: int) -> dict[int, list[str]]:
        try:
            told = json.loads(self._path(first).read_bytes())
            return {int(row): [*reasons] for row, reasons in told.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}
