"""Have the processes of a run on several machines wait for one another, and end together.

torchrun keeps a store that all of them reach. There a process that fails says why, before there is
a group of processes in which the others would notice; with srun, `--kill-on-bad-exit` ends them.
"""

import os
import platform
import re
import sys
import threading
import time
from datetime import timedelta
from functools import cache

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from fashion.devices.launch import Launch

CUT_OFF = re.compile(r"gloo/|NCCL|Connection (closed|reset) by")  # says a group that lost a process
SECONDS = 1.0  # between two looks
PATIENCE = timedelta(minutes=1)  # for an answer of the store


def own_words() -> list[str]:
    """Return what Hydra is told for one process of several: the first writes the run's files."""
    launch = Launch.of_this_process()
    if launch is None or launch.rank == 0:
        return []
    return ["hydra.output_subdir=null", f"hydra.job.name=train_process_{launch.rank}"]


def check_folder(ckpt_path: str | None) -> None:
    """Check that processes that were started together have one run, whose folder is typed.

    Raises:
        ValueError: They don't, so that each process would name it by its own time; or they ask for
            a sweep, whose jobs would go apart.
    """
    launch = Launch.of_this_process()
    hydra = HydraConfig.get() if HydraConfig.initialized() else None
    if launch is None or hydra is None:
        return
    if hydra.mode is RunMode.MULTIRUN:
        raise ValueError(
            f"--multirun: {launch.by} starts the processes of one run. Start each run of a sweep "
            "by itself, all with a hydra.run.dir below one folder, which fashion compare takes."
        )
    is_typed = any(word.lstrip("+").startswith("hydra.run.dir=") for word in hydra.overrides.hydra)
    if not is_typed and ckpt_path in (None, "auto", "last"):
        raise ValueError(
            f"hydra.run.dir is not set: each of the processes that {launch.by} has started would "
            "name the run's folder by its own time. Pass hydra.run.dir=FOLDER, one that all "
            "machines see."
        )


def watch() -> None:
    """Have this process end in a sentence once another of its run has failed."""
    if _store() is not None:
        threading.Thread(target=_watch, name="together", daemon=True).start()


def tell(error: Exception) -> str:
    """Have the other processes of the run end because this one fails.

    Returns:
        The reason to be told here: that of the first process that failed.
    """
    launch, store, reason = Launch.of_this_process(), _store(), str(error)
    if launch and isinstance(error, RuntimeError) and CUT_OFF.search(reason):
        reason = (
            "A process on another machine has ended, so this run has, too. Type the same words "
            "with ckpt_path=last to go on from the last checkpoint."
        )
    if launch is None or store is None:
        return reason
    told = f"Process {launch.rank} of {launch.world_size}, on {platform.node()}, failed: {reason}"
    try:
        first: bytes = store.compare_set(_key("failed"), "", told)
    except RuntimeError:  # the store's machine is off
        return reason
    return reason if first.decode() == told else first.decode()


def wait_for_all() -> None:
    """Wait until all processes of the run are here: one may still pack photos, for hours.

    A group of processes would give up after half an hour.
    """
    launch, store = Launch.of_this_process(), _store()
    if launch is None or store is None:
        return
    store.set(_key(f"ready {launch.rank}"), "")
    keys = [_key(f"ready {rank}") for rank in range(launch.world_size)]
    while not store.check(keys):
        time.sleep(SECONDS)  # `watch` ends it when one fails


def _watch() -> None:
    store = _store()
    assert store is not None
    try:
        while not store.check([_key("failed")]):
            time.sleep(SECONDS)
        reason = store.get(_key("failed")).decode()
    except RuntimeError:
        return  # torchrun has ended there; a group of processes notices
    time.sleep(2 * SECONDS)  # for this process may be about to say it itself
    sys.stderr.write(f"{reason}\n")
    sys.stderr.flush()
    os._exit(1)


@cache
def _store() -> TCPStore | None:
    """Return torchrun's store, if it has started this process as one of several."""
    launch = Launch.of_this_process()
    if launch is None or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return TCPStore(address, port, is_master=False, timeout=PATIENCE)


def _key(name: str) -> str:
    """Return a key that a run which torchrun restarts doesn't find from before."""
    return f"fashion {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')} {name}"
