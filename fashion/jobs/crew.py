"""Processes that label shards, watched: one that dies is started again, and what killed it is told.

The first death of a worker makes the photos that were being decoded suspects. These are decoded one
at a time from then on, so that the second death is that of one photo, which is given up.
"""

import os
import pickle
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any
from uuid import uuid4

import fashion
from fashion.jobs.deaths import DIED, Deaths
from fashion.jobs.folder import JobFolder
from fashion.jobs.orders import Done, Failed, Order, Task
from fashion.jobs.slots import Slots, shared_folder

COMMAND = (sys.executable, "-m", "fashion.jobs.worker")
MOST_BLANK_DEATHS = 5  # of a shard while no photo of it is being decoded
TICK = 0.1  # seconds between looks at what the workers do


class Worker:
    """A process that labels one shard at a time.

    Args:
        order: Of the job.
        folder: For what it shares with this process.
        reports: Where its reports go, each with this worker; None is its end.
    """

    def __init__(
        self, order: Order, folder: Path, reports: "Queue[tuple[Worker, Done | Failed | None]]"
    ) -> None:
        self.task: Task | None = None
        self.path = folder / uuid4().hex
        self.slots = Slots.create(self.path, order.threads)
        self.times: dict[int, float] = {}  # that each row is being decoded, in seconds
        self.overdue: set[int] = set()
        self._process = subprocess.Popen(
            COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment(order)
        )
        self._listener = Thread(target=self._listen, args=(reports,), daemon=True)
        self._listener.start()
        self._send((order, str(self.path)))

    def give(self, task: Task) -> None:
        """Have it label a task."""
        self.task, self.times = task, {}
        self.slots.clear()
        self._send(task)

    def end(self) -> int:
        """End it, and return by which status it ended."""
        self._process.kill()
        with suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._listener.join()
        return self._process.wait()

    def watch(self, seconds: float, photo_s: float) -> None:
        """Kill it if a photo takes too long.

        Args:
            seconds: Since the last look, in which this process was awake.
            photo_s: That a photo may take.
        """
        self.times = {row: self.times.get(row, 0.0) + seconds for row in self.slots.rows()}
        self.overdue = {row for row, spent in self.times.items() if spent > photo_s}
        if self.overdue:
            self._process.kill()

    def _send(self, what: Any) -> None:  # noqa: ANN401
        assert self._process.stdin is not None
        with suppress(OSError):  # it has died, which is reported
            pickle.dump(what, self._process.stdin)
            self._process.stdin.flush()

    def _listen(self, reports: "Queue[tuple[Worker, Done | Failed | None]]") -> None:
        assert self._process.stdout is not None
        with self._process.stdout as told, suppress(EOFError, OSError, pickle.UnpicklingError):
            while True:
                reports.put((self, pickle.load(told)))
        reports.put((self, None))


class Crew:
    """So many workers on one job; a context, at whose end they are gone.

    Args:
        order: The job.
        workers: How many there are.
        photo_s: Seconds that a photo may take.
    """

    def __init__(self, order: Order, workers: int, photo_s: float) -> None:
        self._order, self._number, self._photo_s = order, workers, photo_s
        self._deaths = Deaths(JobFolder(order.folder).deaths)
        self._blank: Counter[int] = Counter()
        self._reports: Queue[tuple[Worker, Done | Failed | None]] = Queue()
        self._stack = ExitStack()
        self._folder = self._stack.enter_context(shared_folder())
        self._workers: list[Worker] = []

    def __enter__(self) -> "Crew":
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """End the workers."""
        with self._stack:
            for worker in self._workers:
                worker.end()

    @property
    def finished(self) -> int:
        """How many photos of the tasks that are being done are finished."""
        return sum(worker.slots.finished for worker in self._workers if worker.task)

    def run(self, tasks: Sequence[Task]) -> Iterator[Task | None]:
        """Do tasks, and yield each when its results are written; None several times a second.

        Raises:
            OSError: The job's folder can't be written.
            ValueError: A worker can't label at all, or dies again and again.
        """
        waiting, left = deque(tasks), len(tasks)
        looked = time.monotonic()
        while left:
            self._share_out(waiting)
            try:
                worker, report = self._reports.get(timeout=TICK)
            except Empty:
                yield None
            else:
                if isinstance(report, Failed):
                    raise OSError(report.reason) if report.is_disk else ValueError(report.reason)
                if worker in self._workers and worker.task is not None:
                    if report is None:
                        waiting.appendleft(self._after_death(worker))
                    else:
                        yield worker.task
                        worker.task = None
                        left -= 1
                elif report is None and worker in self._workers:
                    self._workers.remove(worker)
            now = time.monotonic()
            for each in self._workers:
                # Where this process was stopped for long, so were its workers.
                each.watch(min(now - looked, 10 * TICK), self._photo_s)
            looked = now

    def _share_out(self, waiting: "deque[Task]") -> None:
        while waiting and len(self._workers) < self._number:
            self._workers.append(Worker(self._order, self._folder, self._reports))
        for worker in self._workers:
            if worker.task is None and waiting:
                worker.give(self._deaths.told_to(waiting.popleft()))

    def _after_death(self, worker: Worker) -> Task:
        """Return the task that is left of a worker that has died."""
        task = worker.task
        assert task is not None
        rows, status = worker.overdue or worker.slots.rows(), worker.end()
        self._workers.remove(worker)
        first, number, _ = task.shard
        if rows:
            late = f"took longer than {self._photo_s:g} seconds twice"
            self._deaths.add(first, rows, late if worker.overdue else DIED)
            return task
        self._blank[first] += 1
        if self._blank[first] >= MOST_BLANK_DEATHS:
            raise ValueError(
                f"A process that labels has died {MOST_BLANK_DEATHS} times on the photos {first:,} "
                f"to {first + number - 1:,}, while none of them was being decoded (status "
                f"{status}): it may lack memory. Pass fewer workers or a smaller batch_size."
            )
        return task


def _environment(order: Order) -> dict[str, str]:
    """Return a worker's variables: it imports this very package, and computes in its threads."""
    path = [str(Path(fashion.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(order.threads)),
    }
