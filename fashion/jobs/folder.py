"""The folder of a job: what it is asked for, its manifest, what is done, and who works on it.

`job.json` is written last when a job is begun or grows: what it doesn't name isn't part of the job.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from fashion.attributes import Heads
from fashion.jobs import durable, manifest
from fashion.jobs.manifest import Part
from fashion.jobs.settings import JobSettings
from fashion.locks import NoLocksError, unless_used
from fashion.wording import many

FORMAT = 1


class Shard(NamedTuple):
    """Rows that are labelled into one file: the first, how many, and the number of their part."""

    first: int
    rows: int
    part: int


@dataclass(frozen=True)
class Job:
    """What `job.json` says.

    Attributes:
        settings: What it is asked for.
        classes: The K labels.
        threshold: The confidence that a sure label has at least; None where none are marked.
        parts: Of the manifest.
        attributes: The values of each attribute that is told beside the label.
        reads_names: Whether products' names are read beside the photos.
        named_threshold: The threshold of labels by photo and name.
    """

    settings: JobSettings
    classes: tuple[str, ...]
    threshold: float | None
    parts: tuple[Part, ...] = ()
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    reads_names: bool = False
    named_threshold: float | None = None

    @property
    def heads(self) -> Heads:
        """What the model tells apart."""
        return Heads(self.classes, self.attributes)

    @property
    def rows(self) -> int:
        """How many photos there are."""
        return sum(part.rows for part in self.parts)

    def shards(self) -> list[Shard]:
        """Return all shards, in the order of their rows; none crosses parts."""
        size = self.settings.shard
        return [
            Shard(first, min(size, part.first + part.rows - first), number)
            for number, part in enumerate(self.parts)
            for first in range(part.first, part.first + part.rows, size)
        ]


class JobFolder:
    """Where a job lies.

    Args:
        path: The folder.
        key: The setting that names it, for messages.
    """

    def __init__(self, path: Path, key: str = "output") -> None:
        self.path = path
        self.subject = f"{key}={str(path)!r}"
        self.facts = path / "job.json"
        self.results = path / "results"
        self.deaths = path / "deaths"
        self.summary = path / "summary.json"
        self.predictions = path / "predictions.csv"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only process that works on it; folders are made, and leftovers deleted.

        Raises:
            OSError: It can't be written.
            ValueError: Another process works on it, or it is a folder of something else.
        """
        if self.path.is_dir() and not self.facts.is_file() and any(self._strangers()):
            raise ValueError(f"{self.subject} holds other files; pass a new folder for the job.")
        with ExitStack() as stack:
            with durable.told(self.path):
                self.results.mkdir(parents=True, exist_ok=True)
                try:
                    is_free = stack.enter_context(unless_used(self.facts, ()))
                except NoLocksError:  # nobody can tell
                    is_free = True
                if not is_free:
                    raise ValueError(
                        f"{self.subject}: another process works on this job. Wait for it, or pass "
                        "another output."
                    )
                for folder in (self.path, self.path / "manifest", self.results):
                    durable.clear_parts(folder)
            yield

    def _strangers(self) -> Iterator[Path]:
        own = ("results", "manifest", "job.json.lock")
        return (each for each in self.path.iterdir() if each.name not in own)

    def read(self) -> Job | None:
        """Return the job that is there; None where there is none yet.

        Raises:
            ValueError: `job.json` or the manifest is damaged.
        """
        try:
            told = json.loads(self.facts.read_bytes())
            job = Job(
                JobSettings.from_json(told["settings"]),
                tuple(told["classes"]),
                told["threshold"],
                tuple(Part(*part) for part in told["parts"]),
                Heads.of((), told.get("attributes")).attributes,
                reads_names="named_threshold" in told,
                named_threshold=told.get("named_threshold"),
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{self.subject}: job.json is damaged ({error}). Pass another output to begin anew."
            ) from error
        for number, part in enumerate(job.parts):
            path = manifest.part_path(self.path, number)
            if not path.is_file() or manifest.digest(path) != part.sha256:
                raise ValueError(
                    f"{self.subject}: {path.name} isn't the list of photos that the job began "
                    "with. Pass another output to begin anew."
                )
        return job

    def write(self, job: Job) -> None:
        """Write `job.json`, from when on its parts are part of the job."""
        told = {
            "format": FORMAT,
            "settings": job.settings.to_json(),
            "classes": [*job.classes],
            **({"attributes": job.heads.plain()} if job.attributes else {}),
            "threshold": job.threshold,
            **({"named_threshold": job.named_threshold} if job.reads_names else {}),
            "parts": [[*part] for part in job.parts],
        }
        durable.write(self.facts, json.dumps(told, indent=1).encode())

    def check(self, job: Job, asked: JobSettings, *, grows: bool) -> None:
        """Refuse to go on with another job.

        Raises:
            ValueError: What is asked for differs from what the job was begun with.
        """
        others = job.settings.differences(asked, grows=grows)
        if others:
            hint = " (or, where the input has grown, update=true)" if others == ["input"] else ""
            raise ValueError(
                f"{self.subject} is a job of {many(job.rows, 'photo')} with other "
                f"{' and '.join(others)}. Type that job's words to go on with it{hint}, or pass "
                "another output."
            )

    def result(self, shard: Shard) -> Path:
        """Return the file of a shard's results."""
        return self.results / f"rows-{shard.first:012}.parquet"

    def undone(self, shards: Sequence[Shard]) -> list[Shard]:
        """Return the shards that have no results yet."""
        there = {path.name for path in self.results.iterdir()}
        return [shard for shard in shards if self.result(shard).name not in there]

    def readers(self, job: Job) -> Iterator[manifest.PartReader]:
        """Yield a reader of each part."""
        for number, part in enumerate(job.parts):
            yield manifest.PartReader(manifest.part_path(self.path, number), part.first)
