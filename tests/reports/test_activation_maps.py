import numpy as np
import pytest
import torch
import yaml
from timm.layers import SelectAdaptivePool2d
from torch import nn
from torch.nn import functional as F

from fashion.models.backbone import normalise
from fashion.reports.activation_maps import can_map, class_activation_maps, overlay
from fashion.training.classifier import ProductClassifier

CLASSES = ["Flats", "Heels", "Shirts"]
BACKBONES = (
    "nasnetlarge", "efficientnetv2m", "xception", "inceptionv3", "resnet50", "densenet201",
)  # fmt: skip


def build(backbone="test_resnet", unfreeze=(), input_size=96):
    torch.manual_seed(0)
    return ProductClassifier(
        CLASSES,
        backbone=backbone,
        pretrained=False,
        weights=None,
        input_size=input_size,
        unfreeze=unfreeze if unfreeze == "all" else list(unfreeze),
        dropout=0.5,
        label_smoothing=0.0,
    )


def noise(number=3, side=96):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (number, 3, side, side), generator=generator).byte()


def grad_cam(classifier, photos, targets):
    """Grad-CAM as the paper writes it, for a network of `forward_features` and `forward_head`."""
    network = classifier.eval().backbone
    with torch.no_grad():
        maps = network.forward_features(normalise(photos, classifier.mean, classifier.std))
    maps.requires_grad_()
    logits = network.forward_head(maps)
    chosen = logits[torch.arange(len(targets)), targets].sum()
    (gradient,) = torch.autograd.grad(chosen, maps)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    cam = F.relu((weights * maps).sum(dim=1, keepdim=True)).detach()
    cam = F.interpolate(cam, photos.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    return (cam / cam.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)).numpy()


class Planted(nn.Module):
    """Takes red for its first class and green for its second, wherever they are."""

    def __init__(self):
        super().__init__()
        self.patches = nn.AvgPool2d(8)
        self.act = nn.ReLU(inplace=True)
        self.global_pool = SelectAdaptivePool2d(flatten=True)
        self.fc = nn.Linear(3, 3)
        with torch.no_grad():
            self.fc.weight.copy_(torch.tensor([[1.0, -1, 0], [-1, 1, 0], [-1, -1, -1]]))

    def forward(self, images):
        return self.fc(self.global_pool(self.act(self.patches(images))))


def planted():
    """A classifier by colour, and a black photo with a red and a green corner."""
    classifier = build()
    classifier.backbone = Planted().requires_grad_(False)
    photo = torch.zeros(3, 64, 64, dtype=torch.uint8)
    photo[0, :16, :16] = 255
    photo[1, 48:, 48:] = 255
    return classifier, photo


@pytest.mark.parametrize("backbone", ["test_resnet", "test_efficientnet", "test_convnext"])
@pytest.mark.parametrize("unfreeze", [(), "all"])
def test_the_map_is_that_of_a_hand_written_grad_cam(backbone, unfreeze):
    classifier, photos, targets = build(backbone, unfreeze), noise(), torch.tensor([2, 0, 1])
    maps = class_activation_maps(classifier, photos, targets)
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps, grad_cam(classifier, photos, targets), rtol=0, atol=1e-5)
    assert maps.min() >= 0
    assert maps.max() == 1


def test_the_map_peaks_where_a_class_s_evidence_lies():
    classifier, photo = planted()
    maps = class_activation_maps(classifier, torch.stack([photo, photo]), torch.tensor([0, 1]))
    assert maps[0, :12, :12].min() == 1
    assert maps[1, 52:, 52:].min() == 1
    assert (maps[0, 20:] == 0).all()
    assert (maps[1, :44] == 0).all()


def test_a_map_without_evidence_is_empty():
    classifier, photo = planted()
    maps = class_activation_maps(classifier, photo[None], torch.tensor([2]))
    assert (maps == 0).all()


def test_a_photo_s_map_does_not_depend_on_its_batch():
    classifier, photos, targets = build(unfreeze="all"), noise(4), torch.tensor([2, 0, 1, 1])
    maps = class_activation_maps(classifier, photos, targets)
    alone = class_activation_maps(classifier, photos[2:3], targets[2:3])
    np.testing.assert_allclose(maps[2:3], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("trains", ["nothing", "head", "a block", "all"])
def test_the_classifier_is_left_as_it_is(trains):
    unfreeze = {"a block": [r"^layer4\."], "all": "all"}.get(trains, ())
    classifier = build(unfreeze=unfreeze).train()
    if trains == "nothing":
        classifier.requires_grad_(False)
    classifier.backbone.layer2.eval()
    photos = noise()

    def facts():
        return [
            (name, module.training, len(module._forward_hooks), len(module._forward_pre_hooks))
            for name, module in classifier.named_modules()
        ] + [(name, p.requires_grad, p.grad) for name, p in classifier.named_parameters()]

    before, state = facts(), {k: v.clone() for k, v in classifier.state_dict().items()}
    with torch.no_grad():
        maps = class_activation_maps(classifier, photos, torch.tensor([0, 1, 2]))
    assert maps.max() == 1
    assert facts() == before
    assert torch.equal(photos, noise())
    for key, value in classifier.state_dict().items():
        assert torch.equal(value, state[key])


def test_the_mode_comes_back_after_an_error():
    classifier = build().train()
    with pytest.raises(RuntimeError):
        class_activation_maps(classifier, noise(), torch.tensor([0, 1, 3]))
    assert classifier.training
    assert not classifier.backbone.global_pool._forward_pre_hooks


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_the_study_s_networks_have_maps(name):
    with open(f"conf/model/{name}.yaml") as file:
        config = yaml.safe_load(file)
    classifier = build(config["backbone"], config["unfreeze"])
    assert can_map(classifier)
    maps = class_activation_maps(classifier, noise(2), torch.tensor([0, 1]))
    assert maps.shape == (2, 96, 96)
    assert np.isfinite(maps).all()


@pytest.mark.parametrize("backbone", ["test_vit", "swin_tiny_patch4_window7_224"])
def test_a_network_without_maps_is_refused(backbone):
    classifier = build(backbone, input_size=224)
    assert not can_map(classifier)
    with pytest.raises(ValueError, match=rf"model.backbone='{backbone}'.*can_map"):
        class_activation_maps(classifier, noise(1), torch.tensor([0]))


def test_an_overlay_shows_the_photo_where_the_map_is_weak_and_the_map_where_it_is_strong():
    photo = np.full((32, 32, 3), (200, 100, 0), np.uint8)
    strength = np.zeros((32, 32), np.float32)
    strength[:8] = 1
    shown = overlay(photo, strength)
    assert shown.shape == photo.shape
    assert shown.dtype == np.uint8
    assert tuple(shown[20, 20]) == (140, 100, 60)  # less of its colour
    assert np.abs(shown[4, 4].astype(int) - (252, 255, 164)).max() < 60  # the map's brightest
    assert (photo == (200, 100, 0)).all()
