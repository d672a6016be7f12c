"""Name the labels that are likely wrong, from what models say of photos they didn't train on.

The predictions of the test and the validation split of one run are read, or those of the test
splits of a cross-validation, which together have every photo. From `suspect_labels.csv` a person
strikes out what is right, and passes it as `data.relabel`; `index.html` shows the photos.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores

from fashion.data.preparation import LoadedCatalogue, load
from fashion.data.trained_settings import trained_settings
from fashion.files import write_file
from fashion.metrics.predictions import Predictions
from fashion.models import checkpoints
from fashion.reports.pages import Gallery, Sheet, render
from fashion.tables import list_text
from fashion.training.run_folder import RunFolder
from fashion.wording import many

UNTRAINED_SPLITS = ("test", "val")
PAIRS, IN_PAIR = 30, 12  # of labels, and photos of each, on the page
log = logging.getLogger(__name__)


def gather(runs: Sequence[RunFolder]) -> Predictions:
    """Put together what the runs said of photos that they didn't train on.

    Raises:
        FileNotFoundError: A run has left no predictions.
        ValueError: Runs differ in their classes, or two of them predict the same photo.
    """
    parts = []
    for run in runs:
        # A photo of one fold's validation split is another's test photo.
        splits = UNTRAINED_SPLITS if len(runs) == 1 else UNTRAINED_SPLITS[:1]
        paths = [path for split in splits if (path := run.predictions(split)).is_file()]
        if not paths:
            raise FileNotFoundError(
                f"{str(run.path)!r} holds no {run.predictions('test').name}; pass the folder of a "
                "finished run."
            )
        parts += [Predictions.load(path) for path in paths]
    if len({part.class_names for part in parts}) > 1:
        raise ValueError("The runs differ in their classes; pass runs on the same catalogue.")
    gathered = Predictions(
        image_ids=np.concatenate([part.image_ids for part in parts]),
        probabilities=np.concatenate([part.probabilities for part in parts]),
        targets=np.concatenate([part.targets for part in parts]),
        class_names=parts[0].class_names,
    )
    ids, counts = np.unique(gathered.image_ids, return_counts=True)
    if counts.max() > 1:
        raise ValueError(
            f"{many(int((counts > 1).sum()), 'photo is', 'photos are')} predicted by several of "
            f"the runs, {str(ids[counts > 1][0])!r} for one. Pass one run, or the folds of one "
            "cross-validation."
        )
    return gathered


def find_suspects(predictions: Predictions) -> pd.DataFrame:
    """Rank the photos whose label confident learning takes for an error, likeliest first.

    Returns:
        `id`, `given_label`, `suggested_label` and the probabilities of both,
        `given_probability` and `suggested_probability`.

    References:
        Northcutt, Jiang and Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels,
        2021; by cleanlab.
    """
    targets, probabilities = predictions.targets, predictions.probabilities.astype(np.float64)
    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    wrong = find_label_issues(targets, probabilities, n_jobs=1)
    quality = get_label_quality_scores(targets, probabilities)
    rows = np.flatnonzero(wrong)
    rows = rows[np.argsort(quality[rows], kind="stable")]
    suggested = probabilities[rows].argmax(axis=1)
    names = np.array(predictions.class_names, dtype=object)
    return pd.DataFrame(
        {
            "id": predictions.image_ids[rows],
            "given_label": names[targets[rows]],
            "suggested_label": names[suggested],
            "given_probability": probabilities[rows, targets[rows]],
            "suggested_probability": probabilities[rows, suggested],
        }
    )


def write_suspects(
    suspects: pd.DataFrame, num_photos: int, loaded: LoadedCatalogue, output_dir: Path
) -> None:
    """Write `suspect_labels.csv` and `index.html`.

    Args:
        suspects: As `find_suspects` returns them.
        num_photos: How many predictions they were chosen from.
        loaded: The catalogue.
        output_dir: Made when missing.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    text = list_text(suspects, float_format="%.4f")
    write_file(output_dir / "suspect_labels.csv", text)
    photos = loaded.catalogue.table.set_index("id")["photo"].to_dict()
    gallery = Gallery(loaded.root)
    sheets = []
    pairs = suspects.groupby(["given_label", "suggested_label"], sort=False)
    for (given, suggested), rows in sorted(pairs, key=lambda pair: -len(pair[1]))[:PAIRS]:
        tiles = [
            (
                gallery.uri(photos.get(row["id"])),
                f"{row['id']}: {row['suggested_probability']:.0%}, "
                f"given {row['given_probability']:.0%}",
            )
            for row in rows[:IN_PAIR].to_dict("records")
        ]
        sheets.append(Sheet(f"{given} → {suggested}? {many(len(rows), 'photo')}", tiles))
    if gallery.unread:
        log.warning("The files of %d photos on the page can't be read", gallery.unread)
    page = render(
        "suspects.html.j2",
        unread=gallery.unread,
        sheets=sheets,
        num_suspects=len(suspects),
        num_photos=num_photos,
        root=str(loaded.root.path),
    )
    write_file(output_dir / "index.html", page)


def load_catalogue_of(run: RunFolder, root: str | None = None) -> LoadedCatalogue:
    """Read the catalogue that a run was made on.

    Args:
        run: It has a checkpoint.
        root: Where the catalogue lies now, if it has moved.
    """
    checkpoint = run.best if run.best.is_file() or not run.last.is_file() else run.last
    settings = checkpoints.read(checkpoint)["run"]["config"]["data"]
    typed = {"root": root} if root else {}
    return load(trained_settings(settings, typed), keep_rare=True)
