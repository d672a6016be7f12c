"""A process that labels shards: `python -m fashion.jobs.worker`, which gets its tasks by its input.

It ends with whoever started it: its input ends then.
"""

import os
import pickle
import signal
import sys
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import IO, Any

from fashion.bundles.bundle_files import BundleFiles
from fashion.jobs.durable import CannotWriteError
from fashion.jobs.orders import Done, Failed, Order, Task
from fashion.jobs.shard_labelling import ShardLabeller
from fashion.jobs.slots import Slots
from fashion.labelling.bundle_models import open_bundle


def main() -> None:
    """Label what comes in, and report each task."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it ends it
    tasks, reports = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print isn't taken for a report
    order, slots_path = pickle.load(tasks)
    waiting = SimpleQueue[Task]()
    Thread(target=_listen, args=(tasks, waiting), daemon=True).start()
    try:
        labeller = _labeller(order, Slots(Path(slots_path)))
        while True:
            task = waiting.get()
            labeller.label(task)
            _report(reports, Done(task.shard.first))
    except CannotWriteError as error:
        _report(reports, Failed(str(error), is_disk=True))
    except (OSError, ValueError, ModuleNotFoundError) as error:
        _report(reports, Failed(str(error)))


def _labeller(order: Order, slots: Slots) -> ShardLabeller:
    files = BundleFiles(order.bundle)
    settings = order.job.settings
    if files.id != settings.bundle:
        raise ValueError(f"{files.subject} has changed since the job began; pass the one it had.")
    model = open_bundle(files, int8=settings.int8, dtype=settings.dtype, threads=order.threads)
    return ShardLabeller(order, model, slots)


def _listen(tasks: IO[bytes], waiting: "SimpleQueue[Task]") -> None:
    try:
        while True:
            waiting.put(pickle.load(tasks))
    except (EOFError, pickle.UnpicklingError):
        os._exit(0)  # in the midst of a shard, too


def _report(reports: IO[bytes], report: Any) -> None:  # noqa: ANN401
    pickle.dump(report, reports)
    reports.flush()


if __name__ == "__main__":
    main()
