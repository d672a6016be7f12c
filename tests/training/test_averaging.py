import numpy as np
import pytest
import torch
from lightning import Callback, Trainer
from torch.utils.data import DataLoader

from fashion.data.batches import Batch
from fashion.training.averaging import TRAINED, WeightAverage
from fashion.training.classifier import ProductClassifier

STEPS, EPOCHS = 5, 3


class Watch(Callback):
    """Keeps what trains after each step, and in each validation."""

    def __init__(self):
        self.after_step, self.validated = [], []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.after_step.append(_copy(pl_module))

    def on_validation_batch_start(self, trainer, pl_module, *_):
        self.validated.append(_copy(pl_module))


def _copy(pl_module):
    return {name: tensor.clone().double() for name, tensor in pl_module.state_dict().items()}


@pytest.fixture
def fit(tmp_path):
    """Returns fit(decay, ...) -> the network before, the watch, the callback and the trainer."""

    def fit(decay, **settings):
        torch.manual_seed(0)
        classifier = ProductClassifier(
            class_names=["Flats", "Heels", "Shirts"],
            backbone="test_resnet",
            pretrained=False,
            weights=None,
            input_size=32,
            unfreeze=[r"^layer4\."],
            dropout=0.0,
            label_smoothing=0.1,
            optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=1e-2),
        )
        before = _copy(classifier)
        images = torch.randint(0, 256, (STEPS, 4, 3, 32, 32)).byte()
        batches = [
            Batch(photos, torch.arange(4) % 3, torch.arange(4 * step, 4 * step + 4))
            for step, photos in enumerate(images)
        ]
        watch, averaging = Watch(), WeightAverage(decay)
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=EPOCHS,
            callbacks=[averaging, watch],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            **settings,
        )
        loaders = (DataLoader(part, batch_size=None) for part in (batches, batches[:1]))
        trainer.fit(classifier, *loaders)
        return before, watch, averaging, trainer

    return fit


def averages(before, after_step, decay):
    """The formula in float64, step by step."""
    average, all_steps = dict(before), []
    for step, weights in enumerate(after_step):
        share = 1 - min(decay, (1 + step) / (10 + step))
        average = {name: value + share * (weights[name] - value) for name, value in average.items()}
        all_steps.append(average)
    return all_steps


def test_the_average_is_validated_and_left_in_the_model(fit):
    before, watch, _, trainer = fit(0.3)
    expected = averages(before, watch.after_step, 0.3)
    changed = [name for name in before if not torch.equal(before[name], watch.after_step[-1][name])]
    assert any("layer4" in name and "running_var" in name for name in changed)
    counters = {name for name in changed if name.endswith("num_batches_tracked")}
    for epoch, validated in enumerate(watch.validated):
        for name in set(changed) - counters:
            of_epoch = expected[STEPS * (epoch + 1) - 1][name]
            np.testing.assert_allclose(validated[name], of_epoch, rtol=1e-5, atol=1e-6)
    left = _copy(trainer.lightning_module)
    assert all(torch.equal(left[name], watch.validated[-1][name]) for name in left)
    assert not all(torch.equal(left[name], watch.after_step[-1][name]) for name in left)


def test_training_is_the_same_with_and_without(fit):
    _, one, averaging, trainer = fit(0.3)
    _, other, nothing, _ = fit(0.0)
    for with_average, without in zip(one.after_step, other.after_step, strict=True):
        assert all(torch.equal(with_average[name], without[name]) for name in without)
    assert all(
        torch.equal(other.validated[-1][name], other.after_step[-1][name])
        for name in other.after_step[-1]
    )
    assert averaging.num_steps == STEPS * EPOCHS
    assert nothing.num_steps == 0
    checkpoint = {"state_dict": trainer.lightning_module.state_dict()}
    nothing.on_save_checkpoint(trainer, trainer.lightning_module, checkpoint)
    assert TRAINED not in checkpoint


def test_accumulated_batches_count_as_one_step(fit):
    _, _, averaging, _ = fit(0.3, accumulate_grad_batches=2)
    assert averaging.num_steps == EPOCHS * 3  # of 2, 2 and 1 batches


@pytest.mark.parametrize("decay", [1, 1.5, -0.1, "0.9", True])
def test_a_decay_that_is_none_is_refused(decay):
    with pytest.raises(ValueError, match=r"callbacks\.averaging\.decay=.* less than 1"):
        WeightAverage(decay)


@pytest.mark.parametrize("decay", [0, 0.3])
def test_a_run_resumed_without_a_decay_goes_on_from_the_weights_alone(fit, decay):
    _, watch, averaging, trainer = fit(0.3)
    classifier = trainer.lightning_module
    checkpoint = {"state_dict": dict(classifier.state_dict())}
    averaging.on_save_checkpoint(trainer, classifier, checkpoint)
    resumed = WeightAverage(decay)
    trainer.state.fn = "fit"
    resumed.on_load_checkpoint(trainer, classifier, checkpoint)
    weights = _copy(classifier)
    floating = [name for name in weights if weights[name].is_floating_point()]
    assert all(torch.equal(weights[name], watch.after_step[-1][name]) for name in floating)
    saved = {"state_dict": dict(classifier.state_dict())}
    resumed.on_save_checkpoint(trainer, classifier, saved)
    assert (TRAINED in saved) == (decay > 0)
    expected = checkpoint if decay else {"state_dict": classifier.state_dict()}
    for name, tensor in saved["state_dict"].items():
        assert torch.equal(tensor, expected["state_dict"][name])
