"""What passes between those who share a job out and those who label: orders, tasks, reports."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from fashion.jobs.folder import Job, Shard


@dataclass(frozen=True)
class Order:
    """What a worker needs to know of its job.

    Attributes:
        folder: Of the job.
        job: What it is.
        bundle: Where the bundle is.
        threads: That compute and that decode.
    """

    folder: Path
    job: Job
    bundle: Path
    threads: int


@dataclass(frozen=True)
class Task:
    """A shard to label.

    Attributes:
        shard: Its rows.
        rows: Those of them that are labelled again, in place of what is there; None: all, anew.
        suspects: Rows in whose time a worker died: each is decoded alone, before the others.
        given_up: Maps the rows that are not tried any more to what is said of them.
    """

    shard: Shard
    rows: tuple[int, ...] | None = None
    suspects: frozenset[int] = frozenset()
    given_up: dict[int, str] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """How many photos it has."""
        return self.shard.rows if self.rows is None else len(self.rows)


class Done(NamedTuple):
    """A report that a task's results are written."""

    first: int


class Failed(NamedTuple):
    """A report that nothing can be done, in words for people, and whether the disk is at fault."""

    reason: str
    is_disk: bool = False
