"""Trainings with Lightning's Trainer arguments, through the front door."""

import math

import pandas as pd
import pytest
import torch
from hydra.errors import CompactHydraException

from fashion.commands import train
from fashion.commands.configuration import compose_words
from fashion.data import datamodule

TINY = (
    "model=timm", "model.backbone=test_resnet", "model.pretrained=false", "model.input_size=32",
    "data.min_images=20", "data.batch_size=8", "data.num_workers=0", "robustness_photos=0",
    "trainer.accelerator=cpu", "trainer.max_epochs=2", "trainer.enable_progress_bar=false",
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tiny_root, tmp_path_factory):
    return f"data.root={tiny_root}", f"data.cache_dir={tmp_path_factory.mktemp('cache')}"


@pytest.fixture
def run(tmp_path, data):
    def run(*words):
        names = (f"output_dir={tmp_path}", "model_name=timm")
        train.main(compose_words([*names, *TINY, *data, *words]))
        return pd.read_csv(tmp_path / "history.csv")

    return run


@pytest.fixture
def steps(monkeypatch):
    """The learning rate of each step that is taken."""
    rates = []
    step = torch.optim.AdamW.step

    def noting(self, *args, **kwargs):
        if len(self.param_groups[0]["params"]) > 1:  # else it is the trial of a fused step
            rates.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", noting)
    return rates


def test_max_steps_ends_in_an_epochs_middle_with_a_validation(run, steps, tmp_path):
    history = run("trainer.max_steps=8", "trainer.max_epochs=9")
    assert len(steps) == 8
    assert history["val/macro_auprc"].notna().all()
    expected = [1e-4 * (1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)]
    assert steps == pytest.approx(expected)
    assert torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)["global_step"] <= 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "total"),
    [
        (["trainer.limit_train_batches=3"], 6),
        (["trainer.accumulate_grad_batches=2", "trainer.limit_train_batches=4"], 4),
        (["trainer.max_epochs=-1", "trainer.max_steps=5"], 5),
    ],
)
def test_the_rate_falls_over_the_steps_that_are_taken(words, total, run, steps):
    run(*words)
    expected = [1e-4 * (1 + math.cos(math.pi * step / total)) / 2 for step in range(total)]
    assert steps == pytest.approx(expected)


@pytest.mark.slow
def test_the_rate_falls_over_the_time_that_training_may_take(run, steps, monkeypatch):
    elapsed = iter(range(0, 10_000))
    monkeypatch.setattr(
        "lightning.pytorch.callbacks.Timer.time_elapsed", lambda self, *stage: next(elapsed) / 2
    )
    run("trainer.max_time=00:00:00:10", "trainer.max_epochs=500", "trainer.limit_val_batches=1")
    assert steps[0] == pytest.approx(1e-4)
    assert steps == sorted(steps, reverse=True)
    assert len(steps) < 30
    assert steps[-1] < 0.1e-4


@pytest.mark.filterwarnings("ignore:`ModelCheckpoint")  # as on the command line
def test_validation_every_other_epoch_stops_and_keeps_by_its_own_figures(run, tmp_path):
    words = ["trainer.check_val_every_n_epoch=2", "trainer.max_epochs=6"]
    history = run(*words, "callbacks.early_stopping.patience=1", "model.optimizer.lr=0")
    validated = history["val/macro_auprc"].notna()
    assert validated.tolist() == [False, True, False, True]  # the second is no better: it ends
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["epoch"] == 1


def test_a_run_without_early_stopping_goes_to_its_end(run):
    words = ["callbacks.early_stopping=null", "callbacks.last=null", "callbacks.averaging=null"]
    assert len(run(*words)) == 2


def test_an_epoch_of_few_steps_is_logged_all_the_same(run, tmp_path, recwarn):
    run("trainer.log_every_n_steps=500")
    table = pd.read_csv(tmp_path / "csv" / "metrics.csv")
    assert table["train/loss_step"].notna().sum() == 2
    assert not [each for each in recwarn if "logging interval" in str(each.message)]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("trainer.max_epochs=abc", r"trainer\.max_epochs='abc' must be a whole number"),
        ("trainer.val_check_interval=900", r"trainer\.val_check_interval=900: .* Pass \d+ or less"),
        ("trainer.gradient_clip_algorithm=foo", r"with trainer\.gradient_clip_algorithm='foo'"),
        ("trainer.profiler=foo", r"with trainer\.profiler='foo'"),
        ("trainer.devices=abc", r"trainer\.devices='abc'.*Pass trainer\.devices=auto"),
        ("trainer.strategy=foo", r"trainer\.strategy='foo'.*Pass trainer\.strategy=auto"),
        ("trainer.precision=foo", r"trainer\.precision='foo'.*Pass trainer\.precision=32-true"),
        ("trainer.accelerator=foo", r"trainer\.accelerator='foo'.*Pass trainer\.accelerator=auto"),
        ("callbacks.best=null", r"callbacks\.best can't be left out"),
        ("+callbacks.mine.patience=2", r"callbacks\.mine is no callback"),
        ("data.num_workers=-1", r"data\.num_workers=-1 must be a whole number, 0 or more"),
        ("data.batch_size=true", r"data\.batch_size=True must be a whole number, 1 or more"),
        ("data.rotation=nan", r"data\.rotation=nan must be a number, 0 or more"),
        ("seed=abc", r"seed='abc' must be a whole number"),
        (
            "seed=99999999999",
            r"seed=99999999999 must be .* 0 or more, up to 4294967295",
        ),
        ("model.input_size=abc", r"model\.input_size='abc' must be a number of pixels above 0"),
        ("model.input_size=48.5", r"model\.input_size=48\.5 must be a number of pixels above 0"),
        ("model.optimizer.lr=abc", r"model\.optimizer\.lr='abc' must be a number"),
        ("model.optimizer=null", r"model\.optimizer is null"),
        ("model.optimizer._target_=torch.optim.LBFGS", r"torch\.optim\.LBFGS"),
        ("model.compile=abc", r"model\.compile='abc' must be true, false or null"),
        ("model.unfreeze=null", r"model\.unfreeze=None is neither all nor a list"),
        ("model.logit_adjustment=inf", r"model\.logit_adjustment=inf must be 0 or more"),
    ],
)
def test_a_wrong_value_is_told_before_a_photo_is_packed(word, message, run, monkeypatch):
    monkeypatch.setattr(datamodule, "pack", lambda *_: pytest.fail("photos are packed"))
    with pytest.raises(CompactHydraException, match=message):
        run(word)
