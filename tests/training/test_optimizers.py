import inspect
from copy import deepcopy
from functools import partial

import pytest
import torch
from torch import nn

from fashion.training.optimizers import (
    UNSUITED,
    check_optimizer,
    forget_device,
    fuse,
    settle_state,
)

CPU = torch.device("cpu")
ALL = {
    name: kind
    for name, kind in vars(torch.optim).items()
    if inspect.isclass(kind) and issubclass(kind, torch.optim.Optimizer)
}
ALL.pop("Optimizer")
SUITED = sorted(ALL.keys() - UNSUITED.keys())
MORE = {"SGD": {"momentum": 0.9}}


def builder(name, **settings):
    return partial(ALL[name], lr=1e-2, **MORE.get(name, {}), **settings)


def train(optimizer, parameters, steps, seed):
    torch.manual_seed(seed)
    for _ in range(steps):
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()


def fresh(seed=0):
    torch.manual_seed(seed)
    return [nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(4))]


def test_pytorch_has_the_optimisers_that_are_told_apart_here():
    assert len(SUITED) >= 12
    assert {"AdamW", "SGD", "Adagrad", "RAdam", "LBFGS"} <= ALL.keys()


@pytest.mark.parametrize("name", SUITED)
def test_an_optimiser_is_taken_and_fused_only_where_it_can_be(name):
    build, parameters = builder(name), fresh()
    check_optimizer(build)
    optimizer = build(parameters)
    fuse(optimizer, build, CPU)
    fused = optimizer.param_groups[0].get("fused")
    assert bool(fused) == (name in ("Adam", "AdamW", "SGD", "Adagrad"))
    train(optimizer, parameters, 2, 1)
    assert all(parameter.isfinite().all() for parameter in parameters)


def test_an_optimiser_without_a_fused_step_on_the_device_is_left_as_it_is():
    class Unfused(torch.optim.SGD):
        def step(self, closure=None):
            if self.param_groups[0]["fused"]:
                raise RuntimeError("there is no fused step on this device")
            super().step(closure)

    build = partial(Unfused, lr=0.1)
    optimizer = build(fresh())
    fuse(optimizer, build, CPU)
    assert optimizer.param_groups[0]["fused"] is None


def test_what_the_user_chose_stays():
    build = builder("AdamW", fused=False)
    optimizer = build(fresh())
    fuse(optimizer, build, CPU)
    assert optimizer.param_groups[0]["fused"] is False


@pytest.mark.parametrize("was_fused", [False, True])
@pytest.mark.parametrize("name", SUITED)
def test_a_checkpoint_of_another_device_goes_on_as_if_it_were_of_this_one(name, was_fused):
    """The groups keep the flags of the other, and counts of steps lie where they lay there."""
    build, weights = builder(name), fresh()
    unbroken = build(weights)
    train(unbroken, weights, 2, 1)
    state = deepcopy(unbroken.state_dict())
    copies = [nn.Parameter(weight.detach().clone()) for weight in weights]
    asked = [
        {key: value for key, value in group.items() if key != "params"}
        for group in unbroken.param_groups
    ]
    for group in state["param_groups"]:
        group |= {key: was_fused for key in ("fused", "capturable") if key in group}
    resumed = build(copies)
    forget_device([state])
    resumed.load_state_dict(state)
    assert not getattr(resumed, "_need_device_dtype_check_for_fused", False)
    for group, settings in zip(resumed.param_groups, asked, strict=True):
        group |= settings
    for each in resumed.state.values():
        if isinstance(each.get("step"), torch.Tensor):
            each["step"] = each["step"].double()
    settle_state(resumed)
    train(unbroken, weights, 2, 2)
    train(resumed, copies, 2, 2)
    for weight, copy in zip(weights, copies, strict=True):
        torch.testing.assert_close(copy, weight, rtol=0, atol=0)


def test_counts_of_steps_lie_with_the_weights_where_a_step_is_fused():
    meta = nn.Parameter(torch.zeros(2, device="meta"))
    optimizer = torch.optim.AdamW([meta], lr=0.1)
    optimizer.state[meta] = {"step": torch.tensor(3.0)}
    settle_state(optimizer)
    assert optimizer.state[meta]["step"].device.type == "cpu"
    optimizer.param_groups[0]["fused"] = True
    settle_state(optimizer)
    assert optimizer.state[meta]["step"].device.type == "meta"
    optimizer.state[meta]["step"] = torch.tensor(3.0)
    optimizer.param_groups[0] |= {"fused": False, "capturable": True}
    settle_state(optimizer)
    assert optimizer.state[meta]["step"].device.type == "meta"


@pytest.mark.parametrize("name", sorted(UNSUITED))
def test_an_optimiser_that_trains_no_network_here_is_refused(name):
    if name in ALL:  # some came in a later release
        with pytest.raises(ValueError, match=rf"_target_=torch\.optim\.{name} .* torch\.optim\."):
            check_optimizer(partial(ALL[name], lr=1e-3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": "abc"}, r"model\.optimizer\.lr='abc' must be a number"),
        ({"lr": None}, r"model\.optimizer\.lr=None must be a number"),
        ({"lr": -1}, r"can't be built: Invalid learning rate: -1"),
        ({"lr": float("nan")}, r"can't be built: Invalid learning rate: nan"),
        ({"lr": float("inf")}, r"model\.optimizer\.lr=inf must be a finite number"),
        ({"weight_decay": "x"}, r"model\.optimizer\.weight_decay='x' must be a number"),
        ({"foo": 1}, r"can't be built: .*'foo'"),
    ],
)
def test_a_setting_that_an_optimiser_does_not_take_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        check_optimizer(partial(torch.optim.AdamW, **settings))


@pytest.mark.parametrize("name", SUITED)
def test_averages_of_another_order_in_memory_are_those_of_the_same_weights(name):
    def steps(parameter, optimizer, seed):
        torch.manual_seed(seed)
        for _ in range(2):
            parameter.grad = torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last)
            optimizer.step()

    def fused():
        optimizer = build([weight := nn.Parameter(images.clone())])
        fuse(optimizer, build, CPU)
        return weight, optimizer

    images = torch.ones(4, 3, 3, 3).to(memory_format=torch.channels_last)
    build = builder(name)
    weight, unbroken = fused()
    steps(weight, unbroken, 1)
    copy, resumed = fused()
    state = deepcopy(unbroken.state_dict())
    for kept in state["state"].values():  # as XLA keeps them
        kept |= {key: each.contiguous() for key, each in kept.items() if torch.is_tensor(each)}
    resumed.load_state_dict(state)
    copy.data.copy_(weight.data)
    settle_state(resumed)
    for parameter, optimizer in ((weight, unbroken), (copy, resumed)):
        steps(parameter, optimizer, 2)
    torch.testing.assert_close(copy, weight, rtol=0, atol=0)
