"""The end of a job: `predictions.csv` in the manifest's order, and `summary.json`, written last."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from fashion.jobs import durable
from fashion.jobs.folder import Job, JobFolder, Shard
from fashion.jobs.results import Results
from fashion.labelling.labels_table import csv_bytes

BINS = 20  # of the histogram of confidences


def finished(folder: JobFolder, job: Job) -> dict[str, Any] | None:
    """Return the summary of a job that is finished as it is asked for now, or None."""
    try:
        summary = json.loads(folder.summary.read_bytes())
    except (OSError, ValueError):
        return None
    is_whole = isinstance(summary, dict) and summary.get("photos") == job.rows
    return summary if is_whole and folder.predictions.is_file() else None


def failed_rows(folder: JobFolder, results: Results, shards: list[Shard]) -> dict[Shard, list[int]]:
    """Return the rows that could not be read, by their shards, of those that have results."""
    failed = {}
    for shard in shards:
        table = results.read(folder.result(shard), ["row", "error"])
        rows = table.filter(table.column("error").is_valid()).column("row").to_pylist()
        if rows:
            failed[shard] = rows
    return failed


def write_ending(folder: JobFolder, job: Job, speed: Mapping[str, float]) -> dict[str, Any]:
    """Write `predictions.csv` and then `summary.json`, and return that.

    Args:
        folder: All shards of which have results.
        job: What it is.
        speed: What is told of it.

    Raises:
        OSError: They can't be written.
        ValueError: Results are damaged.
    """
    results = Results(job)
    tally, counted = _Tally(results.attributes), ["row", *results.columns[1:]]
    with durable.replacing(folder.predictions) as file:
        file.write(csv_bytes([results.columns]))
        for names, table in shard_tables(folder, job, results, counted):
            file.write(csv_bytes(results.cells(table, names)))
            tally.add(table)
    summary = {**tally.told(), "speed": dict(speed), "job": job.settings.to_json()}
    text = json.dumps(summary, indent=1, ensure_ascii=False)
    durable.write(folder.summary, f"{text}\n".encode("utf-8", "backslashreplace"))
    return summary


def shard_tables(
    folder: JobFolder, job: Job, results: Results, columns: Sequence[str]
) -> Iterator[tuple[list[str], pa.Table]]:
    """Yield the photos' names and some columns of the results, shard by shard.

    Args:
        folder: Of a job all of whose shards have results.
        job: What it is.
        results: How they are read.
        columns: `row` and others.

    Raises:
        ValueError: Results are damaged, or those of other photos.
    """
    shards = iter(job.shards())
    for part, reader in zip(job.parts, folder.readers(job), strict=True):
        names = reader.names()
        for shard in islice(shards, -(-part.rows // job.settings.shard)):
            path = folder.result(shard)
            table = results.read(path, columns)
            rows = table.column("row").to_numpy()
            if not np.array_equal(rows, np.arange(shard.first, shard.first + shard.rows)):
                raise ValueError(
                    f"{str(path)!r} doesn't hold the results of its photos. Delete it and type the "
                    "same again."
                )
            yield list(islice(names, shard.rows)), table


class _Tally:
    """What is counted for a summary.

    Args:
        attributes: The column of each attribute.
    """

    def __init__(self, attributes: Mapping[str, str]) -> None:
        self._attributes = {name: (column, Counter[str]()) for name, column in attributes.items()}
        self._counts = dict.fromkeys(("photos", "labelled", "refused", "unreadable"), 0)
        self._labels: Counter[str] = Counter()
        self._bins = np.zeros(BINS, np.int64)

    def add(self, table: pa.Table) -> None:
        """Count a shard."""
        is_read = table.column("error").is_null()
        read = table.filter(is_read)
        refused = 0
        if "sure" in table.column_names:
            refused = read.num_rows - int(np.sum(read.column("sure").to_numpy()))
        self._counts["photos"] += table.num_rows
        self._counts["unreadable"] += table.num_rows - read.num_rows
        self._counts["refused"] += refused
        self._counts["labelled"] += read.num_rows - refused
        if "name_used" in table.column_names:
            used = int(np.sum(read.column("name_used").to_numpy()))
            self._counts["named"] = self._counts.get("named", 0) + used
        self._labels.update(read.column("label_1").to_pylist())
        for column, counter in self._attributes.values():
            counter.update(read.column(column).to_pylist())
        confidences = read.column("probability_1").to_numpy()
        places = np.minimum((confidences * BINS).astype(np.int64), BINS - 1)
        self._bins += np.bincount(places, minlength=BINS)

    def told(self) -> dict[str, Any]:
        """Return it for a file."""
        attributes = {
            name: dict(counter.most_common()) for name, (_, counter) in self._attributes.items()
        }
        edges = [round(place / BINS, 3) for place in range(BINS + 1)]
        return {
            **self._counts,
            "labels": dict(self._labels.most_common()),
            **({"attributes": attributes} if attributes else {}),
            "confidences": {"edges": edges, "photos": self._bins.tolist()},
        }
