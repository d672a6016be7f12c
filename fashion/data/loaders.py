"""How a global batch is shared out among devices, processes and parts, and loaders of that."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning import Trainer
from torch.utils.data import Dataset, Sampler

from fashion.cores import usable_cores
from fashion.data.batches import Batch, BatchLoader, BatchSampler, start_method

MAX_WORKERS = 8


@dataclass(frozen=True)
class BatchPlan:
    """How the photos of one optimiser step are shared out.

    Attributes:
        batch_size: Photos of one step, over all devices and processes.
        num_workers: Loader processes of each process; None takes one less than its share of the
            cores, 1 to 8.
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

    @property
    def workers(self) -> int:
        """The loader processes that this process starts."""
        if self.num_workers is not None:
            return self.num_workers
        return min(MAX_WORKERS, max(1, usable_cores() // self.processes_here - 1))

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
        dataset: Dataset[Batch],
        sampler: Sampler[tuple[int, np.ndarray]],
        *,
        persistent: bool = False,
    ) -> BatchLoader:
        """Return a loader of photos with worker processes."""
        workers = self.workers
        return BatchLoader(
            dataset,
            batch_size=None,
            sampler=sampler,
            num_workers=workers,
            multiprocessing_context=start_method() if workers else None,
            persistent_workers=persistent and workers > 0,
            pin_memory=torch.cuda.is_available(),
        )
