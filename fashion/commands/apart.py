"""A sweep's job that several processes train: a run of its own, started as it would be typed.

Lightning starts the processes of a run with the words of the command line, and there these ask for
the whole sweep. A run of its own has its own words, and takes its processes with it when it fails.
"""

import os
import re
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import IO, Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from lightning import Trainer
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from fashion.devices.accelerators import ACCELERATORS, chosen

KEPT = ("hydra.job", "hydra.verbose", "hydra/job_logging", "hydra.hydra_logging")
# What Lightning tells the processes of a run; another run is not to take it for its own.
TOLD = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "PL_GLOBAL_SEED")
RAISED = re.compile(r"(\[rank\d+\]: )?(?P<error>[\w.]*(Error|Exception|Interrupt)\b.*)")
LAST_LINES = 200


def starts_processes(settings: DictConfig) -> bool:
    """Return whether Lightning starts further processes for a run of these trainer's settings."""
    if chosen(settings.accelerator) in ACCELERATORS:  # one process drives all devices
        return False
    keys = ("accelerator", "devices", "strategy", "num_nodes")
    given: dict[str, Any] = {key: settings[key] for key in keys if key in settings}
    try:
        trainer = Trainer(
            **given, logger=False, enable_checkpointing=False, enable_progress_bar=False
        )
    except (MisconfigurationException, ValueError, TypeError, RuntimeError):
        return False  # the run itself says what is wrong
    launcher: Any = trainer.strategy.launcher
    environment = getattr(launcher, "cluster_environment", None)
    return trainer.num_devices > 1 and not getattr(
        environment, "creates_processes_externally", True
    )


def run_apart(cfg: DictConfig) -> None:
    """Train what a sweep's job asks for in processes of its own, and wait for them.

    Raises:
        CompactHydraException: The run has failed; its last error is told.
    """
    environment = {key: value for key, value in os.environ.items() if key not in TOLD}
    process = subprocess.Popen(
        [sys.executable, "-m", "fashion", "train", *words_of_job(cfg)],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    lines: deque[str] = deque(maxlen=LAST_LINES)
    assert process.stderr is not None
    teller = Thread(target=_tell, args=(process.stderr, lines), daemon=True)
    teller.start()
    with _passing_on_signals(process) as received:
        returncode = process.wait()
    teller.join(timeout=10)
    if received:
        sys.exit(128 + received[0])
    if returncode:
        raise CompactHydraException(_reason(returncode, list(lines)))


def words_of_job(cfg: DictConfig) -> list[str]:
    """Return the words that start this job of a sweep as a run of its own, in the same folder."""
    hydra = HydraConfig.get()
    folders = [
        word
        for source in hydra.runtime.config_sources
        if source.provider == "command-line"
        for word in ("--config-dir", source.path)
    ]
    kept = [word for word in hydra.overrides.hydra if word.lstrip("+~").startswith(KEPT)]
    goes_on = [] if cfg.ckpt_path else ["ckpt_path=auto"]
    output_dir = str(hydra.runtime.output_dir).replace("\\", "\\\\").replace("'", "\\'")
    task = [word for word in hydra.overrides.task if not goes_on or "ckpt_path=" not in word]
    return [*folders, *task, *kept, *goes_on, f"hydra.run.dir='{output_dir}'"]


def _tell(errors: IO[str], lines: deque[str]) -> None:
    """Show what a run writes, and keep its end."""
    for line in errors:
        sys.stderr.write(line)
        lines.append(line.strip())


@contextmanager
def _passing_on_signals(process: "subprocess.Popen[str]") -> Iterator[list[int]]:
    """Have a run that is asked to end save where it is, as it would alone."""
    received: list[int] = []

    def pass_on(number: int, frame: object) -> None:
        received.append(number)
        with suppress(ProcessLookupError):
            process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _reason(returncode: int, lines: list[str]) -> str:
    """Return the error that a run ended with, as far as it could tell one."""
    raised = [match["error"] for line in lines if (match := RAISED.match(line))]
    told = [line for line in lines if line]
    if returncode > 0 and told and not raised:
        return told[-1]  # a sentence
    ended = f"was ended by signal {-returncode}" if returncode < 0 else "failed"
    return f"A process of this run {ended}" + (f": {raised[-1]}" if raised else ".")
