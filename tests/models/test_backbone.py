import re
from types import MappingProxyType

import pytest
import timm
import torch
import yaml
from safetensors.torch import load_file
from torch import nn

from fashion.models.backbone import (
    build_backbone,
    count_parameters,
    count_trainable,
    head_names,
    normalisation,
    pretrained_cfg,
    set_trainable,
)

# The study's trainable parameters in timm's names, and how many numbers they hold.
STUDY_COUNTS = {
    "nasnetlarge": 2_316_384,
    "efficientnetv2m": 3_021_440,
    "xception": 6_788_384,
    "inceptionv3": 396_544,
    "resnet50": 4_462_592,
    "densenet201": 601_920,
}
TRAINABLE = {
    "nasnetlarge": {
        f"cell_17.comb_iter_{branch}.{layer}"
        for branch in ("0_left", "0_right", "1_left", "1_right", "4_left")
        for layer in (
            "separable_2.depthwise_conv2d.weight",
            "separable_2.pointwise_conv2d.weight",
            "bn_sep_2.weight",
            "bn_sep_2.bias",
        )
    },
    "efficientnetv2m": {
        "blocks.6.4.se.conv_reduce.weight",
        "blocks.6.4.se.conv_reduce.bias",
        "blocks.6.4.se.conv_expand.weight",
        "blocks.6.4.se.conv_expand.bias",
        "blocks.6.4.conv_pwl.weight",
        "blocks.6.4.bn3.weight",
        "blocks.6.4.bn3.bias",
        "conv_head.weight",
        "bn2.weight",
        "bn2.bias",
    },
    "xception": {
        "block12.skip.weight",
        "block12.skipbn.weight",
        "block12.skipbn.bias",
        "block12.rep.1.conv1.weight",
        "block12.rep.1.pointwise.weight",
        "block12.rep.2.weight",
        "block12.rep.2.bias",
        "block12.rep.4.conv1.weight",
        "block12.rep.4.pointwise.weight",
        "block12.rep.5.weight",
        "block12.rep.5.bias",
        "conv3.conv1.weight",
        "conv3.pointwise.weight",
        "bn3.weight",
        "bn3.bias",
        "conv4.conv1.weight",
        "conv4.pointwise.weight",
        "bn4.weight",
        "bn4.bias",
    },
    "inceptionv3": {
        "Mixed_7c.branch1x1.bn.weight",
        "Mixed_7c.branch1x1.bn.bias",
        "Mixed_7c.branch3x3_2b.bn.weight",
        "Mixed_7c.branch3x3_2b.bn.bias",
        "Mixed_7c.branch3x3dbl_3a.bn.weight",
        "Mixed_7c.branch3x3dbl_3a.bn.bias",
        "Mixed_7c.branch3x3dbl_3b.bn.weight",
        "Mixed_7c.branch3x3dbl_3b.bn.bias",
        "Mixed_7c.branch_pool.conv.weight",
        "Mixed_7c.branch_pool.bn.weight",
        "Mixed_7c.branch_pool.bn.bias",
    },
    "resnet50": {
        f"layer4.2.{layer}"
        for n in (1, 2, 3)
        for layer in (f"conv{n}.weight", f"bn{n}.weight", f"bn{n}.bias")
    },
    "densenet201": {
        "features.denseblock4.denselayer30.norm2.weight",
        "features.denseblock4.denselayer30.norm2.bias",
        "features.denseblock4.denselayer30.conv2.weight",
        *(
            f"features.denseblock4.denselayer{n}.{layer}"
            for n in (31, 32)
            for layer in (
                "norm1.weight",
                "norm1.bias",
                "conv1.weight",
                "norm2.weight",
                "norm2.bias",
                "conv2.weight",
            )
        ),
        "features.norm5.weight",
        "features.norm5.bias",
    },
}


def model_config(name):
    with open(f"conf/model/{name}.yaml") as file:
        return yaml.safe_load(file)


def build(name, num_classes=54):
    config = model_config(name)
    network = build_backbone(config["backbone"], num_classes, pretrained=False, dropout=0.3)
    set_trainable(network, config["unfreeze"])
    return network


@pytest.mark.parametrize("name", STUDY_COUNTS)
def test_the_study_s_layers_train_and_no_others(name):
    network = build(name)
    trainable = {key for key, value in network.named_parameters() if value.requires_grad}
    backbone = trainable - set(head_names(network))
    assert backbone == TRAINABLE[name]
    features = network.num_features
    assert count_trainable(network) == {"backbone": STUDY_COUNTS[name], "head": features * 54 + 54}
    assert count_parameters(network) == sum(
        p.numel()
        for p in timm.create_model(model_config(name)["backbone"], num_classes=54).parameters()
    )


@pytest.mark.parametrize("name", STUDY_COUNTS)
def test_frozen_tensors_stay_bit_identical_and_trainable_ones_move(name):
    torch.manual_seed(0)
    network = build(name, num_classes=5).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=0.01)
    for _ in range(2):
        logits = network(torch.randn(2, 3, 96, 96))
        assert logits.shape == (2, 5)
        nn.functional.cross_entropy(logits, torch.tensor([0, 3])).backward()
        optimizer.step()
        optimizer.zero_grad()
    trainable = {key for key, value in network.named_parameters() if value.requires_grad}
    # Statistics of the BatchNorms that train follow the data; all else stays.
    owners = {key.rpartition(".")[0] for key in trainable}
    moving = trainable | {
        f"{owner}.{name}"
        for owner in owners
        for name in ("running_mean", "running_var", "num_batches_tracked")
    }
    after = network.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed <= moving
    assert trainable <= changed


def test_a_frozen_network_computes_the_same_in_train_and_eval_mode():
    network = build_backbone("test_resnet", 5, pretrained=False)
    images = torch.randn(4, 3, 64, 64)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    expected = network.eval()(images)
    set_trainable(network, [])
    torch.testing.assert_close(network.train()(images), expected)


@pytest.mark.parametrize(
    ("name", "outside_leaves", "size"),
    [("test_vit", "pos_embed", 160), ("test_convnext", "gamma", 64)],
)
def test_parameters_outside_leaf_modules_are_frozen_too(name, outside_leaves, size):
    network = build_backbone(name, 5, pretrained=False, input_size=size)
    assert any(key.endswith(outside_leaves) for key, _ in network.named_parameters())
    set_trainable(network, [])
    trainable = [key for key, value in network.named_parameters() if value.requires_grad]
    assert trainable == head_names(network)
    assert network(torch.zeros(1, 3, size, size)).shape == (1, 5)


def test_a_vision_transformer_takes_another_input_size():
    network = build_backbone("test_vit", 5, pretrained=False, input_size=96)
    assert network(torch.zeros(1, 3, 96, 96)).shape == (1, 5)


def test_all_trains_everything_and_keeps_batch_norms():
    network = build_backbone("test_resnet", 5, pretrained=False)
    set_trainable(network, "all")
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def test_a_batch_norm_without_parameters_is_fixed_with_its_surroundings():
    class Affineless(nn.Sequential):
        pretrained_cfg = MappingProxyType({"classifier": "2"})

    def network():
        return Affineless(
            nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, affine=False)),
            nn.Flatten(),
            nn.Linear(4, 2),
        )

    frozen, thawed = network(), network()
    set_trainable(frozen, [])
    assert not isinstance(frozen[0][1], nn.BatchNorm2d)
    set_trainable(thawed, [r"^0\.0\."])
    assert isinstance(thawed[0][1], nn.BatchNorm2d)


@pytest.mark.parametrize(
    ("unfreeze", "message"),
    [
        (["^layer9"], r"model\.unfreeze: '\^layer9' matches none of the \d+ parameters"),
        (["(", "fc"], r"model\.unfreeze: '\(' is no regular expression"),
        ("layer4", r"model\.unfreeze='layer4' is neither all nor a list"),
    ],
)
def test_an_expression_that_matches_nothing_is_an_error(unfreeze, message):
    network = build_backbone("test_resnet", 5, pretrained=False)
    with pytest.raises(ValueError, match=message):
        set_trainable(network, unfreeze)


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("resnt50", r"model\.backbone='resnt50' is not a timm model\. Similar: resnet50"),
        ("resnet50.tv9", r"model\.backbone='resnet50\.tv9'.*no weights tagged 'tv9'.*tv_in1k"),
        ("", r"model\.backbone='' is not a timm model"),
    ],
)
def test_an_unknown_backbone_is_named(backbone, message):
    with pytest.raises(ValueError, match=message):
        pretrained_cfg(backbone)


def test_weights_without_a_published_file_are_an_error():
    untrained = next(
        name for name in timm.list_models() if not timm.get_pretrained_cfg(name).has_weights
    )
    with pytest.raises(ValueError, match=r"timm publishes no weights"):
        build_backbone(untrained, 5, pretrained=True)


def test_an_unreachable_hub_is_one_sentence_with_both_ways_out(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("fashion.models.backbone.try_to_load_from_cache", lambda *_: None)
    with pytest.raises(ConnectionError) as caught:
        build_backbone("resnet50.tv_in1k", 5, pretrained=True)
    message = str(caught.value)
    assert re.search(r"model\.weights=FILE\.safetensors.*model\.pretrained=false", message)
    assert "\n" not in message


@pytest.mark.parametrize("name", ["resnet50", "xception"])
def test_the_real_weights_fit(name, real_weights):
    backbone = model_config(name)["backbone"]
    path = real_weights / f"{backbone.partition('.')[0]}.safetensors"
    network = build_backbone(backbone, 54, pretrained=False, weights=str(path))
    own, source = network.state_dict(), load_file(path)
    shared = source.keys() - set(head_names(network))
    assert len(shared) > 200
    assert all(torch.equal(own[key], source[key].to(own[key].dtype)) for key in shared)


def test_normalisation_is_the_backbone_s_own():
    mean, std = normalisation("legacy_xception.tf_in1k")
    assert mean.flatten().tolist() == std.flatten().tolist() == [0.5, 0.5, 0.5]
    mean, _ = normalisation("resnet50.tv_in1k")
    torch.testing.assert_close(mean.flatten(), torch.tensor([0.485, 0.456, 0.406]))
