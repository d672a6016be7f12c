"""The runs of a sweep -> one table, next to the study's figures."""

import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from fashion.files import write_file
from fashion.study import load_study
from fashion.tables import csv_text

ERROR_FILE = "error.txt"
COUNTS = ("best_epoch", "epochs", "trainable_parameters")  # whole numbers, where there are any
log = logging.getLogger(__name__)


def collect(sweep_dir: str | Path) -> pd.DataFrame:
    """Tabulate the runs below a sweep's folder, one row a run, sorted by macro-AUPRC.

    Returns:
        `run` (the folder's name), `status` (`finished`, `failed`, or `missing` where a run left
        neither summary nor error), the test figures, the study's, costs, and `error`.
    """
    study = load_study()["models"]
    folders = sorted(path for path in Path(sweep_dir).iterdir() if (path / ".hydra").is_dir())
    rows = [_row(folder, study) for folder in folders]
    if not rows:
        return pd.DataFrame()
    table = pd.DataFrame(rows).astype(dict.fromkeys(COUNTS, "Int64"))
    return table.sort_values("macro_auprc", ascending=False, ignore_index=True)


def write_comparison(sweep_dir: str | Path) -> pd.DataFrame:
    """Write `comparison.csv` and `comparison.md` into a sweep's folder and return the table."""
    table = collect(sweep_dir)
    for name, text in (
        ("comparison.csv", csv_text(table)),
        (
            "comparison.md",
            table.astype(object).fillna("").to_markdown(index=False, disable_numparse=True) + "\n",
        ),
    ):
        write_file(Path(sweep_dir, name), text)
    return table


class CompareModels(Callback):
    """Keeps a sweep's comparison up to date after every job, failed ones included."""

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Note a failed job's error in its folder and rewrite the table."""
        if config.hydra.mode.name != "MULTIRUN":
            return
        folder = Path(config.hydra.runtime.output_dir)
        error_path = folder / ERROR_FILE
        if job_return.status is JobStatus.FAILED:
            error = job_return._return_value
            log.error("%s failed: %s", folder.name, error)
            # One that would not write over an earlier run leaves that run as it was.
            if not isinstance(error.__cause__, FileExistsError):
                is_sentence = isinstance(error, CompactHydraException)
                kind = "" if is_sentence else f"{type(error).__name__}: "
                error_path.write_text(f"{kind}{error}\n")
        else:
            error_path.unlink(missing_ok=True)
        table = write_comparison(config.hydra.sweep.dir)
        log.info("%s\n%s", config.hydra.sweep.dir, table.to_string(index=False))


def _row(folder: Path, study: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"run": folder.name, "status": "missing"}
    summary: dict[str, Any] = {}
    error = ""
    summary_path, error_path = folder / "report" / "summary.json", folder / ERROR_FILE
    if error_path.exists():
        row["status"], error = "failed", " ".join(error_path.read_text().split())
    elif summary_path.exists():
        row["status"], summary = "finished", json.loads(summary_path.read_text())
    test = summary.get("test", {})
    # A finished run has the study's figures beside it only where its classes are the study's.
    published = study.get(folder.name.split(",")[0], {})
    published = summary.get("study", {}) if summary else published
    for key in ("accuracy", "macro_f1", "macro_auprc"):
        row[key] = _rounded(test.get(key))
    row["study_accuracy"] = published.get("test_accuracy")
    row["study_macro_auprc"] = published.get("macro_auprc")
    row["best_epoch"] = summary.get("best_epoch")
    row["epochs"] = summary.get("epochs")
    row["trainable_parameters"] = sum(summary.get("trainable_parameters", {}).values()) or None
    row["seconds_per_epoch"] = summary.get("seconds", {}).get("per_epoch")
    return {**row, "error": error}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
