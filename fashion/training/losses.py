"""The loss of several heads together."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from fashion.attributes import MISSING, Heads
from fashion.wording import many


def loss_of_heads(
    heads: Heads,
    logits: Tensor,
    targets: Tensor,
    shares: Sequence[float],
    *,
    label_smoothing: float,
    weight: Tensor | None = None,
) -> Tensor:
    """Return the weighted sum of the heads' cross-entropies, each the mean over all photos.

    A photo without a value adds 0 to a head's, so that processes may share a batch out as they
    like.

    Args:
        heads: What the logits stand for.
        logits: `(B, W)` float32.
        targets: `(B, H)`, or `(B,)` of one head.
        shares: How much each head weighs.
        label_smoothing: See `fashion.training.classifier.ProductClassifier`.
        weight: `(W,)` of the classes; None: all alike.
    """
    weights = [None] * len(heads.names)
    if weight is not None:
        weights = [of_head[0] for of_head in heads.outputs(weight[None])]
    losses = [
        share * _mean_loss(own, target, of_classes, label_smoothing)
        for own, target, share, of_classes in zip(
            heads.outputs(logits), heads.targets(targets), shares, weights, strict=True
        )
    ]
    return torch.stack(losses).sum()


def _mean_loss(
    logits: Tensor, targets: Tensor, weight: Tensor | None, label_smoothing: float
) -> Tensor:
    # The mean over photos, not over their weights, which would differ from part to part of a batch
    # that devices share.
    return F.cross_entropy(
        logits,
        targets,
        weight=weight,
        ignore_index=MISSING,
        label_smoothing=label_smoothing,
        reduction="none",
    ).mean()


def check_head_weights(
    weights: Sequence[float] | None, attributes: Mapping[str, Sequence[str]] | None
) -> None:
    """Refuse weights that are no numbers, one for the label and each attribute.

    Raises:
        ValueError: Names `model.head_weights`.
    """
    if weights is None:
        return
    number = 1 + len(attributes or {})
    is_list = isinstance(weights, (list, tuple)) and len(weights) == number
    if number == 1 or not is_list or not all(map(_is_weight, weights)) or weights[0] == 0:
        way_out = f"pass {number} numbers, none below 0 and the first above it"
        raise ValueError(
            f"model.head_weights={weights!r}, but data.label_column names "
            f"{many(number, 'column')}; {way_out if number > 1 else 'leave it out'}."
        )


def _is_weight(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf
