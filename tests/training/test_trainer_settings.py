import inspect
import math
from unittest.mock import sentinel

import pytest
from lightning import Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from fashion.training.trainer_settings import (
    DECISIONS,
    check_batches,
    check_callbacks,
    check_trainer,
    limited,
)


def test_every_argument_of_lightnings_trainer_is_decided_upon():
    """Of those that work, another test trains with each; see `tests/commands/test_trainer.py`."""
    parameters = inspect.signature(Trainer).parameters
    assert set(DECISIONS) == set(parameters)
    defaults = {name: each.default for name, each in parameters.items()}
    # Lightning would share out batches itself; an epoch's end is this project's to say.
    check_trainer({**defaults, "use_distributed_sampler": False})


def test_an_argument_that_lightning_has_not_is_refused():
    with pytest.raises(ValueError, match=r"trainer\.max_epoch is no argument of Lightning's"):
        check_trainer({"max_epoch": 3})
    check_trainer({"_target_": "lightning.Trainer", "_convert_": "all"})


REFUSED = [
    ("max_epochs", ("abc", 0, -1, -2, 1.5, True)),
    ("min_epochs", ("abc", -1, 1.5, 31)),
    ("max_steps", ("abc", 0, -2, 1.5, None)),
    ("min_steps", ("abc", -1)),
    ("limit_train_batches", ("abc", 0, 0.0, 1.5, -1, math.nan, True)),
    ("limit_val_batches", (0, 0.0, 1.5)),
    ("limit_test_batches", (0, 1, 0.5)),
    ("limit_predict_batches", (0, 2, 0.5)),
    ("overfit_batches", (1, 0.5)),
    ("val_check_interval", (0, -1, 1.5, True)),
    ("check_val_every_n_epoch", (0, 1.5, "abc", 31)),
    ("num_sanity_val_steps", ("abc", -2)),
    ("log_every_n_steps", ("abc", -1)),
    ("enable_checkpointing", (False,)),
    ("barebones", (True,)),
    ("fast_dev_run", ("abc", -1)),
    ("reload_dataloaders_every_n_epochs", (-1, "abc")),
    ("use_distributed_sampler", (True,)),
    ("accumulate_grad_batches", (0, "abc", 1.5)),
    ("gradient_clip_val", ("abc", -1.0, math.nan, math.inf, True)),
    ("deterministic", ("abc", 2)),
    ("benchmark", ("abc",)),
    ("inference_mode", (1.5,)),
    ("detect_anomaly", ("abc",)),
    ("enable_progress_bar", ("abc",)),
    ("enable_model_summary", ("abc",)),
    ("enable_autolog_hparams", ("abc",)),
    ("sync_batchnorm", (True,)),
    ("model_registry", ("mine",)),
    ("logger", ("abc", 3)),
    ("callbacks", ([],)),
    ("precision", ("16-true", "bf16-true", "transformer-engine")),
    ("strategy", ("ddp_spawn", "ddp_fork", "ddp_notebook", "fsdp", "deepspeed_stage_2")),
]


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in REFUSED for value in values]
)
def test_what_a_run_could_not_do_is_refused_by_its_key_and_value(key, value):
    with pytest.raises(ValueError, match=rf"^trainer\.{key}=") as refusal:
        check_trainer({"max_epochs": 30, key: value})
    assert f"trainer.{key}={value!r}" in str(refusal.value)
    assert str(refusal.value).endswith(".")


@pytest.mark.parametrize(
    "settings",
    [
        {"max_epochs": -1, "max_steps": 10},
        {"max_epochs": None},
        {"max_steps": 10, "min_steps": 10},
        {"max_epochs": 3, "min_epochs": 3, "check_val_every_n_epoch": 3},
        {"check_val_every_n_epoch": None, "val_check_interval": 7},
        {"val_check_interval": "00:00:10:00"},
        {"limit_train_batches": 0.5, "limit_val_batches": 1, "limit_predict_batches": 1.0},
        {"gradient_clip_val": 0.5, "gradient_clip_algorithm": "value", "deterministic": "warn"},
        {"fast_dev_run": 2, "num_sanity_val_steps": -1, "log_every_n_steps": 0},
        {"logger": False, "profiler": "simple", "plugins": None},
        {"strategy": sentinel.strategy, "logger": [{"_target_": "a.Logger"}]},
    ],
)
def test_what_works_is_let_be(settings):
    check_trainer(settings)


@pytest.mark.parametrize(
    "settings",
    [{"min_epochs": 4, "max_epochs": 3}, {"min_steps": 11, "max_steps": 10},
     {"max_steps": 10, "min_epochs": 2}],
)  # fmt: skip
def test_what_contradicts_is_refused(settings):
    with pytest.raises(ValueError, match=r"trainer\.m\w+=\d+ (is above|and) trainer\.m"):
        check_trainer(settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"limit_train_batches": 0.1}, r"limit_train_batches=0\.1 leaves none .* 6 .* pass 0\.167"),
        ({"limit_val_batches": 0.4}, r"limit_val_batches=0\.4 leaves none .* 2 .* pass 0\.5 or"),
        ({"val_check_interval": 7}, r"val_check_interval=7: .* in 6 batches .* Pass 6 or less"),
        ({"val_check_interval": 4, "limit_train_batches": 3}, r"in 3 batches"),
        (
            {"val_check_interval": 19, "check_val_every_n_epoch": None, "max_epochs": 3},
            r"in 18 batches",
        ),
    ],
)
def test_what_does_not_fit_an_epoch_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        check_batches(settings, 6, 2)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"limit_train_batches": 0.167, "limit_val_batches": 0.5, "val_check_interval": 1},
        {"limit_train_batches": 100, "val_check_interval": 6},
        {"val_check_interval": 18, "check_val_every_n_epoch": None, "max_epochs": 3},
        {"val_check_interval": 700, "check_val_every_n_epoch": None, "max_steps": 900},
        {"limit_train_batches": 0.01, "fast_dev_run": True},
    ],
)
def test_what_fits_an_epoch_is_let_be(settings):
    check_batches(settings, 6, 2)


def test_a_limit_is_a_number_or_a_share():
    assert [limited(limit, 7) for limit in (None, 3, 9, 0.5, 1.0)] == [7, 3, 7, 3, 7]


def test_null_removes_a_callback():
    best, stopping = ModelCheckpoint(), EarlyStopping("val/macro_auprc")
    assert check_callbacks({"best": best, "last": None, "early_stopping": stopping}) == [
        best,
        stopping,
    ]


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        ({"best": None}, r"callbacks\.best can't be left out"),
        ({}, r"callbacks\.best can't be left out"),
        ({"mine": {"patience": 2}}, r"callbacks\.mine is no callback; give .*mine\._target_"),
        ({"early_stopping": False}, r"callbacks\.early_stopping is no callback"),
        ({"e": EarlyStopping("val/foo")}, r"callbacks\.e\.monitor='val/foo' .* val/macro_auprc"),
        ({"e": EarlyStopping("val/loss", patience="abc")}, r"callbacks\.e\.patience='abc' must"),
        ({"e": EarlyStopping("val/loss", patience=-1)}, r"callbacks\.e\.patience=-1 must be"),
    ],
)
def test_a_callback_that_can_do_nothing_is_refused(callbacks, message):
    with pytest.raises(ValueError, match=message):
        check_callbacks({"best": ModelCheckpoint(), **callbacks} if callbacks else callbacks)
