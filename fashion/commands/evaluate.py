"""`fashion evaluate`: a run's report, rewritten from its checkpoint, or one on a job's labels."""

import logging
import sys
from pathlib import Path
from typing import Any

from fashion.commands.screen import hide_advertisements
from fashion.wording import many

OF_A_JOB = ("results", "truth", "output_dir")


def run(settings: dict[str, Any], files: list[str]) -> None:
    """Evaluate a checkpoint, or a job of `fashion label`."""
    if "results" in settings:
        _evaluate_job(settings)
        return
    if "truth" in settings:
        raise ValueError("truth is for results; pass results=JOB, too.")
    _evaluate_run(settings)


def _evaluate_run(settings: dict[str, Any]) -> None:
    from fashion.reports.evaluate import evaluate
    from fashion.reports.summary import headline
    from fashion.training.run_folder import RunFolder

    logging.basicConfig(level="INFO", format="%(message)s")
    hide_advertisements()
    ckpt_path = settings.pop("ckpt_path")
    summary = evaluate(ckpt_path, **settings)
    if summary:  # of several processes the first one has it
        output_dir = settings.get("output_dir")
        folder = RunFolder(Path(output_dir)) if output_dir else RunFolder.of_checkpoint(ckpt_path)
        page = folder.report(summary["split"]) / "index.html"
        sys.stdout.write(f"{headline(summary)}\nWritten: {page}\n")


def _evaluate_job(settings: dict[str, Any]) -> None:
    others = [key for key in settings if key not in OF_A_JOB]
    if others:
        raise ValueError(f"{others[0]} is for ckpt_path; leave it out beside results.")
    if "truth" not in settings:
        raise ValueError("truth is missing; pass truth=FILE, a CSV with the columns photo,label.")
    from fashion.reports.job_report import evaluate_job

    summary = evaluate_job(**settings)
    told = ("accuracy", "macro_f1", "macro_auprc", "calibration_error")
    figures = ", ".join(f"{key} {summary[key]:.4f}" for key in told if key in summary)
    page = Path(settings.get("output_dir") or Path(settings["results"], "evaluation"), "index.html")
    sys.stdout.write(f"{many(summary['photos'], 'photo')}: {figures}\nWritten: {page}\n")
