"""Put runs side by side: figures with their intervals, which differences are real, what they cost.

`fashion compare DIR... [output_dir=DIR]` takes the folders of runs, of sweeps, or of
anything above them, and writes `comparison.csv`, `comparison.md`, `pairs.csv`, figures and
`index.html`. A sweep writes the same after each of its jobs.
"""

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import pandas as pd
from filelock import FileLock
from matplotlib.figure import Figure

from fashion.files import write_file
from fashion.metrics.intervals import FIGURES
from fashion.reports import comparison_figures as figures
from fashion.reports.comparison import Comparison, Run, compare, read_runs
from fashion.reports.pages import render, write_figures
from fashion.tables import csv_text
from fashion.training.run_folder import find_runs

MAX_DRAWN = 12  # runs in a figure
log = logging.getLogger(__name__)


def write_comparison(
    folders: Sequence[str | Path], output_dir: str | Path, *, strict: bool = False
) -> pd.DataFrame:
    """Write `comparison.csv`, `comparison.md`, `pairs.csv`, `figures/` and `index.html`.

    Args:
        folders: As in `read_runs`.
        output_dir: Made when missing.
        strict: Refuse runs that were tested on different photos.

    Returns:
        The table.

    Raises:
        FileNotFoundError: As `find_runs`.
        ValueError: Runs can't be compared.
    """
    find_runs(folders)  # before anything is written
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    # Jobs of one sweep may end at the same time; the last one to write has seen all the others.
    with FileLock(folder / ".comparison.lock"):
        runs = read_runs(folders)
        comparison = compare(runs)
        if comparison.warning and strict:
            raise ValueError(comparison.warning)
        if comparison.warning:
            log.warning(comparison.warning)
        table = comparison.table
        write_file(folder / "comparison.csv", csv_text(table))
        write_file(folder / "comparison.md", markdown(table))
        write_file(folder / "pairs.csv", csv_text(comparison.pairs, float_format="%.6g"))
        pictures = write_figures(_draw(runs, table), folder / "figures")
        write_file(folder / "index.html", _render(runs, comparison, pictures, folder))
    return table


def markdown(table: pd.DataFrame) -> str:
    """Return the table in Markdown, intervals in brackets behind their figures."""
    shown = table.astype(object).where(table.notna(), "")
    for name in FIGURES:
        low, high = f"{name}_low", f"{name}_high"
        if name in shown:
            shown[name] = [
                f"{value:.4f}" + (f" [{a:.4f}, {b:.4f}]" if a != "" else "") if value != "" else ""
                for value, a, b in zip(shown[name], shown[low], shown[high], strict=True)
            ]
            shown = shown.drop(columns=[low, high])
    return shown.to_markdown(index=False, disable_numparse=True) + "\n"


def _draw(runs: Sequence[Run], table: pd.DataFrame) -> dict[str, Figure]:
    finished = table[(table["status"] == "finished") & table["accuracy"].notna()]
    if finished.empty:
        return {}
    singles = finished[finished["kind"] == "run"].head(MAX_DRAWN)
    shown = {run.name: run for run in runs if run.name in set(singles["run"])}
    ordered = [shown[name] for name in singles["run"]]
    pictures = {"intervals": figures.plot_intervals(finished.head(2 * MAX_DRAWN))}
    histories = {run.name: run.history for run in ordered if "val/accuracy" in run.history}
    if histories:
        pictures["validation"] = figures.plot_validation(histories)
    pictures["cost"] = figures.plot_cost(singles)
    f1 = {
        run.name: pd.read_csv(path).set_index("class")["f1"]
        for run in ordered
        if (path := run.folder.report("test") / "per_class.csv").is_file()
    }
    if f1 and len({tuple(scores.index) for scores in f1.values()}) == 1:
        pictures["per_class_f1"] = figures.plot_class_f1(pd.DataFrame(f1))
    return pictures


def _render(
    runs: Sequence[Run], comparison: Comparison, pictures: Mapping[str, str], folder: Path
) -> str:
    links = {}
    for run in runs:
        page = run.folder.report("test") / "index.html"
        if page.is_file():
            links[run.name] = quote(Path(os.path.relpath(page, folder)).as_posix())
    tested = [run.predictions for run in runs if run.predictions is not None]
    return render(
        "comparison.html.j2",
        rows=comparison.table.astype(object)
        .where(comparison.table.notna(), None)
        .to_dict("records"),
        pairs=comparison.pairs.to_dict("records"),
        verdicts=comparison.verdicts,
        warning=comparison.warning,
        links=links,
        num_images=len(tested[0].targets) if tested else 0,
        drawn_sample=any(run.summary.get("drawn_sample") for run in runs),
        pictures=pictures,
    )


def main() -> None:
    """Compare runs from the command line."""
    logging.basicConfig(level="INFO", format="%(message)s")
    folders, output_dir = [], ""
    for word in sys.argv[1:]:
        key, _, value = word.partition("=")
        if key == "output_dir" and value:
            output_dir = value
        else:
            folders.append(word)
    if not folders or {"-h", "--help"} & set(folders):
        sys.exit(__doc__)
    output = Path(output_dir or (folders[0] if len(folders) == 1 else "comparison"))
    try:
        table = write_comparison(folders, output, strict=True)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    columns = ["run", "status", *FIGURES]
    sys.stdout.write(f"{table[columns].to_string(index=False)}\n{output / 'index.html'}\n")


if __name__ == "__main__":
    main()
