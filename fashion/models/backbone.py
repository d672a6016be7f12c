"""A timm network with a new head, and which of its layers train."""

import difflib
import re
from collections.abc import Sequence
from typing import Any

import timm
import torch
from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.utils import get_session
from timm.layers import BatchNormAct2d, FrozenBatchNormAct2d, freeze_batch_norm_2d
from timm.models import PretrainedCfg
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from fashion.models.heads import is_in_head, names_of_heads, replace_heads
from fashion.models.weights import find_weights, load_weights

BATCH_NORMS = (nn.modules.batchnorm._BatchNorm, BatchNormAct2d)
FROZEN_BATCH_NORMS = (FrozenBatchNorm2d, FrozenBatchNormAct2d)


def pretrained_cfg(backbone: str) -> PretrainedCfg:
    """Return timm's record of a backbone's published weights: mean, std, interpolation, classifier.

    Raises:
        ValueError: timm has no such model or no such weight tag.
    """
    architecture, _, tag = str(backbone).partition(".")
    if not timm.is_model(architecture):
        similar = difflib.get_close_matches(architecture, timm.list_models(), n=3)
        hint = f"Similar: {', '.join(similar)}" if similar else "timm.list_models() names all"
        raise ValueError(f"model.backbone={backbone!r} is not a timm model. {hint}.")
    tags = timm.list_pretrained(f"{architecture}.*")
    if tag and backbone not in tags:
        raise ValueError(
            f"model.backbone={backbone!r}: timm has no weights tagged {tag!r} for it. "
            f"Pass one of {', '.join([*tags, architecture])}."
        )
    return timm.get_pretrained_cfg(backbone) or PretrainedCfg()


def normalisation(backbone: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean and std that a backbone's weights expect, each `(1, 3, 1, 1)` in [0, 1]."""
    cfg = pretrained_cfg(backbone)
    mean, std = torch.tensor(cfg.mean), torch.tensor(cfg.std)
    return mean.reshape(1, 3, 1, 1), std.reshape(1, 3, 1, 1)


def normalise(photos: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """Return float32 images `(B, 3, H, W)` for uint8 `photos` of that shape."""
    return (photos.float() / 255 - mean) / std


def build_backbone(
    backbone: str,
    num_classes: int,
    *,
    pretrained: bool,
    weights: str | None = None,
    input_size: int | None = None,
    dropout: float = 0.0,
) -> nn.Module:
    """Build a timm network with a new head of `num_classes` outputs.

    Args:
        backbone: timm's name, with the tag of its weights if any.
        num_classes: K, the width of the head.
        pretrained: Load timm's published ImageNet weights (ignored where `weights` is given).
        weights: A `.safetensors` file with this backbone's weights under timm's keys, a run's
            checkpoint, or a folder that holds one; see `find_weights`. Its classifier, if it has
            one, is ignored, everything else must fit.
        input_size: Side of the input in pixels, for networks that are built for one size.
        dropout: Drop rate before the head, in [0, 1).

    Raises:
        FileNotFoundError: `find_weights` finds none.
        ValueError: The name is unknown, or the weights don't fit it.
        ConnectionError: The published weights can't be fetched.
    """
    cfg = pretrained_cfg(backbone)
    options = _options(cfg, num_classes, input_size, dropout)
    if weights is not None:
        path = find_weights(backbone, weights)
        network = _create(backbone, **options)
        load_weights(network, backbone, path)
        return network
    if not pretrained:
        return _create(backbone, **options)
    _check_published(backbone, cfg)
    try:
        _reach_hub(cfg)
        return _create(backbone, pretrained=True, **options)
    except Exception as error:  # the hub's clients raise many unrelated types
        raise _not_fetched(backbone, cfg, error) from error


def plain_network(backbone: str, num_classes: int, input_size: int | None = None) -> nn.Module:
    """Return a network just as timm builds it, with random weights, on the host.

    Args:
        backbone: timm's name.
        num_classes: K, the width of the head.
        input_size: See `build_backbone`.

    Raises:
        ValueError: The name is unknown.
    """
    options = _options(pretrained_cfg(backbone), num_classes, input_size)
    network: nn.Module = timm.create_model(backbone, **options)
    return network


def check_hub(backbone: str) -> None:
    """Check that a backbone's published weights are here already or can be asked for.

    Raises:
        ConnectionError: They aren't, and their hub doesn't answer within 10 seconds.
        ValueError: There are none.
    """
    cfg = pretrained_cfg(backbone)
    _check_published(backbone, cfg)
    try:
        _reach_hub(cfg)
    except Exception as error:
        raise _not_fetched(backbone, cfg, error) from error


def head_names(network: nn.Module) -> list[str]:
    """Return the names of the head's parameters in a timm network."""
    return [name for name, _ in network.named_parameters() if is_in_head(network, name)]


def check_unfreeze(backbone: str, unfreeze: str | Sequence[str]) -> None:
    """Check `unfreeze` against a backbone's names, before any weights are fetched or read.

    Raises:
        ValueError: As `set_trainable` and `pretrained_cfg`.
    """
    with torch.device("meta"):  # where a network takes no memory, and chance isn't drawn from
        network = build_backbone(backbone, 2, pretrained=False)
    _trainable_names(network, unfreeze)


def set_trainable(network: nn.Module, unfreeze: str | Sequence[str]) -> None:
    """Freeze a timm network but for its head and the parameters that `unfreeze` names.

    A BatchNorm whose parameters are all frozen becomes a fixed affine map (timm's FrozenBatchNorm),
    so that its statistics stay as they are in train mode too.

    Args:
        network: A timm network, changed in place.
        unfreeze: Regular expressions searched in parameter names, or `all`; an empty list trains
            the head alone.

    Raises:
        ValueError: An expression is malformed or matches no parameter.
    """
    trainable = _trainable_names(network, unfreeze)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in trainable)
    _fix_frozen_batch_norms(network)


def count_trainable(network: nn.Module) -> dict[str, int]:
    """Count the trainable parameters: `backbone` (without the head) and `head`."""
    in_head = set(head_names(network))
    counts = {"backbone": 0, "head": 0}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            counts["head" if name in in_head else "backbone"] += parameter.numel()
    return counts


def count_parameters(network: nn.Module) -> int:
    """Count all parameters, those of fixed BatchNorms included."""
    count = sum(parameter.numel() for parameter in network.parameters())
    for module in network.modules():
        if isinstance(module, FROZEN_BATCH_NORMS):
            count += module.get_buffer("weight").numel() + module.get_buffer("bias").numel()
    return count


def _options(
    cfg: PretrainedCfg, num_classes: int, input_size: int | None, dropout: float = 0.0
) -> dict[str, Any]:
    options: dict[str, Any] = {"num_classes": num_classes, "drop_rate": dropout}
    if cfg.fixed_input_size and input_size:
        options["img_size"] = input_size
    return options


def _create(backbone: str, **options: Any) -> nn.Module:
    network: nn.Module = timm.create_model(backbone, **options)
    replace_heads(network, names_of_heads(network))
    return network


def _check_published(backbone: str, cfg: PretrainedCfg) -> None:
    if not cfg.has_weights:
        raise ValueError(
            f"model.pretrained=true, but timm publishes no weights for "
            f"model.backbone={backbone!r}. Pass "
            "model.weights=FILE.safetensors, or model.pretrained=false to start from random "
            "weights."
        )


def _not_fetched(backbone: str, cfg: PretrainedCfg, error: Exception) -> ConnectionError:
    return ConnectionError(
        f"model.pretrained=true: the weights of {backbone} could not be fetched from "
        f"{cfg.hf_hub_id or cfg.url} "
        f"({type(error).__name__}). Pass model.weights=FILE.safetensors for a local file, or "
        "model.pretrained=false to start from random weights."
    )


def _reach_hub(cfg: PretrainedCfg) -> None:
    """Fail within seconds where timm's own download would retry for most of a minute."""
    if cfg.hf_hub_id and not try_to_load_from_cache(cfg.hf_hub_id, "model.safetensors"):
        get_session().head(f"{constants.ENDPOINT}/{cfg.hf_hub_id}", timeout=10)


def _trainable_names(network: nn.Module, unfreeze: str | Sequence[str]) -> set[str]:
    names = [name for name, _ in network.named_parameters()]
    if unfreeze == "all":
        return set(names)
    return set(head_names(network)) | _match(names, unfreeze)


def _match(names: Sequence[str], patterns: str | Sequence[str]) -> set[str]:
    if isinstance(patterns, str) or not isinstance(patterns, Sequence):
        raise ValueError(
            f"model.unfreeze={patterns!r} is neither all nor a list of regular expressions."
        )
    chosen: set[str] = set()
    for pattern in patterns:
        try:
            hits = {name for name in names if re.search(pattern, name)}
        except re.error as error:
            raise ValueError(
                f"model.unfreeze: {pattern!r} is no regular expression ({error})."
            ) from error
        if not hits:
            raise ValueError(
                f"model.unfreeze: {pattern!r} matches none of the {len(names)} parameters, which "
                f"are called like {names[0]!r} or {names[-1]!r}. Correct it, or pass "
                "model.unfreeze=all."
            )
        chosen |= hits
    return chosen


def _fix_frozen_batch_norms(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, BATCH_NORMS):
            # One without an affine part goes with the layers around it.
            parameters = list(child.parameters()) or list(module.parameters())
            if not any(parameter.requires_grad for parameter in parameters):
                setattr(module, name, freeze_batch_norm_2d(child))  # type: ignore[no-untyped-call]
        else:
            _fix_frozen_batch_norms(child)
