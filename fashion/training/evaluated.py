"""What evaluation steps return: moved to the host as it comes, and put in order there."""

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from fashion.data.batches import PADDING

BLOCK = 2**24  # logits that are computed with at a time


class Evaluated:
    """Keeps what steps return, `logits` `(B, K)`, `targets` and `rows` `(B,)`, on the host.

    A step's tensors are taken once the next step is on its way, so that the device never waits.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._steps: list[dict[str, Tensor]] = []
        self._coming: tuple[dict[str, Tensor], Any] | None = None
        self._group: Any = None  # of processes' own memory, whatever the devices talk by

    def add(self, outputs: dict[str, Tensor]) -> None:
        """Have a step's tensors come, and take those of the step before."""
        copied = None
        if outputs["logits"].is_cuda:
            outputs = {name: part.to("cpu", non_blocking=True) for name, part in outputs.items()}
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record()  # type: ignore[no-untyped-call]
        self._take()
        self._coming = outputs, copied

    def _take(self) -> None:
        if self._coming is None:
            return
        outputs, copied = self._coming
        self._coming = None
        if copied is not None:
            copied.synchronize()
            # Out of memory that is locked for the device.
            outputs = {name: part.clone() for name, part in outputs.items()}
        self._steps.append({name: part.cpu() for name, part in outputs.items()})

    def clear(self) -> None:
        """Forget what was added."""
        self._steps, self._coming = [], None

    def collect(
        self, num_processes: int = 1, *, in_all: bool = True
    ) -> tuple[Tensor, Tensor, Tensor] | None:
        """Hand over what was added since the last call, once for each row.

        Args:
            num_processes: How many have a share of each batch.
            in_all: Whether each of them is handed it, or the first one alone.

        Returns:
            Logits `(N, K)` float32, targets as in `Batch` and rows `(N,)` int64, in the order of
            the rows, from all processes, without padding; None where another process has it.
        """
        self._take()
        steps = self._steps
        self._steps = []
        targets, rows = (
            torch.cat(self._gathered(torch.cat([step[name] for step in steps]), num_processes))
            for name in ("targets", "rows")
        )
        order = rows.argsort()
        order = order[rows[order] != PADDING]
        places = torch.full_like(rows, PADDING)  # of each gathered row in the result
        places[order] = torch.arange(len(order))
        is_here = in_all or num_processes == 1 or dist.get_rank() == 0
        logits = torch.empty(len(order) if is_here else 0, steps[0]["logits"].shape[1])
        first, of_process = 0, places.view(num_processes, -1)
        while steps:  # each is let go as soon as it is in the result
            part = steps.pop(0)["logits"].float()
            for whose, gathered in enumerate(self._gathered(part, num_processes, in_all=in_all)):
                here = of_process[whose, first : first + len(part)]
                logits[here[here != PADDING]] = gathered[here != PADDING]
            first += len(part)
        return (logits, targets[order], rows[order]) if is_here else None

    def _gathered(self, part: Tensor, num_processes: int, *, in_all: bool = True) -> list[Tensor]:
        """Return the part of each process, which are alike in shape; none where it isn't wanted."""
        if num_processes == 1:
            return [part]
        if self._group is None:
            self._group = dist.new_group(backend="gloo")
        parts = [torch.empty_like(part) for _ in range(num_processes)]
        if in_all:
            dist.all_gather(parts, part, group=self._group)
        elif dist.get_rank() == 0:
            dist.gather(part, parts, group=self._group)
        else:
            dist.gather(part, group=self._group)
            return []
        return parts


def to_probabilities(logits: Tensor) -> Tensor:
    """Return the softmax of each row, `(N, K)`, in the place of the logits."""
    for part in torch.split(logits, max(1, BLOCK // logits.shape[1])):
        part.copy_(part.softmax(dim=1))
    return logits
