import math
from functools import partial

import pandas as pd
import pytest
import torch
from lightning import Callback
from torch.nn import functional as F

from fashion.attributes import MISSING, Heads
from fashion.data.batches import Batch
from fashion.models import checkpoints
from fashion.models.network import PhotoClassifier
from fashion.training.classifier import ProductClassifier
from fashion.training.losses import loss_of_heads

CLASSES, GENDERS, COLOURS = ["Flats", "Heels", "Shirts"], ["Men", "Women"], list("abcde")
ATTRIBUTES = {"gender": GENDERS, "base colour": COLOURS}


def build(**changes):
    settings = {
        "class_names": CLASSES,
        "attributes": ATTRIBUTES,
        "backbone": "test_resnet",
        "pretrained": False,
        "weights": None,
        "input_size": 32,
        "unfreeze": "all",
        "dropout": 0.0,
        "label_smoothing": 0.1,
        "optimizer": partial(torch.optim.AdamW, lr=1e-3),
    }
    return ProductClassifier(**{**settings, **changes})


def targets_of(num_rows, seed=0):
    generator = torch.Generator().manual_seed(seed)
    widths = (len(CLASSES), len(GENDERS), len(COLOURS))
    columns = [torch.randint(0, width, (num_rows,), generator=generator) for width in widths]
    return torch.stack(columns, dim=1)


def photos_of(num_rows, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (num_rows, 3, 32, 32), generator=generator).byte()


def by_hand(logits, targets, smoothing, class_weights=None):
    """The mean over all rows of the smoothed cross-entropy, those without a target counting 0."""
    total = 0.0
    for row, target in zip(logits.double(), targets.tolist(), strict=True):
        if target == MISSING:
            continue
        log_p = row - row.exp().sum().log()
        weights = torch.ones(len(row)) if class_weights is None else class_weights
        total -= (1 - smoothing) * weights[target] * log_p[target].item()
        total -= smoothing / len(row) * (weights * log_p).sum().item()
    return float(total / len(targets))


def test_the_loss_is_the_weighted_sum_of_the_heads_own():
    classifier = build(head_weights=[1, 0.5, 0.25])
    logits, targets = torch.randn(12, 10), targets_of(12)
    targets[3:9, 1] = MISSING
    parts = [logits[:, :3], logits[:, 3:5], logits[:, 5:]]
    losses = [by_hand(part, own, 0.1) for part, own in zip(parts, targets.T, strict=True)]
    expected = losses[0] + 0.5 * losses[1] + 0.25 * losses[2]
    assert classifier._loss(logits, targets).item() == pytest.approx(expected, rel=1e-5)
    assert classifier._training_loss(logits, targets).item() == pytest.approx(expected, rel=1e-5)
    assert losses[0] == pytest.approx(
        F.cross_entropy(parts[0], targets[:, 0], label_smoothing=0.1).item(), rel=1e-5
    )


def test_classes_weigh_within_their_own_head():
    classifier = build(class_weights="balanced", logit_adjustment=1.0)
    counts = [torch.tensor([6, 3, 1]), torch.tensor([1, 3]), torch.tensor([1, 1, 1, 1, 4])]
    classifier._learn_classes(counts)
    logits, targets = torch.randn(12, 10), targets_of(12)
    expected = 0.0
    for part, own, count in zip(logits.split([3, 2, 5], 1), targets.T, counts, strict=True):
        weights = count.sum() / (len(count) * count)
        adjusted = part + (count / count.sum()).log()
        expected += by_hand(adjusted, own, 0.1, weights)
    assert classifier._training_loss(logits, targets).item() == pytest.approx(expected, rel=1e-5)


def test_a_batch_shared_out_in_parts_has_the_same_loss():
    classifier, logits, targets = build(), torch.randn(12, 10), targets_of(12)
    targets[:6, 2] = MISSING  # a whole part without a value
    parts = zip(logits.split(6), targets.split(6), strict=True)
    mean = sum(classifier._training_loss(*part) for part in parts) / 2
    torch.testing.assert_close(mean, classifier._training_loss(logits, targets))


def gradients(classifier, photos, targets):
    classifier.zero_grad()
    batch = Batch(photos, targets, torch.arange(len(targets)))
    classifier.train().training_step(batch, 0).backward()
    head = classifier.backbone.get_classifier()
    return head.weight.grad.clone(), head.bias.grad.clone()


def test_a_photo_without_a_value_moves_no_weight_of_that_head():
    classifier = build(backbone="test_vit", input_size=160, unfreeze=[])  # rows don't meet in it
    photos = torch.randint(0, 256, (4, 3, 160, 160)).byte()
    targets = targets_of(4)
    targets[2:, 1] = MISSING
    weight, bias = gradients(classifier, photos, targets)
    other = photos.clone()
    other[2:] = 255 - other[2:]
    new_weight, new_bias = gradients(classifier, other, targets)
    of_gender = slice(3, 5)
    assert torch.equal(weight[of_gender], new_weight[of_gender])
    assert torch.equal(bias[of_gender], new_bias[of_gender])
    assert weight[of_gender].abs().max() > 0
    assert not torch.equal(weight[:3], new_weight[:3])  # their labels count
    assert not torch.equal(weight[5:], new_weight[5:])
    targets[2:, 1] = 0  # the fault planted: the same photos, now with a value
    faulty = [gradients(classifier, each, targets)[0][of_gender] for each in (photos, other)]
    assert not torch.equal(*faulty)


def test_without_any_value_a_head_stays_as_it_is():
    targets = targets_of(4)
    targets[:, 1] = MISSING
    weight, _ = gradients(build(), photos_of(4), targets)
    assert weight[3:5].abs().max() == 0
    assert weight[:3].abs().max() > 0


def test_validation_figures_of_an_attribute_are_of_the_photos_that_have_a_value():
    classifier, logits, targets = build(), torch.randn(40, 10), targets_of(40)
    targets[::2, 1] = MISSING
    targets[:, 2] = MISSING
    figures = classifier._validation_figures(logits.clone(), targets)
    hits = (logits[:, 3:5].argmax(1) == targets[:, 1])[1::2]
    assert figures["gender_accuracy"] == pytest.approx(hits.double().mean().item())
    assert figures["accuracy"] == (logits[:, :3].argmax(1) == targets[:, 0]).double().mean().item()
    assert not [name for name in figures if name.startswith("base colour")]  # nobody has one
    alone = build(attributes=None)._validation_figures(logits[:, :3].clone(), targets[:, 0])
    assert {key: figures[key] for key in alone if key != "loss"} == {
        key: value for key, value in alone.items() if key != "loss"
    }


def test_one_column_is_what_it_was():
    torch.manual_seed(0)
    alone = build(attributes=None)
    torch.manual_seed(0)
    no_others = build(attributes={})
    for one, other in zip(alone.state_dict().items(), no_others.state_dict().items(), strict=True):
        assert one[0] == other[0]
        assert torch.equal(one[1], other[1])
    assert "attributes" not in alone.hparams
    assert "head_weights" not in alone.hparams
    logits, targets = torch.randn(12, 3), targets_of(12)[:, 0]
    expected = F.cross_entropy(logits, targets, label_smoothing=0.1)
    assert torch.equal(alone._training_loss(logits, targets), expected)
    together = loss_of_heads(Heads.of(CLASSES), logits, targets, [1], label_smoothing=0.1)
    torch.testing.assert_close(together, expected)


def test_the_head_is_one_layer_whose_rows_are_shared_out():
    classifier = build()
    assert classifier.backbone.get_classifier().out_features == 10
    assert classifier.heads == Heads.of(CLASSES, ATTRIBUTES)
    assert dict(classifier.hparams)["attributes"] == ATTRIBUTES
    logits = torch.arange(20.0).reshape(2, 10)
    parts = classifier.heads.outputs(logits)
    assert [part[0].tolist() for part in parts] == [[0, 1, 2], [3, 4], [5, 6, 7, 8, 9]]


@pytest.mark.parametrize(
    ("weights", "attributes", "message"),
    [
        ([1], None, r"\[1\], but data\.label_column names 1 column; leave it out\."),
        ([1, 2], ATTRIBUTES, r"\[1, 2\], but .* names 3 columns; pass 3 numbers, none below 0"),
        ([1, -1, 0], ATTRIBUTES, r"pass 3 numbers"),
        ([0, 1, 1], ATTRIBUTES, r"the first above it"),
        ([1, math.inf, 1], ATTRIBUTES, r"pass 3 numbers"),
        (2, ATTRIBUTES, r"model\.head_weights=2, but"),
    ],
)
def test_wrong_weights_are_named(weights, attributes, message):
    with pytest.raises(ValueError, match=message):
        build(attributes=attributes, head_weights=weights)


@pytest.fixture(scope="module")
def two_heads_root(write_catalogue, tmp_path_factory):
    """120 photos in the colours of their labels; two in three have a gender."""
    labels, genders = ["Shirts", "Jeans", "Watches"], ["Men", "Women", "", "Men", "", "Women"]
    rows = [
        {"id": str(i), "articleType": labels[i % 3], "gender": genders[i % 6]} for i in range(120)
    ]
    return write_catalogue(tmp_path_factory.mktemp("two heads"), rows)


@pytest.fixture(scope="module")
def together(fit, two_heads_root, tmp_path_factory):
    """A finished run on label and gender: its folder, history and last weights."""
    folder = tmp_path_factory.mktemp("together")
    words = [f"data.root={two_heads_root}", "data.label_column=[articleType,gender]"]
    return folder, *fit(folder, words=words)[:2], words


def test_a_run_of_two_columns_trains_both_heads(together):
    folder, history, _, _ = together
    assert {"val/accuracy", "val/gender_accuracy", "val/gender_macro_auprc"} <= {*history}
    best = checkpoints.read(folder / "checkpoints" / "best.ckpt")
    assert best["hyper_parameters"]["attributes"] == {"gender": ["Men", "Women"]}
    network = PhotoClassifier.restore(best)
    assert network(photos_of(2)).shape == (2, 5)


class Stop(Callback):
    """Sends SIGTERM, as Lightning sees it, in the middle of the second epoch."""

    def on_train_batch_end(self, trainer, *_):
        trainer._signal_connector.received_sigterm = trainer.global_step == 17


def test_a_run_that_was_stopped_ends_where_an_unbroken_one_does(together, fit, tmp_path):
    _, history, weights, words = together
    with pytest.raises(SystemExit):
        fit(tmp_path, Stop(), words=words)
    resumed, after, _ = fit(tmp_path, words=words, resume=True)
    pd.testing.assert_frame_equal(resumed, history, rtol=1e-6)
    assert all(torch.equal(value, after[key]) for key, value in weights.items())


def test_a_list_of_one_column_equals_that_column_to_the_bit(fit, two_heads_root, tmp_path):
    word = f"data.root={two_heads_root}"
    alone = fit(tmp_path / "alone", words=[word])
    listed = fit(tmp_path / "list", words=[word, "data.label_column=[articleType]"])
    pd.testing.assert_frame_equal(alone[0], listed[0])
    assert alone[1].keys() == listed[1].keys()
    assert all(torch.equal(value, listed[1][key]) for key, value in alone[1].items())


def test_stored_features_train_the_same_heads(fit, two_heads_root, tmp_path):
    words = [
        f"data.root={two_heads_root}",
        "data.label_column=[articleType,gender]",
        "model.head_weights=[1,0.5]",
        "data.views=2",
        "data.views_precision=float32",
    ]
    history, _, _ = fit(tmp_path, words=words)
    assert history["train/loss"].notna().all()
    assert {"val/gender_macro_f1"} <= {*history}
