"""The line of photos: decoded in a pool of threads, what waits then computed together in one."""

import logging
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import takewhile
from threading import Condition, Lock, Thread

import numpy as np
from numpy.typing import NDArray

from fashion.cores import usable_cores
from fashion.service.metrics import Metrics
from fashion.service.photos import Labelled, Outcome, Photo, decode
from fashion.service.settings import Limits

log = logging.getLogger(__name__)


class FullError(Exception):
    """There is no place for more photos."""


class LateError(Exception):
    """A photo's deadline passed before its turn came."""


class Line:
    """Takes photos, and sees to it that each comes to its end once.

    A photo that nobody waits for any more is dropped before it is decoded, and again before it is
    computed.

    Args:
        limits: `queue`, `max_batch` and `max_pixels` of them count here.
        metrics: What is counted.
        decoders: Threads that decode; None: as many as there are cores.
    """

    def __init__(self, limits: Limits, metrics: Metrics, decoders: int | None = None) -> None:
        self._limits = limits
        self._metrics = metrics
        self._sizes = _ladder(limits.max_batch)
        self._places = Lock()
        self._taken = 0
        self._crowded_since: float | None = None
        self._pool = ThreadPoolExecutor(decoders or usable_cores(), "decode")
        self._decoded: deque[Photo] = deque()
        self._news = Condition()
        self._is_closed = False
        self._worker = Thread(target=self._compute_all, name="compute", daemon=True)
        self._worker.start()

    @property
    def free(self) -> int:
        """How many photos may enter."""
        return self._limits.queue - self._taken

    def crowded_s(self) -> float:
        """Return how long ago the last place was taken, if not half of them are free since."""
        since = self._crowded_since
        return 0.0 if since is None else time.monotonic() - since

    def enter(self, photos: Sequence[Photo]) -> None:
        """Let photos in, all or none; their outcomes tell of the rest.

        Raises:
            FullError: There is no place for all of them.
        """
        with self._places:
            if self._taken + len(photos) > self._limits.queue:
                raise FullError
            self._count(len(photos))
        for photo in photos:
            photo.outcome.add_done_callback(self._leave)
            self._pool.submit(self._decode, photo)

    def close(self) -> None:
        """End the threads, when no photo is left."""
        self._pool.shutdown()
        with self._news:
            self._is_closed = True
            self._news.notify()
        self._worker.join()

    def _leave(self, _: "Future[Outcome]") -> None:
        with self._places:
            self._count(-1)

    def _count(self, change: int) -> None:
        self._taken += change
        self._metrics.waiting.set(self._taken)
        if self._taken <= self._limits.queue // 2:
            self._crowded_since = None
        elif self._taken == self._limits.queue and self._crowded_since is None:
            self._crowded_since = time.monotonic()

    def _decode(self, photo: Photo) -> None:
        if not photo.is_wanted():
            photo.end(LateError())
            return
        began = time.monotonic()
        try:
            refused = decode(photo, self._limits)
        except Exception as error:  # of no file, but of this machine
            photo.end(error)
            return
        photo.decoded = time.monotonic()
        self._metrics.stage("queue", began - photo.entered)
        self._metrics.stage("decode", photo.decoded - began)
        if refused:
            photo.end(refused)
            return
        with self._news:
            self._decoded.append(photo)
            self._news.notify()

    def _compute_all(self) -> None:
        while batch := self._next_batch():
            try:
                self._compute(batch)
            except Exception as error:
                for photo in batch:
                    photo.end(error)

    def _next_batch(self) -> list[Photo]:
        """Return what waits and goes together, once anything does; nothing when all is over."""
        with self._news:
            self._drop_unwanted()
            while not self._decoded:
                if self._is_closed:
                    return []
                self._news.wait()
                self._drop_unwanted()
            model = self._decoded[0].model
            alike = sum(1 for _ in takewhile(lambda photo: photo.model is model, self._decoded))
            size = max(size for size in self._sizes if size <= alike)
            return [self._decoded.popleft() for _ in range(size)]

    def _drop_unwanted(self) -> None:
        wanted = [photo for photo in self._decoded if photo.is_wanted()]
        if len(wanted) < len(self._decoded):
            for photo in self._decoded:
                if not photo.is_wanted():
                    photo.end(LateError())
            self._decoded = deque(wanted)

    def _compute(self, batch: Sequence[Photo]) -> None:
        began = time.monotonic()
        squares = [photo.square for photo in batch if photo.square is not None]
        probabilities = batch[0].model.network.probabilities(np.stack(squares))
        probabilities, used = _with_names(batch, probabilities)
        ended = time.monotonic()
        self._metrics.batch.observe(len(batch))
        for photo, row, name_used in zip(batch, probabilities, used, strict=True):
            self._metrics.stage("wait", began - photo.decoded)
            self._metrics.stage("infer", ended - began)
            photo.square = None
            photo.end(Labelled(*photo.facts, row, name_used))


def _with_names(
    batch: Sequence[Photo], probabilities: NDArray[np.float32]
) -> tuple[NDArray[np.float32], list[bool | None]]:
    """Return what photos and their names say, and of which the name was used; None: has none."""
    network = batch[0].model.network
    if network.names is None or not any(photo.text for photo in batch):
        return probabilities, [None] * len(batch)
    k = len(network.class_names)
    own, used = network.names.join(probabilities[:, :k], [photo.text for photo in batch])
    told = [bool(each) if photo.text else None for photo, each in zip(batch, used, strict=True)]
    return np.concatenate([own, probabilities[:, k:]], axis=1), told


def _ladder(most: int) -> list[int]:
    """Return the sizes that batches have: few, so that the engine keeps room for few."""
    return [*(2**power for power in range(most.bit_length()) if 2**power < most), most]
