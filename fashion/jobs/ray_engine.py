"""The same shards labelled by actors of Ray, on this machine or a cluster.

Ray schedules, spreads and starts again what a machine has lost. Each actor has a process of its own
that labels and that it watches, so that a photo kills no actor; photos never travel between
machines. All machines see the job's folder, the photos and the bundle under the same paths.
"""

import logging
import os
import socket
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import ModuleType
from typing import Any

from fashion.cores import usable_cores
from fashion.jobs.crew import Crew
from fashion.jobs.local_engine import CORES, Progress
from fashion.jobs.orders import Done, Failed, Order, Task
from fashion.jobs.settings import Effort

# Nothing is told to Ray's makers, and actors without a GPU keep the one that PyTorch would find.
VARIABLES = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
STORE_BYTES = 100 * 2**20  # of Ray's object store, which holds tasks and reports alone
MOST_LOSSES = 5  # of an actor on the same shard
TICK_S = 0.5
PATIENCE_S = 10  # for a cluster's answer


class Foreman:
    """An actor: has tasks done by a process on its machine.

    Args:
        order: The job.
        photo_s: Seconds that a photo may take.
    """

    def __init__(self, order: Order, photo_s: float) -> None:
        self._crew = Crew(order, 1, photo_s)

    def label(self, task: Task) -> Done | Failed:
        """Do a task, and report."""
        try:
            for _ in self._crew.run([task]):
                pass
        except (OSError, ValueError) as error:
            return Failed(str(error), is_disk=isinstance(error, OSError))
        return Done(task.shard.first)


def label_with_ray(order: Order, tasks: Sequence[Task], effort: Effort, progress: Progress) -> None:
    """Do a job's tasks; see `fashion.jobs.local_engine.label_locally`.

    Raises:
        ConnectionError: There is no cluster at the address.
        OSError: The job's folder can't be written.
        ValueError: An actor can't label at all, or is lost again and again.
    """
    with _cluster(effort.ray_address) as ray:
        number, threads, gpus = _shares(ray.cluster_resources(), effort.workers)
        hire = ray.remote(Foreman).options(num_cpus=threads, num_gpus=gpus)
        order = replace(order, threads=threads)
        free = deque(hire.remote(order, effort.photo_s) for _ in range(min(number, len(tasks))))
        waiting, losses, finished = deque(tasks), Counter[int](), 0
        busy: dict[Any, tuple[Any, Task]] = {}  # by Ray's reference to the report
        while waiting or busy:
            while waiting and free:
                foreman, task = free.popleft(), waiting.popleft()
                busy[foreman.label.remote(task)] = foreman, task
            for report in ray.wait([*busy], timeout=TICK_S)[0]:
                foreman, task = busy.pop(report)
                if _is_done(ray, report):
                    finished += task.number
                    free.append(foreman)
                    continue
                losses[task.shard.first] += 1
                if losses[task.shard.first] >= MOST_LOSSES:
                    raise ValueError(
                        f"Ray has lost {MOST_LOSSES} actors on the photos from "
                        f"{task.shard.first:,} on; its logs in /tmp/ray say why."
                    )
                waiting.appendleft(task)
                free.append(hire.remote(order, effort.photo_s))
            progress(finished)


def _is_done(ray: ModuleType, report: Any) -> bool:  # noqa: ANN401 - Ray's reference
    """Return whether a task is done; it isn't where its actor was lost."""
    try:
        told: Done | Failed = ray.get(report)
    except (ray.exceptions.RayActorError, ray.exceptions.RaySystemError):
        return False
    if isinstance(told, Failed):
        raise OSError(told.reason) if told.is_disk else ValueError(told.reason)
    return True


def _shares(resources: dict[str, float], workers: int | None) -> tuple[int, int, int]:
    """Return how many actors there are, and the cores and GPUs of each."""
    cores, gpus = max(1, int(resources.get("CPU", 1))), int(resources.get("GPU", 0))
    number = workers or gpus or max(1, cores // CORES)
    return number, max(1, min(CORES, cores // number)), int(0 < number <= gpus)


@contextmanager
def _cluster(address: str | None) -> Iterator[ModuleType]:
    """Join a cluster, or start one on this machine that ends with the block."""
    if address:
        _check_there(address)
    os.environ.update(VARIABLES)
    import ray

    own: dict[str, Any] = {
        "num_cpus": usable_cores(),
        "object_store_memory": STORE_BYTES,
        "include_dashboard": False,
    }
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({} if address else own),
        )
    except Exception as error:  # of no common class
        where = f"ray_address={address!r}" if address else "engine=ray"
        raise ConnectionError(f"{where}: Ray doesn't start ({error}).") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_there(address: str) -> None:
    """Refuse an address where nobody listens, on which Ray would end this process after minutes.

    Raises:
        ConnectionError: Nobody does.
        ValueError: It is no address.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or "/" in host:
        raise ValueError(f"ray_address={address!r} must be HOST:PORT, as `ray start` tells it.")
    try:
        socket.create_connection((host, int(port)), timeout=PATIENCE_S).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(
            f"ray_address={address!r}: there is no cluster ({error}); start one by ray start "
            "--head, or leave ray_address out."
        ) from error
