"""`fashion suspects`: the labels that are likely wrong."""

import logging
import sys
from pathlib import Path

from fashion.reports.suspects import find_suspects, gather, load_catalogue_of, write_suspects
from fashion.training.run_folder import find_runs


def run(settings: dict[str, str], folders: list[str]) -> None:
    """Name the suspects of some runs."""
    logging.basicConfig(level="INFO", format="%(message)s")
    runs = find_runs(folders)
    first = runs[0].path
    default = (first if len(runs) == 1 else first.parent) / "suspects"
    output_dir = Path(settings.get("output_dir", default))
    predictions = gather(runs)
    suspects = find_suspects(predictions)
    num_photos = len(predictions.targets)
    loaded = load_catalogue_of(runs[0], settings.get("data.root"))
    write_suspects(suspects, num_photos, loaded, output_dir)
    sys.stdout.write(
        f"{len(suspects):,} of {num_photos:,} labels are suspect: {output_dir / 'index.html'}\n"
    )
