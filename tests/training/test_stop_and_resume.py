import os
import signal
import time

import pandas as pd
import pytest
import torch
from lightning import Callback

from fashion.models import checkpoints
from fashion.training.averaging import TRAINED
from fashion.training.classifier import ProductClassifier
from fashion.training.run_folder import RunFolder

EPOCHS = 3


@pytest.fixture(scope="module")
def start(start_command, tiny_root, cache_dir):
    """Returns start(run_dir, *more): a small network's training with all that a seed decides."""

    def start(run_dir, *more):
        settings = [
            f"data.root={tiny_root}",
            f"data.cache_dir={cache_dir}",
            f"hydra.run.dir={run_dir}",
            "data.min_images=20",
            "data.batch_size=8",
            "model=timm",
            "model.backbone=test_resnet",
            "model.pretrained=false",
            "model.input_size=48",
            "model.unfreeze=['^layer4', '^layer3']",
            "model.optimizer.lr=1e-3",
            "trainer.accelerator=cpu",
            f"trainer.max_epochs={EPOCHS}",
            "trainer.enable_progress_bar=false",
        ]
        return start_command("train.py", *settings, *more)

    return start


def epochs_done(run_dir):
    path = run_dir / "history.csv"
    return len(pd.read_csv(path)) if path.exists() else 0


def wait_until(condition, process):
    deadline = time.monotonic() + 200
    while not condition():
        assert process.poll() is None, process.output()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def unbroken(start, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "unbroken"
    code, output = start(run_dir).finish()
    assert code == 0, output
    return run_dir


def assert_same_run(run_dir, unbroken):
    one, other = (
        checkpoints.read(RunFolder(run_dir).last),
        checkpoints.read(RunFolder(unbroken).last),
    )
    for part in ("state_dict", "lr_schedulers", "global_step", "epoch"):
        left, right = one[part], other[part]
        if part == "state_dict":
            assert left.keys() == right.keys()
            assert [key for key in left if not torch.equal(left[key], right[key])] == []
        else:
            assert left == right
    figures = [
        pd.read_csv(folder / "history.csv").drop(columns="seconds")
        for folder in (run_dir, unbroken)
    ]
    pd.testing.assert_frame_equal(*figures, check_exact=False, rtol=1e-6)
    reports = [pd.read_csv(folder / "report" / "per_class.csv") for folder in (run_dir, unbroken)]
    pd.testing.assert_frame_equal(*reports)


@pytest.mark.slow
@pytest.mark.parametrize("epochs_before", range(1, EPOCHS))
def test_a_run_killed_after_an_epoch_and_resumed_ends_as_one_never_stopped(
    epochs_before, start, unbroken, tmp_path
):
    run_dir = tmp_path / "run"
    process = start(run_dir)
    wait_until(lambda: epochs_done(run_dir) >= epochs_before, process)
    os.kill(process.pid, signal.SIGKILL)
    assert process.finish()[0] == -signal.SIGKILL
    assert not (run_dir / "report").exists()
    code, output = start(run_dir, "ckpt_path=last").finish()
    assert code == 0, output
    assert_same_run(run_dir, unbroken)
    steps = pd.read_csv(run_dir / "csv" / "metrics.csv")["epoch"]
    assert set(steps) == set(range(EPOCHS))


@pytest.mark.slow
def test_sigterm_in_an_epoch_leaves_a_checkpoint_to_go_on_from(start, unbroken, tmp_path):
    run_dir = tmp_path / "run"
    process = start(run_dir)
    wait_until((run_dir / "csv" / "metrics.csv").exists, process)
    os.kill(process.pid, signal.SIGTERM)
    code, output = process.finish()
    assert code == 128 + signal.SIGTERM, output
    stopped = checkpoints.read(RunFolder(run_dir).last)
    assert 0 < stopped["global_step"] < 12 * EPOCHS
    again = RunFolder(run_dir).last
    code, output = start(run_dir, f"ckpt_path={again}").finish()
    assert code == 0, output
    assert_same_run(run_dir, unbroken)


@pytest.fixture(scope="module", params=[0, 0.9])
def averaged(request, fit, tmp_path_factory):
    """What sets the decay of averaged weights, and a run with it that nothing stops."""
    words = [f"callbacks.averaging.decay={request.param}"]
    folder = tmp_path_factory.mktemp("averaged")
    never_stopped = fit(folder, words=words)
    assert (TRAINED in checkpoints.read(RunFolder(folder).last)) == (request.param > 0)
    return words, never_stopped


class Stop(Callback):
    """Sends SIGTERM, as Lightning sees it, in a batch of the second epoch or its validation.

    Or in the first epoch's last batch, after which Lightning ends the epoch before it stops.
    """

    def __init__(self, place):
        self.place = place

    def on_train_batch_end(self, trainer, *_):
        if {"batch": 17, "last batch": 12}.get(self.place) == trainer.global_step:
            trainer._signal_connector.received_sigterm = True

    def on_validation_batch_end(self, trainer, *_):
        if self.place == "validation" and trainer.current_epoch == 1:
            trainer._signal_connector.received_sigterm = True


@pytest.mark.parametrize("place", ["batch", "last batch", "validation"])
def test_stopping_inside_an_epoch_or_its_validation_changes_nothing(place, averaged, fit, tmp_path):
    words, (history, *states) = averaged
    with pytest.raises(SystemExit):
        fit(tmp_path, Stop(place), words=words)
    resumed_history, *resumed_states = fit(tmp_path, words=words, resume=True)
    pd.testing.assert_frame_equal(resumed_history, history, rtol=1e-6)
    for state, resumed in zip(states, resumed_states, strict=True):
        assert all(torch.equal(state[key], resumed[key]) for key in state)


class Before(Callback):
    """Keeps the weights that training begins with."""

    def on_fit_start(self, trainer, pl_module):
        self.state = {key: value.clone() for key, value in pl_module.state_dict().items()}


def test_frozen_tensors_are_bit_identical_after_training(fit, tmp_path):
    before = Before()
    fit(tmp_path, before, words=["model.unfreeze=['^layer4', '^layer3']"])
    last = checkpoints.read(RunFolder(tmp_path).last)
    classifier, after = ProductClassifier.restore(last), last["state_dict"]
    trainable = {key for key, value in classifier.named_parameters() if value.requires_grad}
    moved = ("backbone.layer3", "backbone.layer4", "backbone.fc")
    still = [key for key in after if key.startswith("backbone.") and not key.startswith(moved)]
    assert len(still) > 10
    assert not trainable & set(still)
    assert all(torch.equal(before.state[key], after[key]) for key in still)
    assert not any(torch.equal(before.state[key], after[key]) for key in trainable)
