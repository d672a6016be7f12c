"""`fashion evaluate`: a run's report, rewritten from its checkpoint."""

import logging
import sys
from pathlib import Path
from typing import Any

from fashion.commands.screen import hide_advertisements
from fashion.reports.evaluate import evaluate
from fashion.reports.summary import headline
from fashion.training.run_folder import RunFolder


def run(settings: dict[str, Any], files: list[str]) -> None:
    """Evaluate a checkpoint."""
    logging.basicConfig(level="INFO", format="%(message)s")
    hide_advertisements()
    ckpt_path = settings.pop("ckpt_path")
    summary = evaluate(ckpt_path, **settings)
    if summary:  # of several processes the first one has it
        output_dir = settings.get("output_dir")
        folder = RunFolder(Path(output_dir)) if output_dir else RunFolder.of_checkpoint(ckpt_path)
        page = folder.report(summary["split"]) / "index.html"
        sys.stdout.write(f"{headline(summary)}\nWritten: {page}\n")
