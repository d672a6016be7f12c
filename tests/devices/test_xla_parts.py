"""The parts that Lightning gets for XLA, one at a time, on XLA's CPU device in this process.

PyTorch's autograd knows no device that appears after its first backward pass, so `test_xla.py` runs
this file in a process of its own.
"""

import copy
import importlib.util
import logging
import os
from types import SimpleNamespace

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn
from torch.nn import functional as F

from fashion.models.backbone import build_backbone, set_trainable

pytestmark = [
    pytest.mark.tpu,
    pytest.mark.skipif(not importlib.util.find_spec("torch_xla"), reason="torch_xla is missing"),
    pytest.mark.skipif(
        "FASHION_XLA_PROCESS" not in os.environ, reason="test_xla.py runs it in another process"
    ),
]
PLANS = [[], ["^conv1"], [r"^layer2\.0\.conv1"], ["^layer4", "^bn1"], "all"]


@pytest.fixture(scope="module")
def strategy():
    """The strategy for a single device; nothing of Lightning runs around it."""
    from lightning.pytorch.plugins import Precision

    from fashion.devices.xla import XLAStrategy

    return XLAStrategy(spmd=False, precision_plugin=Precision())


@pytest.fixture
def on_device(strategy):
    """Returns move(module), which moves it as a run does, and gives hooks back at the end."""

    def move(module):
        strategy.model = module
        strategy.model_to_device()
        return module

    yield move
    while strategy._hooks:
        strategy._hooks.pop().remove()


def images(count=4, size=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, size, size, generator=generator)


def network(unfreeze, backbone="test_resnet"):
    torch.manual_seed(0)
    net = build_backbone(backbone, 3, pretrained=False)
    for module in net.modules():  # statistics that differ from those of any batch
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
    set_trainable(net, unfreeze)
    return net


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, BatchNormAct2d])
def test_running_statistics_are_those_of_pytorch(kind, on_device):
    torch.manual_seed(0)
    host = kind(5)
    device = on_device(copy.deepcopy(host))
    for step in range(3):
        photos = torch.randn(4, 5, 2, 3, generator=torch.Generator().manual_seed(step)) * 3 + 1
        expected = host(photos)
        torch.testing.assert_close(device(photos.to("xla")).cpu(), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(device.running_mean.cpu(), host.running_mean)
    torch.testing.assert_close(device.running_var.cpu(), host.running_var)
    assert device.num_batches_tracked.cpu() == 3
    before = host.running_var.clone()
    device.eval()(photos.to("xla"))
    torch.testing.assert_close(device.running_var.cpu(), before)


@pytest.mark.parametrize("backbone", ["test_resnet", "test_efficientnet"])
def test_the_frozen_side_is_the_same_in_train_and_eval_mode(backbone, on_device):
    net = on_device(network([], backbone))
    state = {name: value.cpu() for name, value in net.state_dict().items()}
    photos = images().to("xla")
    with torch.no_grad():
        trained = net.train().forward_features(photos).cpu()
        evaluated = net.eval().forward_features(photos).cpu()
    assert torch.equal(trained, evaluated)
    assert all(torch.equal(value.cpu(), state[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("unfreeze", PLANS, ids=str)
def test_gradients_of_any_unfreeze_plan_are_the_cpu_s(unfreeze, on_device):
    import torch_xla

    host = network(unfreeze)
    device = on_device(network(unfreeze))
    targets = torch.tensor([0, 1, 2, 1])
    F.cross_entropy(host.train()(images()), targets).backward()
    F.cross_entropy(device.train()(images().to("xla")), targets.to("xla")).backward()
    torch_xla.sync()
    trained = 0
    for (name, parameter), other in zip(host.named_parameters(), device.parameters(), strict=True):
        assert (parameter.grad is None) == (other.grad is None) == (not parameter.requires_grad)
        if parameter.grad is not None:
            trained += 1
            scale = parameter.grad.abs().max().item()
            torch.testing.assert_close(
                other.grad.cpu(), parameter.grad, atol=1e-3 * scale, rtol=1e-3, msg=name
            )
    assert trained > 1


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (torch.optim.AdamW, {}),
        (torch.optim.AdamW, {"amsgrad": True}),
        (torch.optim.Adam, {"weight_decay": 0.01}),
        (torch.optim.SGD, {"momentum": 0.9}),
    ],
)
def test_steps_are_the_cpu_s_and_no_rate_or_count_makes_another_graph(kind, options, strategy):
    import torch_xla
    from torch_xla.debug import metrics

    weights = [nn.Parameter(torch.linspace(-1, 1, 6).to(device)) for device in ("cpu", "xla")]
    optimizers = [kind([weight], lr=0.1, **options) for weight in weights]
    strategy.optimizers = optimizers[1:]
    strategy.on_train_start()
    # 1 - 1e-9 * 0.01 is 1 in float32, and so are Adam's corrections after many steps.
    rates = [0.1, 0.1, 0.05, 1e-5, 1e-9, 1e-9, 0.0, 1.0]
    graphs = []
    torch_xla.sync()  # what other tests left pending
    for step, lr in enumerate(rates):
        if step == 5 and kind is not torch.optim.SGD:
            for optimizer in optimizers:
                state = next(iter(optimizer.state.values()))
                state["step"] = state["step"].cpu() + 50_000
            strategy._complete_state(optimizers[1])
        gradient = torch.sin(torch.arange(6.0) * (step + 1))
        for weight, optimizer in zip(weights, optimizers, strict=True):
            weight.grad = gradient.to(weight.device)
            optimizer.param_groups[0]["lr"] = lr
        optimizers[0].step()
        with strategy._rates_on_device(optimizers[1]):
            optimizers[1].step()
        weights[1].grad = None
        torch_xla.sync()
        graphs.append(metrics.metric_data("CompileTime")[0])
        assert isinstance(optimizers[1].param_groups[0]["lr"], float)
        torch.testing.assert_close(
            weights[1].detach().cpu(), weights[0].detach(), rtol=1e-4, atol=1e-6
        )
    # SGD's rate stays a number, compiled in where it is 0 or 1; its momentum begins in step 1.
    if kind is not torch.optim.SGD:
        assert len(set(graphs)) == 1


def test_a_failed_step_leaves_the_learning_rate_a_number(strategy):
    weight = nn.Parameter(torch.ones(2).to("xla"))
    optimizer = torch.optim.AdamW([weight], lr=0.1)
    with pytest.raises(KeyboardInterrupt), strategy._rates_on_device(optimizer):
        raise KeyboardInterrupt
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert optimizer.param_groups[0]["capturable"] is False


def test_a_graph_after_the_first_epoch_is_a_warning_that_names_the_epoch(caplog):
    import torch_xla

    from fashion.devices.compilations import Compilations

    caplog.set_level(logging.WARNING)
    counts = Compilations()
    assert counts.enter_epoch(3)
    (torch.rand(3, 5).to("xla") @ torch.rand(5, 7).to("xla")).cpu()
    assert not counts.enter_epoch(3)
    assert counts.enter_epoch(4)
    assert counts.enter_epoch(5)
    assert caplog.text == ""
    product = torch.rand(11, 13).to("xla") @ torch.rand(13, 17).to("xla")
    torch_xla.sync()
    counts.leave_epoch()
    assert "compiled 1 more graphs in epoch 5" in caplog.text
    facts = counts.facts()
    assert facts["graphs_by_epoch"] == [1, 0, 1]
    assert facts["graphs"] == 2
    assert facts["compile_seconds_by_epoch"][1] == 0
    assert product.shape == (11, 17)


def test_an_operator_that_the_host_computes_is_named(caplog):
    from fashion.devices.compilations import Compilations

    counts = Compilations()
    counts.enter_epoch(0)
    torch.special.i1(torch.rand(3).to("xla")).cpu()
    counts.leave_epoch()
    assert counts.facts()["fallbacks"] == {"aten::special_i1": 1}
    assert "XLA lacks aten::special_i1" in caplog.text


def test_batches_arrive_as_they_lie_and_whole(strategy):
    from fashion.data.batches import Batch

    photos = torch.randint(0, 256, (4, 8, 8, 3), dtype=torch.uint8)
    batch = Batch(photos.permute(0, 3, 1, 2), torch.arange(4), torch.tensor([3, 1, 2, -1]))
    loader = strategy.process_dataloader(
        SimpleNamespace(
            sampler=None,
            batch_sampler=None,
            state_dict=dict,
            load_state_dict=None,
            __iter__=None,
        )
    )
    sent = loader.transfer(batch)
    assert {part.device.type for part in sent} == {"xla"}
    assert sent.inputs.dtype == torch.uint8
    assert torch.equal(sent.inputs.cpu(), photos)
    assert torch.equal(sent.targets.cpu(), batch.targets)
    assert torch.equal(sent.rows.cpu(), batch.rows)
