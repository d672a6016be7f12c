"""`fashion compare`: runs side by side."""

import logging
import sys
from pathlib import Path

from fashion.metrics.metrics import FIGURES
from fashion.reports.compare import write_comparison


def run(settings: dict[str, str], folders: list[str]) -> None:
    """Compare the runs in some folders."""
    logging.basicConfig(level="INFO", format="%(message)s")
    default = folders[0] if len(folders) == 1 else "comparison"
    output_dir = Path(settings.get("output_dir", default))
    table = write_comparison(folders, output_dir, strict=True)
    columns = ["run", "status", *FIGURES]
    sys.stdout.write(f"{table[columns].to_string(index=False)}\n{output_dir / 'index.html'}\n")
