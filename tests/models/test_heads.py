import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fashion.models.backbone import build_backbone, head_names, set_trainable
from fashion.models.cut import find_cut
from fashion.models.heads import FLOAT32_HEADS

# A plain linear head, one of timm's own class, two whose mean is taken, and a convolution.
BACKBONES = {
    "test_resnet": ("fc",),
    "mobilenetv3_small_050": ("classifier",),
    "deit_tiny_distilled_patch16_224": ("head", "head_dist"),
    "dpn48b": ("classifier",),
}
SIZE = 64


def build(backbone):
    torch.manual_seed(0)
    network = build_backbone(backbone, 5, pretrained=False, input_size=SIZE).eval()
    for name in BACKBONES[backbone]:
        nn.init.normal_(network.get_submodule(name).weight)
    return network


def in_bfloat16(compute):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        return compute()


def heads_inputs(network, backbone, compute):
    """Return what reaches each head while something is computed, and what came of it."""
    inputs = {}
    hooks = [
        network.get_submodule(name).register_forward_pre_hook(
            lambda _, args, name=name: inputs.update({name: args[0]})
        )
        for name in BACKBONES[backbone]
    ]
    logits = in_bfloat16(compute)
    for hook in hooks:
        hook.remove()
    return inputs, logits


def by_hand(network, inputs):
    """Return the mean over the heads of what each makes of its input in float32."""
    parts = []
    for name, features in inputs.items():
        head = network.get_submodule(name)
        layer = F.conv2d if isinstance(head, nn.Conv2d) else F.linear
        parts.append(layer(features.float(), head.weight, head.bias).flatten(1))
    return torch.stack(parts).mean(dim=0)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_logits_under_autocast_are_those_of_a_float32_head_on_bfloat16_features(backbone):
    network, images = build(backbone), torch.randn(4, 3, SIZE, SIZE)
    inputs, logits = heads_inputs(network, backbone, lambda: network(images))
    assert inputs.keys() == set(BACKBONES[backbone])
    assert logits.dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(logits, by_hand(network, inputs), rtol=0, atol=1e-6)
    assert not torch.equal(logits, logits.bfloat16().float())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_traced_tail_has_the_same_heads(backbone):
    network = build(backbone)
    set_trainable(network, [])
    cut = find_cut(network, SIZE)
    images = torch.randn(4, 3, SIZE, SIZE)
    features = in_bfloat16(
        lambda: cut.frozen(network, torch.bfloat16, fold=False)(images.bfloat16())
    )
    tail = cut.tail(network, training=False)
    inputs, logits = heads_inputs(network, backbone, lambda: tail(*features))
    assert inputs.keys() == set(BACKBONES[backbone])
    assert logits.dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(logits, by_hand(network, inputs), rtol=0, atol=1e-6)
    assert not torch.equal(logits, logits.bfloat16().float())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_heads_keep_their_names_and_are_layers_of_their_own_class(backbone):
    network = build(backbone)
    expected = {f"{name}.{kind}" for name in BACKBONES[backbone] for kind in ("weight", "bias")}
    assert set(head_names(network)) == expected
    for name in BACKBONES[backbone]:
        head = network.get_submodule(name)
        assert type(head) in FLOAT32_HEADS
        again = copy.deepcopy(head)
        assert torch.equal(again.weight, head.weight)


def test_without_autocast_a_head_computes_as_before():
    network, images = build("test_resnet"), torch.randn(2, 3, SIZE, SIZE)
    with torch.no_grad():
        features = network.forward_head(network.forward_features(images), pre_logits=True)
        assert torch.equal(network(images), F.linear(features, network.fc.weight, network.fc.bias))
