"""Any of PyTorch's optimisers: checked before the work, fused where it can be, at home anywhere."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

Build = Callable[[Iterable[nn.Parameter]], Optimizer]
# Those that can't train a network as it is trained here, and why.
UNSUITED = {
    "LBFGS": "computes a step's loss several times",
    "SparseAdam": "takes sparse gradients alone",
    "Muon": "takes matrices alone, and networks have biases and convolutions",
}


def check_optimizer(build: Build | None) -> None:
    """Refuse an optimiser that can't be built, or that can't train a network here.

    Raises:
        ValueError: The sentence names the key.
    """
    if build is None:
        return
    if isinstance(build, partial):
        _check_settings(build)
    name = getattr(build.func if isinstance(build, partial) else build, "__name__", "")
    if name in UNSUITED:
        raise ValueError(
            f"model.optimizer._target_=torch.optim.{name} {UNSUITED[name]}; pass another, such as "
            "torch.optim.AdamW."
        )
    try:
        built = build([nn.Parameter(torch.zeros(1))])
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"model.optimizer can't be built: {error}.") from error
    rate = built.param_groups[0]["lr"]
    if not math.isfinite(rate):
        raise ValueError(f"model.optimizer.lr={rate!r} must be a finite number.")


def _check_settings(build: "partial[Optimizer]") -> None:
    for key, value in build.keywords.items():
        is_absent = value is None and key in ("lr", "weight_decay")
        if is_absent or isinstance(value, str):
            raise ValueError(f"model.optimizer.{key}={value!r} must be a number.")


def fuse(optimizer: Optimizer, build: Build, device: torch.device) -> None:
    """Have an optimiser compute in PyTorch's fastest way, where it takes that on the device.

    It takes it only where it is told to; what the user has chosen stays.
    """
    undecided = [group for group in optimizer.param_groups if group.get("fused", False) is None]
    if undecided and device.type in ("cpu", "cuda") and _can_fuse(build, device):
        for group in undecided:
            group["fused"] = True


def _can_fuse(build: Build, device: torch.device) -> bool:
    """Return whether a fused step works; which optimisers have one there depends on the release."""
    parameter = nn.Parameter(torch.zeros(1, device=device))
    trial = build([parameter])
    trial.param_groups[0]["fused"] = True
    parameter.grad = torch.zeros_like(parameter)
    try:
        trial.step()
    except (RuntimeError, NotImplementedError):
        return False
    return True


def forget_device(states: Sequence[dict[str, Any]]) -> None:
    """Have optimisers load a checkpoint's states without what its device had them do.

    Adagrad, once told that its step was fused, checks for ever whether the device has such a step.
    """
    for state in states:
        for group in state["param_groups"]:
            group |= {key: False for key in ("fused", "capturable") if key in group}


def settle_state(optimizer: Optimizer) -> None:
    """Bring what an optimiser has kept on another device to how this one wants it.

    Counts of steps lie with the weights where a step is fused or captured, and else on the host;
    on XLA those of Adam and its kin are the strategy's to place. Averages lie in memory as the
    weights do: PyTorch's fused step on a CPU goes through both in the order of their memory, and
    would take one weight's average for another's.
    """
    for group in optimizer.param_groups:
        is_on_device = bool(group.get("fused") or group.get("capturable"))
        for parameter in group["params"]:
            state: dict[str, Any] = optimizer.state.get(parameter, {})
            for key, value in state.items():
                if not isinstance(value, torch.Tensor):
                    continue
                if key == "step":
                    state[key] = value.float().to(parameter.device if is_on_device else "cpu")
                elif value.shape == parameter.shape and value.stride() != parameter.stride():
                    state[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
