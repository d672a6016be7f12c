"""From uint8 photos to logits: normalisation, a timm network and its head."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fashion.attributes import Heads
from fashion.models.backbone import (
    build_backbone,
    check_unfreeze,
    normalisation,
    normalise,
    set_trainable,
)

# What fills tensors with random numbers, or turns such numbers into others.
RANDOM_FILLS = (
    *(nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_),
    *(Tensor.uniform_, Tensor.normal_, Tensor.erfinv_),
)


class PhotoClassifier(nn.Module):
    """A partly frozen timm network that classifies uint8 photos.

    Args:
        class_names: The K labels in the order of their targets.
        backbone: timm's name, with the tag of its weights.
        pretrained: Start from timm's published weights.
        weights: A `.safetensors` file, or a folder of them, to start from instead.
        input_size: Side of the input, in pixels.
        unfreeze: Regular expressions over parameter names, `all`, or an empty list for the head
            alone.
        dropout: Drop rate before the head, in [0, 1).
        attributes: What it tells beside them, see `fashion.attributes.Heads`.

    Raises:
        ValueError: A setting is out of range; see also `build_backbone` and `set_trainable`.

    Attributes:
        heads: What its outputs stand for.
        backbone: The timm network, head included; the heads of attributes are rows of its weights.
        input_size: As given.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        class_names: Sequence[str],
        *,
        backbone: str,
        pretrained: bool,
        weights: str | None,
        input_size: int,
        unfreeze: str | Sequence[str],
        dropout: float,
        attributes: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__()
        check_rate("dropout", dropout)
        if pretrained or weights:
            check_unfreeze(backbone, unfreeze)
        self.class_names = list(class_names)
        self.heads = Heads.of(class_names, attributes)
        self.input_size = input_size
        self.backbone = build_backbone(
            backbone,
            self.heads.width,
            pretrained=pretrained,
            weights=weights,
            input_size=input_size,
            dropout=dropout,
        )
        set_trainable(self.backbone, unfreeze)
        # The layout the photos come in; the type stub of Module.to lacks the argument.
        self.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        mean, std = normalisation(backbone)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    @classmethod
    def restore(cls, checkpoint: Mapping[str, Any]) -> Self:
        """Rebuild the model of a run from its checkpoint, in evaluation mode.

        Args:
            checkpoint: As `fashion.models.checkpoints.read` returns it.

        Raises:
            ValueError: Its weights aren't those of its model.
        """
        settings = {**checkpoint["hyper_parameters"], "pretrained": False, "weights": None}
        arguments = inspect.signature(cls).parameters
        with _Unfilled():
            model = cls(**{key: value for key, value in settings.items() if key in arguments})
        try:
            model.load_state_dict(checkpoint["state_dict"])
        except RuntimeError as error:
            raise ValueError(
                f"A checkpoint's weights don't fit its own model {settings['backbone']!r} "
                f"({' '.join(str(error).split())[:200]}). Pass another one."
            ) from error
        return model.eval()

    def forward(self, photos: Tensor) -> Tensor:
        """Return logits `(B, W)` for uint8 `photos` `(B, 3, H, W)`, of the network as a whole."""
        logits: Tensor = self.backbone(normalise(photos, self.mean, self.std))
        return logits


def check_rate(key: str, value: object) -> None:
    """Refuse what is no rate in [0, 1).

    Raises:
        ValueError: Names `model.<key>`.
    """
    if not (isinstance(value, (int, float)) and 0 <= value < 1):
        raise ValueError(f"model.{key}={value!r} must be at least 0 and less than 1.")


class _Unfilled(TorchFunctionMode):
    """Draws no random weights, where a checkpoint's are about to take the place of all."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        kwargs = kwargs or {}
        if func in RANDOM_FILLS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)
