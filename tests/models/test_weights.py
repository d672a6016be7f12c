import json
import logging
import struct

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from fashion.models import checkpoints
from fashion.models.backbone import build_backbone, head_names
from fashion.models.heads import is_in_head
from fashion.models.network import PhotoClassifier
from fashion.models.weights import check_weights


def saved_weights(
    path, backbone="test_resnet", classes=1000, change=lambda state: state, **options
):
    network = timm.create_model(backbone, pretrained=False, num_classes=classes, **options)
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    save_file(change(network.state_dict()), path)
    return network


def test_a_weights_file_fills_the_backbone_and_its_classifier_is_ignored(tmp_path):
    path = tmp_path / "weights.safetensors"
    source = saved_weights(path).state_dict()
    network = build_backbone("test_resnet", 5, pretrained=True, weights=str(path))
    own = network.state_dict()
    head = set(head_names(network))
    assert all(torch.equal(own[key], source[key]) for key in own.keys() - head)
    assert network.fc.out_features == 5


def test_a_weights_file_may_lack_the_classifier(tmp_path):
    path = tmp_path / "weights.safetensors"

    def headless(state):
        return {key: value for key, value in state.items() if not key.startswith("fc.")}

    source = saved_weights(path, change=headless).state_dict()
    network = build_backbone("test_resnet", 5, pretrained=False, weights=str(path))
    assert torch.equal(network.conv1[0].weight, source["conv1.0.weight"])


def test_a_folder_of_weights_serves_each_backbone_its_own(tmp_path):
    source = saved_weights(tmp_path / "test_resnet.safetensors").state_dict()
    network = build_backbone("test_resnet.r160_in1k", 5, pretrained=True, weights=str(tmp_path))
    assert torch.equal(network.state_dict()["conv1.0.weight"], source["conv1.0.weight"])
    tagged = saved_weights(tmp_path / "test_resnet.r160_in1k.safetensors").state_dict()
    network = build_backbone("test_resnet.r160_in1k", 5, pretrained=True, weights=str(tmp_path))
    assert torch.equal(network.state_dict()["conv1.0.weight"], tagged["conv1.0.weight"])
    with pytest.raises(FileNotFoundError, match=r"holds no test_vit\.safetensors; put the weights"):
        build_backbone("test_vit", 5, pretrained=True, weights=str(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: {k: v for k, v in s.items() if k != "bn1.weight"},
            "lacks 1 tensors, 'bn1.weight'",
        ),
        (lambda s: {**s, "extra": torch.zeros(1)}, "also holds 1 tensors, 'extra'"),
        (lambda s: {**s, "bn1.bias": torch.zeros(3)}, "has other shapes for 1 tensors, 'bn1.bias'"),
    ],
)
def test_weights_that_do_not_fit_are_an_error(tmp_path, change, message):
    path = tmp_path / "weights.safetensors"
    saved_weights(path, change=change)
    with pytest.raises(
        ValueError, match=rf"model\.weights=.*does not fit.*'test_resnet'.*{message}"
    ):
        build_backbone("test_resnet", 5, pretrained=False, weights=str(path))


def test_a_damaged_or_missing_weights_file_is_an_error(tmp_path):
    damaged = tmp_path / "damaged.safetensors"
    header = json.dumps({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}).encode()
    damaged.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ValueError, match=r"model\.weights=.*not a complete safetensors file"):
        build_backbone("test_resnet", 5, pretrained=False, weights=str(damaged))
    with pytest.raises(FileNotFoundError, match=r"model\.weights='nowhere\.safetensors'"):
        build_backbone("test_resnet", 5, pretrained=False, weights="nowhere.safetensors")


# Position embeddings, these and biases of places, positions in a rotation, biases of windows.
SIZED = {
    "test_vit": 160,
    "test_vit3": 64,
    "eva02_tiny_patch14_224": 224,
    "maxvit_rmlp_pico_rw_256": 256,
}


def before_head(network):
    return {k: v for k, v in network.state_dict().items() if not is_in_head(network, k)}


def assert_same(network, oracle):
    own, other = before_head(network), before_head(oracle)
    assert own.keys() == other.keys()
    assert [key for key in own if not torch.equal(own[key], other[key])] == []


@pytest.mark.parametrize("backbone", SIZED)
def test_weights_of_another_input_size_are_resampled_as_timm_does(tmp_path, backbone):
    path = tmp_path / "weights.safetensors"
    saved_weights(path, backbone, img_size=SIZED[backbone])
    network = build_backbone(backbone, 5, pretrained=True, weights=str(path), input_size=96)
    oracle = timm.create_model(
        backbone,
        pretrained=True,
        pretrained_cfg_overlay={"file": str(path)},
        num_classes=5,
        img_size=96,
    )
    assert_same(network, oracle)
    assert network(torch.zeros(1, 3, 96, 96)).shape == (1, 5)


def test_weights_that_timm_cannot_resample_are_an_error(tmp_path):
    path = tmp_path / "weights.safetensors"
    saved_weights(path, "convit_tiny", img_size=64)
    with pytest.raises(
        ValueError, match=r"'pos_embed' first.* or the model\.input_size that these"
    ):
        build_backbone("convit_tiny", 5, pretrained=False, weights=str(path), input_size=32)


def trained(folder, backbone="test_resnet", input_size=48, unfreeze=()):
    """Write a run's best checkpoint of three classes, and return its model."""
    settings = {"backbone": backbone, "input_size": input_size, "dropout": 0.0}
    settings |= {"pretrained": False, "weights": None, "unfreeze": list(unfreeze)}
    names = ["Hats", "Jeans", "Shirts"]
    model = PhotoClassifier(names, **settings)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    checkpoint = {
        "hyper_parameters": {"class_names": names, **settings},
        "state_dict": model.state_dict(),
        "preprocessing": {"input_size": input_size, "interpolation": "bicubic", "fit": "pad"},
        "run": {"config": {}, "epochs": []},
    }
    path = folder / checkpoints.BEST
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        checkpoints.write(checkpoint, file)
    return model, path


def begin(backbone, weights, classes=("Boots", "Coats"), input_size=48):
    settings = {"pretrained": True, "unfreeze": "all", "dropout": 0.0}
    return PhotoClassifier(
        classes, backbone=backbone, weights=str(weights), input_size=input_size, **settings
    )


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_run_begins_with_the_backbone_of_another_and_a_new_head(tmp_path, caplog, is_folder):
    caplog.set_level(logging.INFO)
    model, path = trained(tmp_path / "run")
    begun = begin("test_resnet", tmp_path / "run" if is_folder else path)
    theirs = before_head(model.backbone)
    ours = {k: v for k, v in before_head(begun.backbone).items() if k in theirs}
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert begun.backbone.fc.out_features == 2
    assert "come from a model of Hats, Jeans, Shirts; the head is new" in caplog.text


def test_the_head_is_new_for_the_same_classes_too(tmp_path):
    model, path = trained(tmp_path)
    begun = begin("test_resnet", path, model.class_names)
    assert not torch.equal(begun.backbone.fc.weight, model.backbone.fc.weight)
    other = begin("test_resnet", path, model.class_names)
    assert not torch.equal(begun.backbone.fc.weight, other.backbone.fc.weight)


def test_a_checkpoint_of_another_input_size_is_resampled(tmp_path):
    model, path = trained(tmp_path, "test_vit", 160)
    safe = tmp_path / "same.safetensors"
    save_file({k: v.contiguous() for k, v in model.backbone.state_dict().items()}, safe)
    begun = begin("test_vit", path, input_size=96)
    oracle = timm.create_model(
        "test_vit",
        pretrained=True,
        pretrained_cfg_overlay={"file": str(safe)},
        num_classes=5,
        img_size=96,
    )
    assert_same(begun.backbone, oracle)


def test_a_checkpoint_of_another_backbone_is_refused(tmp_path):
    _, path = trained(tmp_path)
    with pytest.raises(
        ValueError,
        match=r"model\.weights=.* is a checkpoint of test_resnet, not of model\.backbone="
        r"'test_vit'\. Pass model\.backbone=test_resnet",
    ):
        begin("test_vit", path)
    with pytest.raises(ValueError, match=r"Pass model\.backbone=test_resnet"):
        check_weights("test_vit", str(tmp_path))  # as doctor asks, which builds no network
    assert check_weights("test_resnet", str(tmp_path)) == path


def test_a_file_that_is_no_checkpoint_of_ours_is_named_by_its_key(tmp_path):
    path = tmp_path / "theirs.pth"
    torch.save({"fc.weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"^model\.weights=.*was not written by this project"):
        begin("test_resnet", path)
