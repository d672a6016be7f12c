"""Results of a shard: a row a photo, with the columns of `fashion predict` and what its file is."""

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fashion.catalogue.listing import readable
from fashion.jobs import durable
from fashion.jobs.folder import Job
from fashion.tables import TOP, attribute_columns, mark_text

FIGURES = (
    *(("sha256", pa.string()), ("bytes", pa.int64())),
    *(("width", pa.int32()), ("height", pa.int32())),
)


class FileFacts(NamedTuple):
    """What a photo's file is, as far as it could be read: SHA-256, bytes, width and height."""

    sha256: str | None = None
    bytes: int | None = None
    width: int | None = None
    height: int | None = None


class Outcome(NamedTuple):
    """What became of a photo: what is wrong with it, empty if nothing is, and its file's facts."""

    error: str = ""
    facts: FileFacts = FileFacts()


class Results:
    """How results are written and read.

    Args:
        job: Whose.

    Attributes:
        columns: The names of the columns of a CSV, as `fashion predict` has them.
        attributes: The column of each attribute's value.
    """

    def __init__(self, job: Job) -> None:
        self._job, self._heads = job, job.heads
        heads, classes = job.heads, job.classes
        self._classes = np.array(classes, object)
        self._keeps = job.settings.probabilities
        self._top = min(TOP, len(classes))
        self._likeliest = [
            f"{kind}_{place}"
            for place in range(1, self._top + 1)
            for kind in ("label", "probability")
        ]
        verdict = [] if job.threshold is None else ["sure"]
        verdict += ["name_used"] if job.reads_names else []
        self._others = attribute_columns(heads.attributes)
        self.attributes = {
            name: column for name, (column, _) in zip(heads.attributes, self._others, strict=True)
        }
        others = [column for pair in self._others for column in pair]
        self.columns = ["photo", *self._likeliest, *verdict, *others, "error"]
        kinds = {"label": pa.string(), "probability": pa.float32()}
        fields = [("row", pa.int64()), ("photo", pa.string())]
        fields += [(name, kinds[name.partition("_")[0]]) for name in self._likeliest]
        fields += [(name, pa.bool_()) for name in verdict]
        for value, probability in self._others:
            fields += [(value, pa.string()), (probability, pa.float32())]
        fields += [("error", pa.string()), *FIGURES]
        if self._keeps:
            fields.append(("probabilities", pa.list_(pa.float16(), len(classes))))
        self.schema = pa.schema(fields)

    def table(
        self,
        rows: Sequence[int],
        names: Sequence[str],
        outcomes: Sequence[Outcome],
        probabilities: NDArray[np.float32],
        name_used: NDArray[np.bool_] | None = None,
    ) -> pa.Table:
        """Return the results of N photos.

        Args:
            rows: Their numbers.
            names: Their names.
            outcomes: What became of each.
            probabilities: `(M, W)` of those that nothing is wrong with, in their order.
            name_used: `(M,)`, whether they are by the name, too; None: they are not.
        """
        if name_used is None:
            name_used = np.zeros(len(probabilities), bool)
        places = np.flatnonzero([not outcome.error for outcome in outcomes])
        columns: dict[str, object] = {
            "row": rows,
            "photo": [readable(name) for name in names],
            "error": [readable(outcome.error) or None for outcome in outcomes],
            **self._labels(probabilities, name_used, places, len(outcomes)),
        }
        for name in FileFacts._fields:
            columns[name] = [getattr(outcome.facts, name) for outcome in outcomes]
        arrays = [pa.array(columns[each.name], each.type) for each in self.schema]
        return pa.Table.from_arrays(arrays, schema=self.schema)

    def _labels(
        self,
        probabilities: NDArray[np.float32],
        name_used: NDArray[np.bool_],
        places: NDArray[np.intp],
        n: int,
    ) -> dict[str, object]:
        columns = self._values(probabilities, places, n)
        probabilities = self._heads.outputs(probabilities)[0]
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, : self._top]
        for k in range(self._top):
            labels, numbers = np.full(n, None, object), np.full(n, None, object)
            if len(places):
                labels[places] = self._classes[best[:, k]]
                numbers[places] = probabilities[np.arange(len(places)), best[:, k]]
            columns |= {f"label_{k + 1}": labels, f"probability_{k + 1}": numbers}
        if self._job.threshold is not None:
            named = self._job.named_threshold
            named = np.inf if named is None else named
            thresholds = np.where(name_used, named, self._job.threshold).astype(np.float32)
            sure = np.full(n, None, object)
            sure[places] = (probabilities.max(axis=1) >= thresholds).tolist()
            columns["sure"] = sure
        if self._job.reads_names:
            used = np.full(n, None, object)
            used[places] = name_used.tolist()
            columns["name_used"] = used
        if self._keeps:
            every = np.full(n, None, object)
            for place, row in zip(places, probabilities.astype(np.float16), strict=True):
                every[place] = row
            columns["probabilities"] = [*every]
        return columns

    def _values(
        self, probabilities: NDArray[np.float32], places: NDArray[np.intp], n: int
    ) -> dict[str, object]:
        """Return the columns of attributes."""
        columns: dict[str, object] = {}
        parts = zip(
            self._others, self._heads.names[1:], self._heads.outputs(probabilities)[1:], strict=True
        )
        for (value, probability), names, part in parts:
            values, numbers = np.full(n, None, object), np.full(n, None, object)
            if len(places):
                values[places] = np.array(names, object)[part.argmax(axis=1)]
                numbers[places] = part.max(axis=1)
            columns |= {value: values, probability: numbers}
        return columns

    def write(self, path: Path, table: pa.Table) -> None:
        """Write a shard's results; see `fashion.jobs.durable.replacing`."""
        content = BytesIO()
        pq.write_table(table, content, compression="zstd")
        durable.write(path, content.getvalue())

    def read(self, path: Path, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a shard's results.

        Raises:
            ValueError: The file is damaged.
        """
        try:
            return pq.read_table(path, columns=None if columns is None else [*columns])
        except (OSError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"{str(path)!r} is damaged ({reason}). Delete it and type the same again: its "
                "photos are labelled anew."
            ) from error

    def cells(self, table: pa.Table, names: Sequence[str]) -> Iterator[list[str]]:
        """Yield the rows of a CSV, as `fashion.labelling.labels_table.LabelsTable` has them.

        Args:
            table: Of `read`.
            names: Of its photos, as `fashion predict` tells them.
        """
        columns = [[str(mark_text(name)) for name in names]]
        for name in self.columns[1:]:
            cells = table.column(name).to_pylist()
            columns.append(["" if cell is None else _cell(cell) for cell in cells])
        yield from map(list, zip(*columns, strict=True))


def _cell(cell: object) -> str:
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return f"{cell:.6f}" if isinstance(cell, float) else str(mark_text(cell))


def replace_rows(before: pa.Table, after: pa.Table) -> pa.Table:
    """Return a shard's results with some rows in place of those of the same number."""
    numbers = np.asarray(before.column("row"))
    kept = ~np.isin(numbers, np.asarray(after.column("row")))
    both = pa.concat_tables([before.filter(pa.array(kept)), after])
    return both.sort_by("row")
