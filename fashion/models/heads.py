"""Heads that compute logits in float32, whatever the network in front of them computes in.

Logits of 8 bits would tie where the features still tell classes apart, and a ranking metric counts
ties.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.autocast_mode import is_autocast_available


class Float32Linear(nn.Linear):
    """A linear layer that computes in its weights' own type under autocast, too."""

    def forward(self, features: Tensor) -> Tensor:
        """Return logits `(B, K)`."""
        with without_autocast(features.device):
            return super().forward(features.to(self.weight.dtype))


class Float32Conv2d(nn.Conv2d):
    """A convolution that computes in its weights' own type under autocast, too."""

    def forward(self, features: Tensor) -> Tensor:
        """Return logits `(B, K, H, W)`."""
        with without_autocast(features.device):
            return super().forward(features.to(self.weight.dtype))


FLOAT32_HEADS = (Float32Linear, Float32Conv2d)


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which a device computes in the types that tensors have."""
    # The compiler, which has autocast wherever it works, can't look into the question.
    if torch.compiler.is_compiling() or is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def names_of_heads(network: nn.Module) -> tuple[str, ...]:
    """Return the names of a timm network's heads; most have one."""
    cfg: Any = network.pretrained_cfg
    heads = cfg["classifier"] or ()
    return (heads,) if isinstance(heads, str) else tuple(heads)


def is_in_head(network: nn.Module, name: str) -> bool:
    """Return whether a tensor of a timm network belongs to a head, by its name."""
    return name.startswith(tuple(f"{head}." for head in names_of_heads(network)))


def replace_heads(network: nn.Module, names: Iterable[str]) -> None:
    """Put in the place of a network's heads such as compute in float32, with their parameters.

    All of timm's heads are linear layers or convolutions, or made of them.

    Args:
        network: Changed in place.
        names: Of its heads; one that it was built without is passed over.
    """
    modules = dict(network.named_modules())
    for name in names:
        within = [key for key in modules if key == name or key.startswith(f"{name}.")]
        for key in within:
            head = _in_float32(modules[key])
            if head is not None:
                parent, _, own_name = key.rpartition(".")
                setattr(modules[parent], own_name, head)


def _in_float32(layer: nn.Module) -> nn.Module | None:
    """Return a layer of the same parameters that computes in float32; None for other layers."""
    head: nn.Module
    if isinstance(layer, nn.Linear):
        head = Float32Linear(layer.in_features, layer.out_features, device="meta")
    elif type(layer) is nn.Conv2d:
        head = Float32Conv2d(
            *(layer.in_channels, layer.out_channels, layer.kernel_size),  # type: ignore[arg-type]
            *(layer.stride, layer.padding, layer.dilation, layer.groups),  # type: ignore[arg-type]
            padding_mode=layer.padding_mode,
            device="meta",
        )
    else:
        return None
    head.weight, head.bias = layer.weight, layer.bias
    return head.train(layer.training)
