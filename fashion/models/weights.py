"""Weights that a user has: found, read, and fitted to a timm network, whose head stays new."""

import logging
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from fashion.models import checkpoints
from fashion.models.heads import is_in_head

PREFIX = "backbone."  # of the network's weights in a checkpoint
State = Mapping[str, torch.Tensor]
log = logging.getLogger(__name__)


def find_weights(backbone: str, weights: str) -> Path:
    """Return the file of a backbone's weights.

    In a folder it is `<timm's name>.safetensors`, with or without the tag:
    `resnet50.tv_in1k.safetensors` goes before `resnet50.safetensors`, so that one folder serves all
    models of a sweep. In a run's folder it is the run's best checkpoint.

    Raises:
        FileNotFoundError: There is none.
    """
    path = Path(weights)
    if not path.is_dir():
        if path.is_file():
            return path
        raise FileNotFoundError(
            f"model.weights={weights!r} does not exist; pass a .safetensors file or a folder of "
            "them, or a run's checkpoints/best.ckpt."
        )
    names = dict.fromkeys((f"{backbone}.safetensors", f"{backbone.split('.')[0]}.safetensors"))
    for name in (*names, checkpoints.BEST):
        if (path / name).is_file():
            return path / name
    raise FileNotFoundError(
        f"model.weights={weights!r} holds no {' or '.join(names)}; put the weights of {backbone} "
        "there, or pass their file."
    )


def check_weights(backbone: str, weights: str) -> Path:
    """Return what `find_weights` does, once it is known not to be another backbone's checkpoint.

    Raises:
        FileNotFoundError: As there.
        ValueError: The checkpoint is damaged, or another backbone's.
    """
    path = find_weights(backbone, weights)
    if zipfile.is_zipfile(path):
        _of_checkpoint(backbone, path)
    return path


def load_weights(network: nn.Module, backbone: str, path: Path) -> None:
    """Fill a timm network but for its head from a safetensors file or a run's checkpoint.

    What depends on the size of the input, such as the position embeddings of a vision transformer,
    is resampled to the network's as timm does with the weights that it publishes.

    Args:
        network: As timm built it, changed in place.
        backbone: timm's name of it.
        path: See `find_weights`.

    Raises:
        ValueError: The file is damaged, or its weights don't fit the network.
    """
    if zipfile.is_zipfile(path):
        state, source = _of_checkpoint(backbone, path)
    else:
        state, source = _of_safetensors(path), "the file"
    own = network.state_dict()
    state = _resampled(network, backbone, state, path)
    state = {key: value for key, value in state.items() if not is_in_head(network, key)}
    _check_fit(backbone, path, state, {k: v for k, v in own.items() if not is_in_head(network, k)})
    network.load_state_dict(state, strict=False)
    log.info(
        "model.weights=%s: all %d tensors of %s before the head come from %s; the head is new",
        *(path, len(state), backbone, source),
    )


def _of_safetensors(path: Path) -> State:
    try:
        state: State = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"model.weights={str(path)!r} is not a complete safetensors file ({error}), nor a "
            "run's checkpoint. Pass one that is."
        ) from error
    return state


def _of_checkpoint(backbone: str, path: Path) -> tuple[State, str]:
    """Return the network's weights in a checkpoint, and whose they are, in words."""
    checkpoint = checkpoints.read(path, key="model.weights")
    settings = checkpoint["hyper_parameters"]
    if settings["backbone"] != backbone:
        raise ValueError(
            f"model.weights={str(path)!r} is a checkpoint of {settings['backbone']}, not of "
            f"model.backbone={backbone!r}. Pass model.backbone={settings['backbone']}, or another "
            "file."
        )
    state = {
        key.removeprefix(PREFIX): value
        for key, value in checkpoint["state_dict"].items()
        if key.startswith(PREFIX)
    }
    return state, f"a model of {_few(settings['class_names'])}"


def _few(names: Iterable[str], most: int = 3) -> str:
    names = list(names)
    more = f" and {len(names) - most} more classes" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _resampled(network: nn.Module, backbone: str, state: State, path: Path) -> State:
    """Return weights at the network's input size, where timm knows how."""
    resample = _filter_of(network, backbone)
    if resample is None:
        return state
    try:
        return resample(dict(state), network)
    except Exception as error:  # timm's functions look at few things before they compute
        raise ValueError(
            f"model.weights={str(path)!r} does not fit model.backbone={backbone!r}: timm can't "
            f"bring it to the network's size ({' '.join(str(error).split())[:200]}). Pass the "
            f"weights of {backbone}, with timm's keys."
        ) from error


def _filter_of(network: nn.Module, backbone: str) -> Callable[[Any, nn.Module], State] | None:
    """Return what timm passes published weights of a network through, if it has that."""
    entrypoint = timm.model_entrypoint(backbone.partition(".")[0])
    for owner in (entrypoint.__module__, type(network).__module__):
        if hasattr(sys.modules[owner], "checkpoint_filter_fn"):
            return sys.modules[owner].checkpoint_filter_fn  # type: ignore[no-any-return]
    return None


def _check_fit(backbone: str, path: Path, state: State, own: State) -> None:
    # Batch counters matter to no fixed momentum; converted weights often lack them.
    missing = sorted(
        key for key in own.keys() - state.keys() if not key.endswith("num_batches_tracked")
    )
    surplus = sorted(state.keys() - own.keys())
    misfits = sorted(k for k in own.keys() & state.keys() if own[k].shape != state[k].shape)
    way_out = f"Pass the weights of {backbone}, with timm's keys"
    for what, keys, other in (
        ("lacks", missing, ""),
        ("also holds", surplus, ""),
        ("has other shapes for", misfits, ", or the model.input_size that these are for"),
    ):
        if keys:
            raise ValueError(
                f"model.weights={str(path)!r} does not fit model.backbone={backbone!r}: it "
                f"{what} {len(keys)} tensors, {keys[0]!r} first. {way_out}{other}."
            )
