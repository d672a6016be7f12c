"""Lightning's writers of checkpoints and of step by step figures, made safe to stop and resume."""

import csv
import os
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from fashion.files import replacing
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


def store_calibration(ckpt_path: Path, state: dict[str, Any]) -> None:
    """Keep in a checkpoint what `fashion.metrics.scaling.Calibration.state` returned."""
    write_checkpoint({**checkpoints.read(ckpt_path), "calibration": state}, ckpt_path)


class ResumableCSVLogger(CSVLogger):
    """Lightning's CSVLogger, but a resumed run writes on instead of deleting what was there."""

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The writer of `metrics.csv`."""
        if self._experiment is None:
            self._experiment = _AppendingWriter(log_dir=self.log_dir)
        writer: ExperimentWriter = self._experiment  # type: ignore[assignment]
        return writer


class _AppendingWriter(ExperimentWriter):
    def _check_log_dir_exists(self) -> None:
        if self._fs.isfile(self.metrics_file_path):
            with open(self.metrics_file_path, newline="") as file:
                self.metrics_keys = next(csv.reader(file), [])
