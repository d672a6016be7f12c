"""What a finished job says of photos whose labels somebody knows."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fashion.jobs.ending import finished, shard_tables
from fashion.jobs.folder import Job, JobFolder
from fashion.jobs.results import Results
from fashion.tables import unmark_text

COLUMNS = ("photo", "label")


@dataclass(frozen=True, eq=False)
class Answers:
    """The first labels of N photos beside the true ones.

    Attributes:
        class_names: The K labels.
        names: Of the photos.
        targets: `(N,)` int64 in `[0, K)`.
        predicted: The same of the first labels.
        confidences: `(N,)` float32, their probabilities.
        probabilities: `(N, K)` float32 where the job has kept them, else None.
        thresholds: The confidence of sure labels by the precision that was asked for, if one was,
            and if it is the same for all: names beside photos have another.
        left_out: How many photos have no figures, by the reason.
    """

    class_names: tuple[str, ...]
    names: list[str]
    targets: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidences: NDArray[np.float32]
    probabilities: NDArray[np.float32] | None
    thresholds: dict[float, float | None]
    left_out: dict[str, int]

    def hits(self) -> NDArray[np.bool_]:
        """Return which photos get the right label, `(N,)`."""
        right: NDArray[np.bool_] = self.predicted == self.targets
        return right


def read_truth(path: Path) -> dict[str, str]:
    """Return the true labels by photo, of a CSV with the columns `photo` and `label`.

    Photos are called as in the job's `predictions.csv`.

    Raises:
        OSError: It can't be read.
        ValueError: It is no such CSV, or gives a photo two labels.
    """
    labels: dict[str, str] = {}
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        rows = csv.DictReader(file)
        if not {*COLUMNS} <= {*(rows.fieldnames or ())}:
            raise ValueError(
                f"truth={str(path)!r} has the columns {', '.join(rows.fieldnames or ['none'])} and "
                "needs photo and label."
            )
        for row in rows:
            photo, label = (unmark_text(row[column] or "") for column in COLUMNS)
            if labels.setdefault(photo, label) != label:
                raise ValueError(
                    f"truth={str(path)!r} calls {photo!r} both {labels[photo]!r} and {label!r}; "
                    "leave one row."
                )
    return labels


def read_answers(folder: JobFolder, truth: dict[str, str]) -> Answers:
    """Join a finished job's results with true labels.

    Raises:
        ValueError: It is no finished job, its results are damaged, or no photo is in both.
    """
    job = folder.read()
    if job is None:
        raise ValueError(f"{folder.subject} is no job; pass a folder that fashion label has made.")
    if finished(folder, job) is None:
        raise ValueError(f"{folder.subject} isn't finished; type its fashion label again first.")
    left_out = dict.fromkeys(("without_truth", "unreadable", "of_unknown_label"), 0)
    places = {name: place for place, name in enumerate(job.classes)}
    rows = list(_rows(folder, job, truth, places, left_out))
    if not rows:
        raise ValueError(
            f"{folder.subject} and the truth have no photo in common whose label the model knows; "
            "photos are called as in predictions.csv."
        )
    names, targets, predicted, confidences, probabilities = zip(*rows, strict=True)
    left_out["not_in_the_job"] = len(truth) - len(truth.keys() & _all_names(folder, job))
    kept, wanted = job.settings.probabilities, job.settings.precision
    return Answers(
        class_names=job.classes,
        names=list(names),
        targets=np.array(targets, np.int64),
        predicted=np.array(predicted, np.int64),
        confidences=np.array(confidences, np.float32),
        probabilities=np.array(probabilities, np.float32) if kept else None,
        thresholds={} if wanted is None or job.reads_names else {wanted: job.threshold},
        left_out=left_out,
    )


Row = tuple[str, int, int, float, "NDArray[np.float16] | None"]


def _rows(
    folder: JobFolder,
    job: Job,
    truth: dict[str, str],
    places: dict[str, int],
    left_out: dict[str, int],
) -> Iterator[Row]:
    """Yield name, target, prediction, confidence and probabilities; count what is left out."""
    columns = ["label_1", "probability_1"]
    if job.settings.probabilities:
        columns.append("probabilities")
    results = Results(job)
    for names, table in shard_tables(folder, job, results, ["row", *columns]):
        cells = [table.column(column).to_pylist() for column in columns]
        for name, label, confidence, *every in zip(names, *cells, strict=True):
            told = truth.get(name)
            if told is None:
                left_out["without_truth"] += 1
            elif label is None:
                left_out["unreadable"] += 1
            elif told not in places:
                left_out["of_unknown_label"] += 1
            else:
                kept = np.array(every[0], np.float16) if every else None
                yield name, places[told], places[label], confidence, kept


def _all_names(folder: JobFolder, job: Job) -> set[str]:
    return {name for reader in folder.readers(job) for name in reader.names()}
