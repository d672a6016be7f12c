from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import train
from fashion.attributes import MISSING
from fashion.data.batches import PADDING, Batch
from fashion.metrics.study import load_study

CONF = Path(train.__file__).parent / "conf"
SIZE = 96
aten = torch.ops.aten
VALUE_DEPENDENT = {
    aten._local_scalar_dense,
    aten.nonzero,
    aten.masked_select,
    aten._unique2,
    aten.unique_dim,
    aten.unique_consecutive,
    aten.bincount,
    aten.repeat_interleave,
    aten.equal,
}
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}


class NoValueDependentOps(TorchDispatchMode):
    """Fail on operators whose output's shape, or a host's value, depends on what tensors hold.

    Args:
        on_host: Tensors that the host may read, since they never lie on a device.
    """

    def __init__(self, on_host=()):
        super().__init__()
        self.on_host = {id(tensor) for tensor in on_host}
        self.calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls += 1
        operator = func.overloadpacket
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if not all(id(tensor) in self.on_host for tensor in tensors) or not tensors:
            assert operator not in VALUE_DEPENDENT, f"{func} recompiles or waits on XLA"
        if operator in INDEXING:
            assert not any(tensor.dtype == torch.bool for tensor in tensors[1:]), (
                f"{func} by a mask"
            )
        return func(*args, **(kwargs or {}))


def build(model, attributes=None, **changes):
    overrides = [f"model={model}", "model.pretrained=false", f"model.input_size={SIZE}"]
    overrides += [f"model.{key}={value}" for key, value in changes.items()]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        node = compose("config", overrides).model
    return instantiate(node, class_names=["Flats", "Heels", "Shirts"], attributes=attributes)


def batch_of(rows, targets=None):
    photos = torch.randint(0, 256, (len(rows), 3, SIZE, SIZE), dtype=torch.uint8)
    targets = torch.arange(len(rows)) % 3 if targets is None else torch.tensor(targets)
    return Batch(photos, targets, torch.tensor(rows))


@pytest.mark.parametrize("model", load_study()["models"])
def test_no_operator_of_a_step_depends_on_values(model):
    classifier = build(model).train()
    optimizer = classifier.optimizer(p for p in classifier.parameters() if p.requires_grad)
    classifier.training_step(batch_of([0, 1]), 0).backward()
    optimizer.step()  # makes the optimizer's state
    steps = [state["step"] for state in optimizer.state.values()]
    assert steps
    optimizer.zero_grad()
    with NoValueDependentOps(steps) as guard:
        loss = classifier.training_step(batch_of([2, 3]), 1)
        loss.backward()
        optimizer.step()
    assert guard.calls > 100
    classifier.eval()
    with torch.no_grad(), NoValueDependentOps():
        whole = classifier.validation_step(batch_of([0, 1]), 0)
        padded = classifier.predict_step(batch_of([2, PADDING]), 0)
    assert {name: part.shape for name, part in whole.items()} == {
        name: part.shape for name, part in padded.items()
    }


def test_no_operator_depends_on_which_photos_have_a_value():
    genders = {"gender": ["Men", "Women"]}
    classifier = build("timm", genders, backbone="test_resnet", class_weights="balanced")
    some, none = ([[0, 1], [1, MISSING]], [[0, MISSING], [1, MISSING]])
    classifier.train().training_step(batch_of([0, 1], some), 0).backward()
    with NoValueDependentOps() as guard:
        for targets in (some, none):
            classifier.training_step(batch_of([0, 1], targets), 0).backward()
    assert guard.calls > 100


class Planted(nn.Module):
    def __init__(self, fault):
        super().__init__()
        self.fault = fault
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, images):
        return self.fault(images.mean(dim=(2, 3)) * self.weight)


FAULTS = {
    "a value read": lambda x: x * x.sum().item(),
    "a branch on a value": lambda x: x if x.sum() > 0 else -x,
    "a mask": lambda x: x + x[x > 0].sum(),
    "an assignment by a mask": lambda x: x.masked_fill(x > 0, 1).index_put((x > 0,), x.sum()),
    "places of what isn't 0": lambda x: x + x.nonzero().sum(),
    "distinct values": lambda x: x + x.unique().sum(),
    "counts": lambda x: x + x.flatten().long().bincount().sum(),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault):
    classifier = build("timm", backbone="test_resnet")
    classifier.backbone = Planted(FAULTS[fault])
    with pytest.raises(AssertionError, match="aten"), NoValueDependentOps():
        classifier.training_step(batch_of([0, 1]), 0)
    classifier.backbone = Planted(lambda x: x)
    with NoValueDependentOps():
        classifier.training_step(batch_of([0, 1]), 0).backward()
