import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from fashion.catalogue.images import decode_image
from fashion.export.graph import read_part
from fashion.export.hub_layout import HubNetwork, timm_s_way, why_not, write_layout
from fashion.export.odd_photos import drawn_photos
from fashion.labelling.checkpoint_models import CheckpointModel
from fashion.labelling.photos import Photo
from fashion.models import checkpoints

NAMES = ["Flats", "Heels", "Shirts", "Socks"]


@pytest.fixture(scope="module")
def contents():
    """Twelve photos' files."""
    return drawn_photos(12)


@pytest.fixture
def laid_out(write_checkpoint, tmp_path):
    """Returns make(**settings): a checkpoint, and the folder with its network in timm's layout."""

    def make(**settings):
        checkpoint = checkpoints.read(write_checkpoint(tmp_path / "best.ckpt", **settings))
        folder = tmp_path / "hub #1?"  # timm would cut a path there
        folder.mkdir()
        part = read_part(checkpoint)
        assert why_not([part]) is None
        write_layout(part, folder, checkpoint["preprocessing"], "mit")
        return checkpoint, folder

    return make


def by_checkpoint(checkpoint, contents):
    model = CheckpointModel(checkpoint)
    squares = [decode_image(content, **model.preprocessing) for content in contents]
    return np.stack(squares), model.probabilities(np.stack(squares))


@pytest.mark.parametrize("temperature", [None, 0.4, 2.5])
@pytest.mark.parametrize("fit", ["squash", "pad"])
def test_timm_loads_the_folder_and_gives_calibrated_probabilities(
    fit, temperature, laid_out, contents
):
    checkpoint, folder = laid_out(fit=fit, temperature=temperature)
    squares, expected = by_checkpoint(checkpoint, contents)
    assert expected.max(axis=1).std() > 0.01  # or nothing could differ
    network = HubNetwork(folder)
    np.testing.assert_allclose(network.of_squares(squares), expected, atol=1e-5)
    by_its_transform = network.of_files(contents)
    difference = np.abs(by_its_transform - expected).max()
    assert difference < 1e-5 if fit == "squash" else difference > 1e-3


def test_a_network_of_a_fixed_size_is_built_at_that_size(laid_out, contents):
    checkpoint, folder = laid_out(backbone="test_vit", size=64, temperature=1.5)
    assert json.loads((folder / "config.json").read_text())["model_args"]["img_size"] == 64
    squares, expected = by_checkpoint(checkpoint, contents)
    np.testing.assert_allclose(HubNetwork(folder).of_squares(squares), expected, atol=1e-5)


@pytest.mark.parametrize(
    "settings", [{"temperature": 0.5}, {"backbone": "test_vit", "size": 64, "temperature": 2.0}]
)
def test_transformers_loads_the_folder_and_its_pipeline_labels(
    settings, laid_out, contents, tmp_path
):
    from transformers import AutoModelForImageClassification, pipeline

    checkpoint, folder = laid_out(**settings)
    _, expected = by_checkpoint(checkpoint, contents)
    model = AutoModelForImageClassification.from_pretrained(folder)
    assert model.config.id2label == dict(enumerate(NAMES))
    (tmp_path / "photo.png").write_bytes(contents[0])
    label = pipeline("image-classification", str(folder))
    for content, row in zip(contents, expected, strict=True):
        path = tmp_path / "photo.jpg"
        path.write_bytes(content)
        answer = {each["label"]: each["score"] for each in label(str(path), top_k=None)}
        assert answer == pytest.approx(dict(zip(NAMES, row.tolist(), strict=True)), abs=1e-5)


def test_the_configuration_names_what_timm_and_transformers_read(laid_out):
    _, folder = laid_out(fit="pad")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["architecture"] == "test_resnet"
    assert config["label_names"] == NAMES
    assert config["num_classes"] == config["pretrained_cfg"]["num_classes"] == len(NAMES)
    assert "num_classes" not in config["model_args"]
    cfg = config["pretrained_cfg"]
    assert (cfg["crop_pct"], cfg["crop_mode"], cfg["interpolation"]) == (1.0, "border", "bicubic")
    assert cfg["input_size"] == [3, 32, 32]
    assert cfg["license"] == "mit"
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}


def test_no_licence_is_made_up(write_checkpoint, tmp_path):
    checkpoint = checkpoints.read(write_checkpoint(tmp_path / "best.ckpt"))
    write_layout(read_part(checkpoint), tmp_path, checkpoint["preprocessing"], None)
    assert "licen" not in (tmp_path / "config.json").read_text()


def test_what_the_layout_cannot_hold_is_told(write_checkpoint, tmp_path):
    part = read_part(checkpoints.read(write_checkpoint(tmp_path / "best.ckpt")))
    assert "several" in why_not([part, part])
    part.network.fc = torch.nn.Sequential(torch.nn.Linear(96, 8), torch.nn.Linear(8, 4))
    assert "no single last layer" in why_not([part])


def test_the_temperature_divides_each_of_two_heads(write_checkpoint, tmp_path):
    backbone = "deit_tiny_distilled_patch16_224"
    path = write_checkpoint(tmp_path / "best.ckpt", backbone=backbone, temperature=2.0)
    checkpoint = checkpoints.read(path)
    part = read_part(checkpoint)
    write_layout(part, tmp_path, checkpoint["preprocessing"], None)
    photos = torch.rand(2, 3, 32, 32)
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    with torch.inference_mode():
        torch.testing.assert_close(loaded(photos), part.network(photos) / 2)


def test_timm_s_own_way_is_measured(laid_out, contents):
    checkpoint, folder = laid_out()
    _, expected = by_checkpoint(checkpoint, contents)
    photos = [Photo(str(n), lambda content=content: content) for n, content in enumerate(contents)]
    network = HubNetwork(folder)
    measured = timm_s_way(network, photos, expected)
    assert (measured["photos"], measured["same_label"]) == (12, 1.0)
    assert measured["max_difference"] < 1e-5
    swapped = expected.copy()
    swapped[:3] = np.roll(expected[:3], 1, axis=1)  # another label for three of them
    broken = [*photos[:-1], Photo("broken", lambda: contents[-1][:500])]
    measured = timm_s_way(network, broken, swapped)
    assert measured["same_label"] == round(8 / 12, 4)
    assert measured["max_difference"] == pytest.approx(
        np.abs(swapped[:3] - expected[:3]).max(), abs=1e-5
    )


def test_photos_that_timm_cannot_decode_are_told(laid_out, tmp_path):
    _, folder = laid_out(fit="pad")
    narrow = tmp_path / "narrow.png"
    Image.new("RGB", (1, 4000)).save(narrow)
    rows = HubNetwork(folder).of_files([drawn_photos(1)[0], b"", narrow.read_bytes()])
    assert np.isnan(rows[1]).all()
    assert not np.isnan(rows[0]).any()
