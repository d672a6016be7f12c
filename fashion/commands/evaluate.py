"""`fashion evaluate`: a run's report, rewritten from its checkpoint."""

import logging
import sys
from typing import Any

from fashion.commands.screen import hide_advertisements
from fashion.metrics.metrics import FIGURES
from fashion.reports.evaluate import evaluate


def run(settings: dict[str, Any], files: list[str]) -> None:
    """Evaluate a checkpoint."""
    logging.basicConfig(level="INFO", format="%(message)s")
    hide_advertisements()
    summary = evaluate(settings.pop("ckpt_path"), **settings)
    if summary:  # of several processes the first one has it
        split = summary["split"]
        figures = ", ".join(f"{key} {summary[split][key]:.4f}" for key in FIGURES)
        sys.stdout.write(f"{split}: {figures}\n")
