"""Lightning's writers of checkpoints and of step by step figures, made safe to stop and resume."""

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from fashion.files import replacing, write_file
from fashion.models import checkpoints


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it there: none is ever half written."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None
    ) -> None:
        """Write `checkpoint` to `path`, whole or not at all."""
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Read what `save_checkpoint` wrote."""
        return checkpoints.read(path)


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint to `path`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, alone=True) as file:
        checkpoints.write(checkpoint, file)
        file.flush()
        os.fsync(file.fileno())


def store_calibration(
    ckpt_path: Path,
    state: dict[str, Any],
    of_attributes: Mapping[str, dict[str, Any]] | None = None,
) -> None:
    """Keep in a checkpoint what `fashion.metrics.scaling.Calibration.state` returned.

    Args:
        ckpt_path: The checkpoint.
        state: Of the label.
        of_attributes: Of each attribute, by its name; None: there are none.
    """
    kept = {"calibration": state}
    if of_attributes:
        kept["attribute_calibrations"] = {**of_attributes}
    write_checkpoint({**checkpoints.read(ckpt_path), **kept}, ckpt_path)


class ResumableTensorBoardLogger(TensorBoardLogger):
    """Lightning's TensorBoardLogger, which forgets the steps that a resumed run takes again."""

    def drop_from(self, step: int) -> None:
        """Have TensorBoard pass over what was logged for `step` and later ones so far."""
        self._kwargs["purge_step"] = step


class ResumableCSVLogger(CSVLogger):
    """Lightning's CSVLogger, but a resumed run writes on instead of deleting what was there."""

    def drop_from(self, step: int) -> None:
        """Delete what was logged for `step` and later ones so far."""
        path = Path(self.log_dir, _AppendingWriter.NAME_METRICS_FILE)
        if not path.is_file():
            return
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows, names = list(reader), reader.fieldnames or ()
        text = io.StringIO()
        writer = csv.DictWriter(text, names)
        writer.writeheader()
        writer.writerows(row for row in rows if _is_before(row, step))
        write_file(path, text.getvalue())

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The writer of `metrics.csv`."""
        if self._experiment is None:
            self._experiment = _AppendingWriter(log_dir=self.log_dir)
        writer: ExperimentWriter = self._experiment  # type: ignore[assignment]
        return writer


def drop_redone_steps(trainer: Trainer, checkpoint: Mapping[str, Any]) -> None:
    """Have the loggers forget what came after a checkpoint that a run goes on from."""
    for logger in trainer.loggers if trainer.is_global_zero else ():
        if isinstance(logger, (ResumableCSVLogger, ResumableTensorBoardLogger)):
            logger.drop_from(checkpoint["global_step"])


def _is_before(row: Mapping[str, Any], step: int) -> bool:
    """Whether a row is of an earlier step; a half written one, the last of a killed run, is not."""
    written = row.get("step") or ""
    return None not in row.values() and written.isdecimal() and int(written) < step


class _AppendingWriter(ExperimentWriter):
    def _check_log_dir_exists(self) -> None:
        if self._fs.isfile(self.metrics_file_path):
            with open(self.metrics_file_path, newline="") as file:
                self.metrics_keys = next(csv.reader(file), [])
