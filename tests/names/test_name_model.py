"""The model of names: fitted, joined to a photo's, kept, and shown to read no label."""

import numpy as np
import pytest
import torch

from fashion.names.checks import largest_change, permuted_fit
from fashion.names.features import PLACES
from fashion.names.fitting import NamedPhotos, fit_fusion, fit_names
from fashion.names.fusion import Fusion
from fashion.names.label_words import label_words
from fashion.names.masking import Mask
from fashion.names.name_model import NameModel

CLASSES = ["Shirts", "Watches", "Shoes"]
LABELS = label_words(CLASSES)
BRANDS = [["arrow", "zodiac"], ["casio", "titan"], ["nike", "puma"]]


def photos(number, seed, tells=0.8):
    """Return photos whose names have their label and mostly a brand of their class."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(3, size=number)
    names = []
    for target in targets:
        brands = BRANDS[target if rng.random() < tells else rng.integers(3)]
        names.append(f"{rng.choice(brands)} {rng.choice(['blue', 'red'])} {CLASSES[target]}")
    scores = rng.normal(size=(number, 3))
    scores[np.arange(number), targets] += 1.5
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return NamedPhotos(names, targets, probabilities.astype(np.float32))


TRAIN, VAL, TEST = photos(600, 0), photos(300, 1), photos(900, 2)
MASK = Mask("types", LABELS)


@pytest.fixture(scope="module")
def model():
    return fit_names(TRAIN, VAL, MASK, 3)


def accuracy(probabilities, photos):
    return (probabilities.argmax(axis=1) == photos.targets).mean()


def test_names_help_photos(model):
    of_photos = accuracy(TEST.probabilities, TEST)
    of_names = accuracy(model.log_probabilities(TEST.names), TEST)
    both, used = model.join(TEST.probabilities, TEST.names)
    assert used.all()
    assert of_names > 0.8
    assert accuracy(both, TEST) > max(of_names, of_photos) + 0.01
    np.testing.assert_allclose(both.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("name", ["", "Shirt", "T-SHIRTS watch", "unheard of", "\ud800\x00", "a"])
def test_without_a_name_the_photos_probabilities_stay_what_they_are(model, name):
    both, used = model.join(TEST.probabilities[:3], [name, "casio", name])
    assert used.tolist() == [False, True, False]
    np.testing.assert_array_equal(both[[0, 2]], TEST.probabilities[[0, 2]])
    assert (both[1] != TEST.probabilities[1]).any()


def test_other_labels_words_change_no_probability(model):
    assert largest_change(model, TEST.names, LABELS) == 0


def test_a_mask_that_lets_labels_through_is_found():
    leaking = fit_names(TRAIN, VAL, Mask("none", LABELS), 3)
    assert accuracy(leaking.log_probabilities(TEST.names), TEST) == 1
    all_mask = Mask("types", LABELS)
    renamed = [" ".join([*all_mask.keep(name), "shirts"]) for name in TEST.names]
    assert accuracy(leaking.log_probabilities(renamed), TEST) < 0.7


def test_permuted_names_say_nothing():
    permuted, names = permuted_fit([TRAIN, VAL, TEST], MASK, 3)
    assert sorted(names) != sorted(TEST.names)
    majority = np.bincount(TEST.targets).max() / len(TEST.targets)
    assert accuracy(permuted.log_probabilities(names), TEST) < majority + 0.05
    assert permuted.fusion.name < 0.1
    both, _ = permuted.join(TEST.probabilities, names)
    assert abs(accuracy(both, TEST) - accuracy(TEST.probabilities, TEST)) < 0.01


def test_a_source_that_tells_the_label_is_weighed_more():
    targets = np.arange(300) % 3
    sure = np.full((300, 3), 0.05, np.float32)
    sure[np.arange(300), targets] = 0.9
    noise = np.random.default_rng(0).dirichlet([1, 1, 1], 300)
    assert fit_fusion(sure, np.log(noise), targets).name < 0.2
    swapped = fit_fusion(noise.astype(np.float32), np.log(sure.astype(float)), targets)
    assert swapped.name > 10 * swapped.photo


def test_the_fusions_weights_are_those_of_the_highest_likelihood():
    rng = np.random.default_rng(0)
    of_names = np.log(rng.dirichlet([1, 1, 1], 400))
    fusion = fit_fusion(TEST.probabilities[:400], of_names, TEST.targets[:400])

    def loss(photo, name):
        joined = Fusion(photo, name).join(TEST.probabilities[:400], of_names)
        return -np.log(joined[np.arange(400), TEST.targets[:400]]).mean()

    best = loss(fusion.photo, fusion.name)
    for photo in (fusion.photo * 0.9, fusion.photo, fusion.photo * 1.1):
        for name in (max(0.0, fusion.name - 0.05), fusion.name + 0.05):
            assert loss(photo, name) >= best - 1e-7


def test_two_classes_are_told_apart():
    two = NamedPhotos(["casio x", "puma y"] * 30, np.arange(60) % 2)
    val = NamedPhotos(two.names, two.targets, np.full((60, 2), 0.5, np.float32))
    both, _ = fit_names(two, val, MASK, 2).join(np.full((2, 2), 0.5, np.float32), ["casio", "puma"])
    assert both.argmax(axis=1).tolist() == [0, 1]


def test_a_class_without_names_is_hardly_told_by_names():
    train = NamedPhotos([*["casio"] * 30, *["puma"] * 30, *[""] * 30], np.arange(90) // 30)
    val = NamedPhotos(train.names, train.targets, np.full((90, 3), 1 / 3, np.float32))
    fitted = fit_names(train, val, MASK, 3)
    assert np.exp(fitted.log_probabilities(["casio"]))[0, 2] < 1e-6


def test_names_of_label_words_alone_are_refused():
    empty = NamedPhotos(["Shirt", "Watch"], np.arange(2), np.full((2, 2), 0.5, np.float32))
    with pytest.raises(ValueError, match=r"data\.text_mask"):
        fit_names(empty, empty, MASK, 2)


def test_a_model_is_kept_as_tensors_and_plain_values(model, tmp_path):
    torch.save(model.state(), tmp_path / "names")
    again = NameModel.from_state(torch.load(tmp_path / "names", weights_only=True), 3)
    first, second = (each.join(TEST.probabilities, TEST.names)[0] for each in (model, again))
    np.testing.assert_array_equal(first, second)
    assert again.calibration.threshold(0.9) == model.calibration.threshold(0.9)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"weights": torch.zeros(PLACES, 3)}, "float32"),
        ({"weights": torch.zeros(9, 3, dtype=torch.float16)}, "shape"),
        ({"bias": torch.full((3,), torch.nan)}, "finite"),
        ({"rarity": [1.0]}, "tensor"),
        ({"fusion": {"photo": 1.0}}, "photo and name"),
        ({"fusion": {"photo": 0.0, "name": 1.0}}, "photo's weight"),
        ({"fusion": {"photo": 1.0, "name": float("nan")}}, "name's weight"),
        ({"mask": {"kind": "types"}}, "mask"),
        ({"calibration": {}}, "calibration"),
    ],
)
def test_a_damaged_model_is_refused(model, change, reason):
    with pytest.raises(ValueError, match=reason):
        NameModel.from_state({**model.state(), **change}, 3)


def test_a_model_of_other_classes_is_refused(model):
    with pytest.raises(ValueError, match="3 classes"):
        NameModel.from_state(model.state(), 4)
    with pytest.raises(ValueError, match="no model of names"):
        NameModel.from_state([], 3)
