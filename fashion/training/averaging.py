"""WeightAverage: the moving average of the trained weights, validated and kept in their place."""

from collections.abc import Callable
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.hooks import RemovableHandle

TRAINED = "trained_weights"  # of a checkpoint whose state_dict holds the average


class WeightAverage(Callback):
    """Averages what trains over the steps, and has the average validated and kept.

    In step `n`, from 0, the average comes `1 - min(decay, (1 + n) / (10 + n))` of the way to the
    weights, the schedule of TensorFlow's ExponentialMovingAverage; the running statistics of
    BatchNorm are averaged alike. A checkpoint's `state_dict` is the average, so that it predicts as
    it was validated; a resumed run goes on from the weights beside it.

    Args:
        decay: In [0, 1); 0 averages nothing.

    Raises:
        ValueError: `decay` is none.
    """

    def __init__(self, decay: float = 0.0) -> None:
        if isinstance(decay, bool) or not (isinstance(decay, (int, float)) and 0 <= decay < 1):
            raise ValueError(
                f"callbacks.averaging.decay={decay!r} must be at least 0 and less than 1."
            )
        self.decay = decay
        self.num_steps = 0
        self._weights: dict[str, Tensor] = {}  # of the model, while it is trained
        self._other: dict[str, Tensor] = {}  # the average, or what it takes the place of
        self._average_is_in_place = False
        self._hooks: list[RemovableHandle] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring the average to the device; without a checkpoint it starts from the weights."""
        if not self.decay:
            return
        self._weights = weights = trained_tensors(pl_module)
        strategy: Any = trainer.strategy
        send = getattr(strategy, "replicate", lambda part: part.to(strategy.root_device))
        start = self._other or {name: weight.detach().cpu() for name, weight in weights.items()}
        self._other = {name: send(start[name].clone()) for name in weights}
        self._average_is_in_place = False
        self._hooks = [
            # After a step that was taken, and in its graph on XLA.
            optimizer.register_step_post_hook(lambda *_: self._update(send))
            for optimizer in trainer.optimizers
        ]

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the average."""
        self._put_average_in_place(True)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on with the weights."""
        self._put_average_in_place(False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the average in the model."""
        self._put_average_in_place(True)
        while self._hooks:
            self._hooks.pop().remove()

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store the average as the model, and the weights beside it."""
        if not self._other:
            return
        model = checkpoint["state_dict"]
        checkpoint[TRAINED] = self._other
        if not self._average_is_in_place:
            checkpoint[TRAINED] = {name: model[name] for name in self._other}
            checkpoint["state_dict"] = {**model, **self._other}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on from both, or without a decay from the weights alone."""
        if trainer.state.fn == "fit" and TRAINED in checkpoint:
            trained = checkpoint[TRAINED]
            if self.decay:
                self._other = {name: checkpoint["state_dict"][name] for name in trained}
            pl_module.load_state_dict({**checkpoint["state_dict"], **trained})

    def state_dict(self) -> dict[str, Any]:
        """Return the steps taken, for a checkpoint."""
        return {"num_steps": self.num_steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.num_steps = state_dict["num_steps"]

    @torch.no_grad()
    def _update(self, send: Callable[[Tensor], Tensor]) -> None:
        decay = min(self.decay, (1 + self.num_steps) / (10 + self.num_steps))
        share = send(torch.tensor([1 - decay]))  # as data, or XLA would compile each step anew
        for name, weight in self._weights.items():
            average = self._other[name]
            average += share * (weight - average)
        self.num_steps += 1

    def _put_average_in_place(self, wanted: bool) -> None:
        """Exchange the storages of average and weights: nothing is computed or copied."""
        if self._hooks and wanted != self._average_is_in_place:
            for name, weight in self._weights.items():
                weight.data, self._other[name] = self._other[name], weight.data
            self._average_is_in_place = wanted


def trained_tensors(module: LightningModule) -> dict[str, Tensor]:
    """Return what training changes, by its name in the module's state: weights and statistics."""
    trained: dict[str, Tensor] = {
        name: weight for name, weight in module.named_parameters() if weight.requires_grad
    }
    for name, layer in module.named_modules():
        if isinstance(layer, _BatchNorm) and layer.track_running_stats:
            statistics = layer.named_buffers(name, recurse=False)
            trained |= {key: buffer for key, buffer in statistics if buffer.is_floating_point()}
    return trained
