"""What torchrun or SLURM's srun has started this process for: one of several that train a run."""

import os
from typing import NamedTuple

from lightning import Trainer
from lightning.pytorch.plugins.environments import SLURMEnvironment

from fashion.wording import many


class Launch(NamedTuple):
    """One process of several, on one machine or more.

    Attributes:
        by: Who has started it, `torchrun` or `srun`.
        rank: Its number among all.
        world_size: How many there are.
        num_nodes: On how many machines.
    """

    by: str
    rank: int
    world_size: int
    num_nodes: int

    @classmethod
    def of_this_process(cls) -> "Launch | None":
        """Return what this process was started for; None where it is alone or starts others."""
        if "TORCHELASTIC_RUN_ID" in os.environ:
            names = ("RANK", "WORLD_SIZE", "GROUP_WORLD_SIZE")
            launch = cls("torchrun", *(int(os.environ[name]) for name in names))
        elif "SLURM_NTASKS" in os.environ:
            if SLURMEnvironment.job_name() in ("bash", "interactive"):  # as Lightning tells it
                return None
            names = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_NNODES")
            launch = cls("srun", *(int(os.environ.get(name, "1")) for name in names))
        else:
            return None
        return launch if launch.world_size > 1 else None

    def check(self, trainer: Trainer) -> None:
        """Check that a trainer takes the processes that there are.

        Raises:
            ValueError: It takes others, and would wait for them or train alone.
        """
        taken = trainer.num_nodes * trainer.num_devices
        if taken == trainer.world_size == self.world_size:
            return
        here = self.world_size // self.num_nodes
        raise ValueError(
            f"trainer.num_nodes={trainer.num_nodes} trainer.devices={trainer.num_devices}: "
            f"{self.by} has started {self.world_size} processes, {here} on each of "
            f"{many(self.num_nodes, 'machine')}; pass trainer.num_nodes={self.num_nodes} "
            f"trainer.devices={here} trainer.strategy=ddp."
        )
