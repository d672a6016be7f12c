"""How a global batch is shared out among devices, processes and parts, and loaders of that."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning import Trainer
from torch.utils.data import Sampler

from fashion.cores import usable_cores, usable_memory
from fashion.data.batches import (
    BatchLoader,
    BatchSampler,
    ProductDataset,
    batches_held,
    start_method,
)

MAX_WORKERS = 8
PREFETCH = 2  # batches that a worker prepares before one of its own is asked for
MEMORY_PARTS = 16  # of which a loader may hold one; there is one for training and one for the rest


class Workers(NamedTuple):
    """The loader processes of a process.

    Attributes:
        number: How many.
        prefetch: Batches that each has ready.
        held_bytes: What a loader's batches take of the memory at most.
    """

    number: int
    prefetch: int
    held_bytes: int


@dataclass(frozen=True)
class BatchPlan:
    """How the photos of one optimiser step are shared out.

    Attributes:
        batch_size: Photos of one step, over all devices and processes.
        num_workers: Loader processes of each process; None takes one less than its share of the
            cores, 1 to 8, or fewer where their batches would take too much memory.
        num_devices: Devices that a step's photos are shared out to.
        num_processes: Processes that each load their own share of a batch.
        rank: This process' number.
        accumulate: Parts of a training step whose gradients are added up.
        processes_here: Processes on this machine, which share its cores.
    """

    batch_size: int
    num_workers: int | None
    num_devices: int = 1
    num_processes: int = 1
    rank: int = 0
    accumulate: int = 1
    processes_here: int = 1

    @classmethod
    def of_trainer(
        cls, batch_size: int, num_workers: int | None, trainer: Trainer | None
    ) -> "BatchPlan":
        """Return the plan of a trainer's devices and processes, or of one each."""
        if trainer is None:
            return cls(batch_size, num_workers)
        strategy: Any = trainer.strategy
        single = {"num_replicas": 1, "rank": 0}
        share = getattr(strategy, "distributed_sampler_kwargs", single)
        return cls(
            batch_size,
            num_workers,
            num_devices=getattr(strategy, "num_devices", share["num_replicas"]),
            num_processes=share["num_replicas"],
            rank=share["rank"],
            accumulate=trainer.accumulate_grad_batches,
            processes_here=max(1, len(getattr(strategy, "parallel_devices", None) or ())),
        )

    def workers(self, batch_bytes: int) -> Workers:
        """Return the loader processes that this process starts for a loader.

        They are as many as were asked for, or else so few that their batches find room.

        Args:
            batch_bytes: Of this process' part of a batch.
        """
        most = max(1, usable_memory() // (MEMORY_PARTS * self.processes_here * batch_bytes))
        number, prefetch = self.num_workers, PREFETCH
        if number is None:
            number = min(MAX_WORKERS, max(1, usable_cores() // self.processes_here - 1))
        if batches_held(number, prefetch) > most:
            prefetch = 1
        if self.num_workers is None:
            number = max(1, min(number, most - batches_held(0, 0)))
        return Workers(number, prefetch, batches_held(number, prefetch) * batch_bytes)

    def check(self) -> None:
        """Check that a batch can be shared out.

        Raises:
            ValueError: It can't; the sentence names the nearest sizes that can.
        """
        parts, size = self.num_devices * self.accumulate, self.batch_size
        if size % parts:
            below, above = size - size % parts, size - size % parts + parts
            nearest = " or ".join(str(number) for number in (below, above) if number)
            raise ValueError(
                f"data.batch_size={size} is the batch of one step over all devices and does not "
                f"divide by {parts} ({self.num_devices} devices x "
                f"trainer.accumulate_grad_batches={self.accumulate}). "
                f"Pass data.batch_size={nearest}."
            )

    def enough_for(self, num_rows: int) -> int:
        """Return the batch to evaluate some rows with, which each device has an equal share of."""
        wanted = min(self.batch_size, num_rows)
        return wanted + -wanted % self.num_devices

    def ordered(self, num_rows: int) -> BatchSampler:
        """Return the batches of some rows in their order, the last one padded."""
        return BatchSampler(
            num_rows,
            self.batch_size,
            num_parts=self.num_processes,
            rank=self.rank,
            world_size=self.num_processes,
        )

    def shuffled(self, num_rows: int, seed: int, chances: np.ndarray | None = None) -> BatchSampler:
        """Return the parts of training steps.

        Args:
            num_rows: N.
            seed: Seeds the order.
            chances: `(N,)`, as in `BatchSampler`.
        """
        return BatchSampler(
            num_rows,
            self.batch_size,
            num_parts=self.num_processes * self.accumulate,
            rank=self.rank,
            world_size=self.num_processes,
            shuffle_seed=seed,
            chances=chances,
        )

    def load(
        self,
        dataset: ProductDataset,
        sampler: Sampler[tuple[int, np.ndarray]],
        *,
        persistent: bool = False,
    ) -> BatchLoader:
        """Return a loader of photos with worker processes."""
        part_size: int = sampler.part_size  # type: ignore[attr-defined]
        workers = self.workers(photo_bytes(dataset.store.input_size) * part_size)
        return BatchLoader(
            dataset,
            batch_size=None,
            sampler=sampler,
            num_workers=workers.number,
            prefetch_factor=workers.prefetch if workers.number else None,
            multiprocessing_context=start_method() if workers.number else None,
            persistent_workers=persistent and workers.number > 0,
            pin_memory=torch.cuda.is_available(),
        )


def photo_bytes(input_size: int) -> int:
    """Return what a photo takes as the network sees it, in bytes."""
    return input_size * input_size * 3
