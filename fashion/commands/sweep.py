"""The jobs of a sweep: where each is written, and what became of it."""

import gc
import logging
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, read_write

from fashion.commands.folders import register_resolvers, varied_keys
from fashion.files import write_file
from fashion.metrics.metrics import FIGURES
from fashion.reports.compare import write_comparison
from fashion.training.run_folder import RunFolder

log = logging.getLogger(__name__)


class Sweep(Callback):
    """Gives a sweep's jobs folders that stay the same, and keeps their comparison up to date.

    Args:
        quoted: Keys whose values are in quotes that the user didn't type; folders have none.
    """

    def __init__(self, quoted: Sequence[str] = ()) -> None:
        register_resolvers()
        self.quoted = list(quoted)

    def __reduce__(self) -> tuple[type["Sweep"], tuple[list[str]]]:
        """Have a job in another process register the resolvers, too."""
        return type(self), (self.quoted,)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Name the folders by what varies; a job knows its own settings alone."""
        hydra = config.hydra
        if any(str(word).startswith("hydra.sweep.subdir=") for word in hydra.overrides.hydra):
            return
        params: Any = OmegaConf.to_container(hydra.sweeper.get("params") or OmegaConf.create())
        searched = [f"{key}={value}" for key, value in params.items() if value is not None]
        varied = ",".join(varied_keys(hydra.overrides.task, searched))
        name = "${sweep_subdir:${model_name},[" + varied + "],[" + ",".join(self.quoted) + "]}"
        with read_write(hydra):
            hydra.overrides.hydra.append(f"hydra.sweep.subdir='{name}'")

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Note a failed job's error in its folder and rewrite the comparison."""
        if config.hydra.mode.name != "MULTIRUN":
            return
        folder = Path(config.hydra.runtime.output_dir)
        error_path = RunFolder(folder).error
        if job_return.status is JobStatus.FAILED:
            error = job_return._return_value
            is_sentence = isinstance(error, CompactHydraException)
            words = str(error) if is_sentence else _in_words(error)
            log.error("%s failed: %s", folder.name, words, exc_info=None if is_sentence else error)
            # One that would not write over an earlier run leaves that run as it was.
            if not isinstance(error.__cause__, FileExistsError):
                write_file(error_path, f"{words}\n")
            _forget(error)
        else:
            error_path.unlink(missing_ok=True)
        gc.collect()  # trainer and model refer to each other
        sweep_dir = Path(config.hydra.sweep.dir)
        table = write_comparison([sweep_dir], sweep_dir)
        shown = table[["run", "status", *FIGURES]]
        log.info("%s\n%s", sweep_dir / "index.html", shown.to_string(index=False))


def _forget(error: BaseException | None) -> None:
    """Free what the frames of an error hold, such as model and photos: Hydra keeps the error."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _in_words(error: BaseException) -> str:
    """Name an error, and the one that it began with, which clearing up after may have hidden."""
    first = error
    while earlier := first.__cause__ or (None if first.__suppress_context__ else first.__context__):
        first = earlier
    words = f"{type(error).__name__}: {error}"
    return words if first is error else f"{words} (after {type(first).__name__}: {first})"
