"""What the processes of a run on several machines see to together."""

from pathlib import Path
from typing import Any

from lightning import Trainer
from torch.distributed import all_gather_object

from fashion.data.datamodule import FashionDataModule
from fashion.models import checkpoints
from fashion.training.classifier import ProductClassifier


def check_alike(
    trainer: Trainer, datamodule: FashionDataModule, checkpoint: dict[str, Any] | None
) -> None:
    """Check that all processes train on the same splits, from the same point on.

    Args:
        trainer: Of processes that were started together; they meet here.
        datamodule: After `setup`.
        checkpoint: What this process goes on from.

    Raises:
        ValueError: In all of them, when one differs from the first.
    """
    trainer.strategy.setup_environment()
    own = {
        "the splits of data.root": datamodule.splits.sha256(),
        "ckpt_path": checkpoint and (checkpoint["global_step"], len(checkpoint["run"]["epochs"])),
    }
    everyone: list[Any] = [None] * trainer.world_size
    all_gather_object(everyone, own)
    for rank, other in enumerate(everyone):
        different = [what for what in own if other[what] != everyone[0][what]]
        if different:
            raise ValueError(
                f"On process {rank} of {trainer.world_size} {' and '.join(different)} differ from "
                "the first one's. Pass a data.root of the same content on all machines, "
                "and a hydra.run.dir on a disk that they share."
            )


def load_for_all(trainer: Trainer, classifier: ProductClassifier, ckpt_path: Path) -> bool:
    """Load a checkpoint's weights as the first process reads them, and return whether it is there.

    Another machine may not see yet what the first has written.
    """
    is_there = trainer.is_global_zero and ckpt_path.exists()
    state = checkpoints.read(ckpt_path)["state_dict"] if is_there else None
    state = trainer.strategy.broadcast(state)
    if state is not None:
        classifier.load_state_dict(state)
    return state is not None
