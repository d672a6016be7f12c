import math
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning import Trainer
from sklearn.metrics import average_precision_score, f1_score
from sklearn.utils.class_weight import compute_class_weight
from torch.utils.data import DataLoader

from fashion.data.batches import PADDING, Batch
from fashion.training.classifier import ProductClassifier

CLASSES = ["Flats", "Heels", "Shirts"]


def build(**changes):
    settings = {
        "class_names": CLASSES,
        "backbone": "test_resnet",
        "pretrained": False,
        "weights": None,
        "input_size": 32,
        "unfreeze": [],
        "dropout": 0.0,
        "label_smoothing": 0.1,
        "optimizer": partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.004),
    }
    return ProductClassifier(**{**settings, **changes})


def batches(num_rows, batch_size=4, size=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.arange(-(-num_rows // batch_size) * batch_size)
    rows[num_rows:] = PADDING
    return [
        Batch(
            torch.randint(0, 256, (batch_size, 3, size, size), generator=generator).byte(),
            torch.randint(0, len(CLASSES), (batch_size,), generator=generator),
            part,
        )
        for part in rows.split(batch_size)
    ]


def loader(items):
    return DataLoader(items, batch_size=None)


def trainer(**settings):
    defaults = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
    }
    return Trainer(**{**defaults, **settings})


# The loaders here are lists in memory, and some tests only train.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*have no `val_dataloader`"),
]


def test_the_network_is_built_at_once_with_its_head():
    classifier = build()
    assert classifier.backbone.get_classifier().out_features == len(CLASSES)
    assert classifier(torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).shape == (2, 3)


def test_normalisation_is_the_first_operation():
    classifier = build(backbone="legacy_xception.tf_in1k", input_size=71).eval()
    seen = []
    classifier.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    classifier(torch.tensor([0, 51, 255], dtype=torch.uint8).repeat(3, 71, 24)[None, :, :, :71])
    values = torch.tensor([-1.0, -0.6, 1.0])
    torch.testing.assert_close(seen[0].unique(), values)


def test_validation_figures_are_those_of_scikit_learn_without_the_padding():
    classifier = build()
    items = batches(num_rows=10)
    # What is only padding must not matter, whatever it holds.
    items[-1].inputs[2:] = 255
    figures = trainer().validate(classifier, loader(items), verbose=False)[0]
    with torch.inference_mode():
        logits = torch.cat([classifier.eval()(item.inputs) for item in items])[:10]
    targets = torch.cat([item.targets for item in items])[:10]
    probabilities = logits.softmax(dim=1)
    present = sorted(set(targets.tolist()))
    auprc = [
        average_precision_score(targets == k, probabilities[:, k].numpy().astype("float64"))
        for k in present
    ]
    predicted = logits.argmax(dim=1)
    f1 = f1_score(targets, predicted, labels=range(3), average="macro", zero_division=0)
    assert figures["val/macro_auprc"] == pytest.approx(sum(auprc) / len(auprc), abs=1e-6)
    assert figures["val/macro_f1"] == pytest.approx(f1, abs=1e-6)
    assert figures["val/accuracy"] == pytest.approx((predicted == targets).double().mean().item())
    loss = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=0.1)
    assert figures["val/loss"] == pytest.approx(loss.item(), rel=1e-5)


def test_the_learning_rate_falls_along_a_cosine_over_all_steps():
    classifier = build()
    rates = []

    classifier.on_before_optimizer_step = lambda optimizer: rates.append(
        optimizer.param_groups[0]["lr"]
    )
    trainer(max_epochs=3, limit_val_batches=0).fit(classifier, loader(batches(16)))
    expected = [1e-3 * (1 + math.cos(math.pi * step / 12)) / 2 for step in range(12)]
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize(("fused", "expected"), [(None, True), (False, False)])
def test_the_fused_optimiser_is_taken_where_nothing_is_said(fused, expected):
    classifier = build(optimizer=partial(torch.optim.AdamW, lr=1e-3, fused=fused))
    fitted = trainer(max_epochs=1, limit_val_batches=0)
    fitted.fit(classifier, loader(batches(8)))
    (group,) = fitted.optimizers[0].param_groups
    assert group["fused"] is expected


def test_training_figures_are_the_mean_over_the_epoch():
    classifier = build(optimizer=partial(torch.optim.SGD, lr=0.0))
    items = batches(16)
    runner = trainer(max_epochs=1, limit_val_batches=0)
    runner.fit(classifier, loader(items))
    with torch.no_grad():
        logits = [classifier.train()(item.inputs) for item in items]
    losses = [
        torch.nn.functional.cross_entropy(part, item.targets, label_smoothing=0.1).item()
        for part, item in zip(logits, items, strict=True)
    ]
    assert runner.callback_metrics["train/loss"].item() == pytest.approx(sum(losses) / 4, rel=1e-5)
    hits = torch.cat(logits).argmax(dim=1) == torch.cat([item.targets for item in items])
    accuracy = runner.callback_metrics["train/accuracy"].item()
    assert accuracy == pytest.approx(hits.float().mean().item())


def test_dropout_depends_on_the_seed_and_the_batch_alone():
    def losses(seed):
        torch.manual_seed(0)
        classifier = build(dropout=0.5, seed=seed, optimizer=partial(torch.optim.SGD, lr=0.0))
        seen = []
        step = classifier.training_step
        classifier.training_step = lambda *args: seen.append(loss := step(*args)) or loss
        torch.manual_seed(seed + 100)  # what was drawn before the run does not matter
        trainer(max_epochs=1, limit_val_batches=0).fit(classifier, loader([batches(4)[0]] * 3))
        return [loss.item() for loss in seen]

    assert losses(1) == losses(1)
    assert losses(1) != losses(2)
    assert len(set(losses(1))) == 3


def test_a_model_without_an_optimizer_says_so():
    with pytest.raises(RuntimeError, match="without an optimizer"):
        build(optimizer=None).configure_optimizers()


@pytest.mark.parametrize(("key", "value"), [("dropout", 1.0), ("label_smoothing", -0.1)])
def test_rates_out_of_range_are_named(key, value):
    with pytest.raises(ValueError, match=rf"model\.{key}={value} must be at least 0"):
        build(**{key: value})


def test_a_wrong_learning_rate_is_found_at_once():
    with pytest.raises(ValueError, match=r"model\.optimizer can't be built: .*learning rate: -1"):
        build(optimizer=partial(torch.optim.AdamW, lr=-1))


def test_a_wrong_unfreeze_is_found_before_any_weights_are_touched():
    with pytest.raises(ValueError, match=r"model\.unfreeze: 'nothing' matches none"):
        build(unfreeze=["nothing"], weights="nowhere.safetensors")


def test_collect_puts_rows_in_order_and_drops_padding():
    classifier = build()
    classifier._trainer = SimpleNamespace(world_size=1)
    logits = torch.arange(12.0).reshape(4, 3)
    rows = torch.tensor([2, 0, PADDING, 1])
    targets = torch.tensor([0, 1, 2, 0])
    outputs = {"logits": logits, "targets": targets, "rows": rows}
    classifier.on_validation_batch_end(outputs, None, 0)
    collected, targets, order = classifier.collect()
    assert order.tolist() == [0, 1, 2]
    assert targets.tolist() == [1, 0, 0]
    assert torch.equal(collected, logits[[1, 3, 0]])


@pytest.mark.parametrize(("every", "parts", "rows"), [(2, 1, 4), (1, 4, 2), (0, 1, 0)])
def test_the_loss_of_a_step_is_logged_every_n_steps_and_undivided(every, parts, rows):
    classifier = build(optimizer=partial(torch.optim.SGD, lr=0.0))
    items = [batches(4)[0]] * 8
    logged = []
    log = classifier.log
    classifier.log = lambda name, value, **options: (
        logged.append(value) if name == "train/loss_step" else log(name, value, **options)
    )
    settings = {"log_every_n_steps": every, "accumulate_grad_batches": parts}
    trainer(max_epochs=1, limit_val_batches=0, **settings).fit(classifier, loader(items))
    with torch.no_grad():
        logits = classifier.train()(items[0].inputs)
    loss = torch.nn.functional.cross_entropy(logits, items[0].targets, label_smoothing=0.1)
    assert [value.item() for value in logged] == pytest.approx([loss.item()] * rows)


@pytest.mark.parametrize(
    ("asked", "num_photos", "compiled"),
    [(None, 19_999, 0), (None, 20_000, 1), (False, 20_000, 0), (True, 1, 1)],
)
def test_the_frozen_side_is_compiled_where_photos_are_many(
    asked, num_photos, compiled, monkeypatch
):
    calls, runner = [], trainer()
    monkeypatch.setattr(torch, "compile", lambda side, **options: calls.append(side) or side)
    monkeypatch.setattr("shutil.which", lambda name: name)  # a compiler, too
    classifier = build(unfreeze=[r"^layer4\."], input_size=64, compile=asked)
    classifier.prepare_cut_network(runner, num_photos)
    assert len(calls) == compiled


def learned(counts, **settings):
    classifier = build(**settings)
    classifier._learn_classes([torch.tensor(counts)])
    return classifier


@pytest.mark.parametrize("kind", ["balanced", "effective"])
def test_class_weights_are_the_published_ones_with_a_mean_of_one(kind):
    counts = [7066, 500, 102]
    classifier = learned(counts, class_weights=kind, label_smoothing=0.0)
    by_hand = {
        "balanced": compute_class_weight(
            "balanced", classes=np.arange(3), y=np.repeat(np.arange(3), counts)
        ),
        "effective": np.array([(1 - 0.9999) / (1 - 0.9999**n) for n in counts]),
    }[kind]
    by_hand = by_hand * sum(counts) / (by_hand * counts).sum()
    assert classifier.weight.tolist() == pytest.approx(by_hand.tolist(), rel=1e-5)
    logits = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(50) % 3
    losses = -logits.log_softmax(1)[torch.arange(50), targets]
    expected = (losses * torch.tensor(by_hand)[targets]).mean().item()
    assert classifier._training_loss(logits, targets).item() == pytest.approx(expected, rel=1e-5)


def test_logit_adjustment_adds_the_log_prior_in_training_alone():
    classifier = learned([80, 15, 5], logit_adjustment=1.5, label_smoothing=0.1)
    logits, targets = torch.randn(20, 3), torch.arange(20) % 3
    prior = 1.5 * torch.tensor([0.8, 0.15, 0.05]).log()
    expected = torch.nn.functional.cross_entropy(logits + prior, targets, label_smoothing=0.1)
    assert torch.allclose(classifier._training_loss(logits, targets), expected, rtol=1e-5)
    plain = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=0.1)
    assert torch.equal(classifier._loss(logits, targets), plain)


def test_without_options_the_loss_is_the_plain_one():
    classifier = learned([80, 15, 5])
    logits, targets = torch.randn(20, 3), torch.arange(20) % 3
    assert torch.equal(
        classifier._training_loss(logits, targets), classifier._loss(logits, targets)
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            {"class_weights": "even"},
            r"model\.class_weights='even' is unknown; pass balanced, e",
        ),
        ({"logit_adjustment": -1}, r"model\.logit_adjustment=-1 must be 0 or more"),
    ],
)
def test_a_wrong_option_for_imbalance_is_named(setting, message):
    with pytest.raises(ValueError, match=message):
        build(**setting)
