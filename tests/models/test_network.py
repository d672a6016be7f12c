import pytest
import torch
from torch import nn

from fashion.models.network import PhotoClassifier

SETTINGS = {
    "class_names": ["Flats", "Heels", "Shirts"],
    "backbone": "test_resnet",
    "input_size": 32,
    "unfreeze": [],
    "dropout": 0.3,
}
PHOTOS = torch.arange(2 * 3 * 32 * 32).reshape(2, 3, 32, 32).remainder(256).byte()


def build(**changes):
    return PhotoClassifier(**{**SETTINGS, "pretrained": False, "weights": None, **changes})


def checkpoint_of(network, **settings):
    hyper_parameters = {**SETTINGS, "pretrained": True, "weights": "gone.safetensors", **settings}
    return {"hyper_parameters": hyper_parameters, "state_dict": network.state_dict()}


@pytest.mark.parametrize(
    ("backbone", "input_size"), [("test_resnet", 32), ("test_vit", 96), ("test_convnext", 32)]
)
def test_a_restored_network_computes_what_the_stored_one_did(backbone, input_size):
    torch.manual_seed(0)
    network = build(backbone=backbone, input_size=input_size).eval()
    photos = torch.randint(0, 256, (2, 3, input_size, input_size)).byte()
    changes = {"backbone": backbone, "input_size": input_size, "label_smoothing": 0.1}
    again = PhotoClassifier.restore(checkpoint_of(network, **changes))
    assert not again.training
    assert again.class_names == SETTINGS["class_names"]
    with torch.no_grad():
        assert torch.equal(again(photos), network(photos))


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit", "mobilenetv3_small_050"])
def test_restoring_draws_nothing(backbone):
    settings = {"backbone": backbone, "input_size": 96}
    state = torch.get_rng_state()
    network = build(**settings)
    assert not torch.equal(torch.get_rng_state(), state)
    state = torch.get_rng_state()
    PhotoClassifier.restore(checkpoint_of(network, **settings))
    assert torch.equal(torch.get_rng_state(), state)


def test_weights_of_another_model_are_refused_in_one_sentence():
    other = build(class_names=["Flats", "Heels"])
    with pytest.raises(ValueError, match=r"don't fit its own model 'test_resnet'") as caught:
        PhotoClassifier.restore(checkpoint_of(other))
    assert "\n" not in str(caught.value)


def test_checking_names_takes_no_weights_and_draws_nothing(monkeypatch):
    devices, state = [], torch.get_rng_state()
    create = nn.Conv2d.__init__

    def note(self, *args, **kwargs):
        create(self, *args, **kwargs)
        devices.append(self.weight.device.type)

    monkeypatch.setattr(nn.Conv2d, "__init__", note)
    with pytest.raises(ValueError, match=r"model\.unfreeze: 'nothing' matches none"):
        build(unfreeze=["nothing"], weights="nowhere.safetensors")
    assert set(devices) == {"meta"}
    assert torch.equal(torch.get_rng_state(), state)


def test_its_state_has_the_names_that_older_checkpoints_have():
    network = build()
    assert [name for name in network.state_dict() if "." not in name] == ["mean", "std"]
    assert {name.partition(".")[0] for name in network.state_dict()} == {"mean", "std", "backbone"}
    assert network(PHOTOS).shape == (2, 3)
