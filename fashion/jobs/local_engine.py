"""Shards labelled by processes on this machine."""

from collections.abc import Callable, Sequence

from fashion.cores import usable_cores
from fashion.jobs.crew import Crew
from fashion.jobs.orders import Order, Task
from fashion.jobs.settings import Effort

CORES = 4  # of a process, unless a number of processes is asked for

Progress = Callable[[int], None]  # is told how many photos are finished


def label_locally(order: Order, tasks: Sequence[Task], effort: Effort, progress: Progress) -> None:
    """Do a job's tasks.

    Args:
        order: The job, whose threads are those of a worker; see `share_cores`.
        tasks: What is to be done.
        effort: How.
        progress: Is told several times a second.

    Raises:
        OSError: As `Crew.run`.
        ValueError: As `Crew.run`.
    """
    finished = 0
    with Crew(order, share_cores(effort.workers)[0], effort.photo_s) as crew:
        for task in crew.run(tasks):
            finished += 0 if task is None else task.number
            progress(finished + crew.finished)


def share_cores(workers: int | None) -> tuple[int, int]:
    """Return how many workers there are, and how many threads each has."""
    cores = usable_cores()
    number = workers or max(1, cores // CORES)
    return number, max(1, cores // number)
