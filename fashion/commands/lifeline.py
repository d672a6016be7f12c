"""Have the processes of a run end with those that started them, however these end."""

import os
import platform
import threading
import time

import psutil

ABOVE = "FASHION_PROCESSES"  # of this machine: those above a process, as `machine:pid,pid`
_above = os.environ.get(ABOVE, "")
_watching = threading.Event()


def tie() -> None:
    """Have the processes that this one starts from now on end with it."""
    pids = [*_pids(_above), os.getpid()]
    os.environ[ABOVE] = f"{platform.node()}:{','.join(map(str, dict.fromkeys(pids)))}"


def watch() -> None:
    """End this process once one above it has ended; may be called again."""
    pids = [pid for pid in _pids(_above) if pid != os.getpid()]
    if pids and not _watching.is_set():
        _watching.set()
        threading.Thread(target=_watch, args=(pids,), name="lifeline", daemon=True).start()


def _pids(above: str) -> list[int]:
    """Return the processes that are named, unless they are another machine's."""
    machine, _, pids = above.rpartition(":")
    return [int(pid) for pid in pids.split(",")] if machine == platform.node() and pids else []


def _watch(pids: list[int]) -> None:
    while all(map(_runs, pids)):
        time.sleep(0.5)
    os._exit(1)  # nobody is left to clear up for


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
