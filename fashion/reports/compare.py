"""Put runs side by side: figures with their intervals, which differences are real, what they cost.

The folders are those of runs, of sweeps, or of anything above them; `comparison.csv`, `pairs.csv`,
figures and `index.html` are written, and nothing into runs.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from urllib.parse import quote

import pandas as pd
from matplotlib.figure import Figure

from fashion.files import rewriting
from fashion.locks import alone
from fashion.reports import comparison_figures as figures
from fashion.reports.attribute_comparison import attributes_shown
from fashion.reports.comparison import Comparison, Run, compare, read_runs
from fashion.reports.names import figure_names, numbered
from fashion.reports.pages import png, records, render, write_pictures
from fashion.tables import csv_text, unmark_text
from fashion.training.run_folder import find_runs

MAX_DRAWN = 12  # runs in a figure
MAX_NAME = 40  # of a run in figures, as wide as so many Latin letters
log = logging.getLogger(__name__)


def write_comparison(
    folders: Sequence[str | Path], output_dir: str | Path, *, strict: bool = False
) -> pd.DataFrame:
    """Write `comparison.csv`, `pairs.csv`, `figures/` and `index.html`.

    Where runs tell attributes there is `attribute_pairs.csv`, too.

    Args:
        folders: As in `read_runs`.
        output_dir: Made when missing; but for what is kept in the user's cache folder, nothing is
            written elsewhere.
        strict: Refuse runs that were tested on different photos.

    Returns:
        The table.

    Raises:
        FileNotFoundError: As `find_runs`.
        OSError: `output_dir` can't be written to.
        ValueError: Runs can't be compared.
    """
    find_runs(folders)  # before anything is written
    folder = Path(output_dir)
    # Jobs of one sweep may end at the same time; the last one to write has seen all the others.
    with _locked(folder):
        runs = read_runs(folders)
        comparison = compare(runs)
        if comparison.warning and strict:
            raise ValueError(comparison.warning)
        if comparison.warning:
            log.warning(comparison.warning)
        drawn = {name: png(figure) for name, figure in _draw(runs, comparison.table).items()}
        with rewriting(folder) as write:
            write("comparison.csv", csv_text(comparison.table))
            write("pairs.csv", csv_text(comparison.pairs, float_format="%.6g"))
            if len(comparison.attribute_pairs):
                text = csv_text(comparison.attribute_pairs, float_format="%.6g")
                write("attribute_pairs.csv", text)
            pictures = write_pictures(drawn, write)
            write("index.html", _render(runs, comparison, pictures, folder))
    return comparison.table


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(
            f"The comparison can't be written to {str(folder)!r} ({error.strerror}). Pass "
            "output_dir=<a folder of yours>."
        ) from error
    with alone(folder / ".comparison", f"the comparison in {folder}"):
        yield


def _draw(runs: Sequence[Run], table: pd.DataFrame) -> dict[str, Figure]:
    finished = table[(table["status"] == "finished") & table["accuracy"].notna()]
    if finished.empty:
        return {}
    singles = finished[finished["kind"] == "run"].head(MAX_DRAWN)
    shown = {run.name: run for run in runs if run.name in set(singles["run"])}
    ordered = [shown[name] for name in singles["run"]]
    labels = figure_names(table["run"], MAX_NAME)
    pictures = {"intervals": figures.plot_intervals(finished.head(2 * MAX_DRAWN), labels)}
    histories = {run.name: run.history for run in ordered if "val/accuracy" in run.history}
    if histories:
        pictures["validation"] = figures.plot_validation(histories, labels)
    pictures["cost"] = figures.plot_cost(singles, labels)
    classes = {
        run.name: _read_classes(path)
        for run in ordered
        if (path := run.folder.report("test") / "per_class.csv").is_file()
    }
    if classes and len({tuple(table.index) for table in classes.values()}) == 1:
        pictures["per_class_f1"] = figures.plot_class_f1(classes, labels)
    return pictures


def _read_classes(path: Path) -> pd.DataFrame:
    # A class may be called NA; no value is an empty cell.
    table = pd.read_csv(path, dtype={"class": str}, keep_default_na=False, na_values=[""])
    return table.set_index(table["class"].map(unmark_text))


def _render(
    runs: Sequence[Run], comparison: Comparison, pictures: Mapping[str, str], folder: Path
) -> str:
    links = {}
    for run in runs:
        page = run.folder.report("test") / "index.html"
        if page.is_file():
            links[run.name] = quote(Path(os.path.relpath(page, folder)).as_posix())
    tested = [run.photos for run in runs if run.photos is not None]
    return render(
        "comparison.html.j2",
        rows=records(comparison.table),
        pairs=comparison.pairs.to_dict("records"),
        verdicts=comparison.verdicts,
        warning=comparison.warning,
        num_resamples=comparison.num_resamples,
        attributes=attributes_shown(comparison.table),
        attribute_pairs=comparison.attribute_pairs.to_dict("records"),
        beside_study="study_accuracy" in comparison.table,
        links=links,
        num_images=len(tested[0].targets) if tested else 0,
        drawn_sample=any(run.summary.get("drawn_sample") for run in runs),
        pictures=pictures,
        numbered_runs=numbered(comparison.table["run"]),
        numbered_classes=numbered(tested[0].class_names if tested else ()),
    )
