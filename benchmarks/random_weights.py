"""Random weights by which a deep network can be exported and timed."""

import torch

from fashion.models.backbone import BATCH_NORMS
from fashion.models.heads import names_of_heads
from fashion.models.network import PhotoClassifier


@torch.no_grad()
def spread_out(network: PhotoClassifier, photos: torch.Tensor) -> None:
    """Have a network of random weights tell photos apart, so that rounding stays rounding.

    In a deep one photos end up all but alike, or, if each layer makes the most of what parts them,
    far from each other by chance: what is rounded off decides. With BatchNorms that keep what
    photos share, and weights a little above zero in their mean, it does neither. Its logits of
    these photos are of mean 0 and deviation 2.
    """
    modules = dict(network.eval().backbone.named_modules())
    hooks = []
    for module in modules.values():
        if isinstance(module, torch.nn.Conv2d):
            module.weight.mul_(0.9).add_(module.weight.abs() / 9)
        elif isinstance(module, BATCH_NORMS):
            hooks.append(module.register_forward_pre_hook(take_scale))
    network(photos)
    for hook in hooks:
        hook.remove()
    heads = [modules[name] for name in names_of_heads(network.backbone)]
    for head in heads:
        head.bias.zero_()
    logits = network(photos)
    scale = 2 / logits.std(dim=0).mean()
    for head in heads:
        head.weight.mul_(scale)
        head.bias.copy_((-scale * logits.mean(dim=0)).reshape(head.bias.shape))


def take_scale(batch_norm: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
    """Have a BatchNorm scale its inputs, and leave their mean in them."""
    batch_norm.running_mean.zero_()
    batch_norm.running_var.copy_(inputs[0].square().mean(dim=(0, 2, 3)))
