"""The learning rate of a run that goes on, with other steps or another optimiser."""

import math

import pytest
from lightning import Callback

from fashion.models import checkpoints
from fashion.training.resume import REFUSED_IN_AN_EPOCH, check_resumable
from fashion.training.run_folder import RunFolder

LR = 1e-3


class Rates(Callback):
    """Keeps the rate of each step, and stops, as SIGTERM does, after one of them."""

    def __init__(self, stop=None):
        self.rates = []
        self.stop = stop

    def on_train_batch_start(self, trainer, *_):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(self, trainer, *_):
        trainer._signal_connector.received_sigterm = trainer.global_step == self.stop


def cosine(share):
    return pytest.approx(LR * (1 + math.cos(math.pi * share)) / 2, abs=1e-12)


@pytest.mark.parametrize(("before", "after"), [(24, 12), (12, 24)])
def test_with_another_batch_the_rate_goes_on_from_where_it_was(before, after, fit, tmp_path):
    words = ["model.unfreeze=[]", "trainer.max_epochs=1", f"data.batch_size={before}"]
    fit(tmp_path, words=words)
    words = ["model.unfreeze=[]", "trainer.max_epochs=4", f"data.batch_size={after}"]
    rates, steps, photos = Rates(), 96 // after, 96
    history, *_ = fit(tmp_path, rates, words=words, resume=True)
    assert len(rates.rates) * after == 3 * photos  # each photo once an epoch
    assert rates.rates == [cosine((1 + step / steps) / 4) for step in range(3 * steps)]
    assert history["lr"].tolist() == [LR, *(cosine(epoch / 4) for epoch in (1, 2, 3))]
    assert checkpoints.read(RunFolder(tmp_path).last)["lr_schedulers"][0]["_last_lr"] == [0]


def test_a_run_stopped_twice_keeps_to_its_course(fit, tmp_path):
    words = ["model.unfreeze=[]", "trainer.max_epochs=3", "data.batch_size=24"]
    with pytest.raises(SystemExit):
        fit(tmp_path, Rates(stop=4), words=words)  # at the end of the first epoch
    words[-1] = "data.batch_size=12"
    with pytest.raises(SystemExit):
        fit(tmp_path, Rates(stop=4 + 3), words=words, resume=True)
    rates = Rates()
    fit(tmp_path, rates, words=words, resume=True)
    assert rates.rates == [cosine((1 + step / 8) / 3) for step in range(3, 16)]


def test_settings_of_a_step_are_refused_in_the_middle_of_an_epoch(fit, tmp_path):
    words = ["model.unfreeze=[]", "data.batch_size=24"]
    with pytest.raises(SystemExit):
        fit(tmp_path, Rates(stop=5), words=words)
    path = RunFolder(tmp_path).last
    config = checkpoints.read(path)["run"]["config"]
    assert check_resumable(path, config)
    for key in REFUSED_IN_AN_EPOCH:
        group, name = key.split(".")
        other = {**config, group: {**config[group], name: 7}}
        with pytest.raises(
            ValueError, match=rf"in the middle of epoch 1, in which {key} \(.* -> 7"
        ):
            check_resumable(path, other)


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [(None, "seed", 7), ("model", "optimizer", {"_target_": "torch.optim.SGD", "lr": 1.0})],
)
def test_what_makes_another_run_is_refused_anywhere(group, key, value, run_dir):
    path = RunFolder(run_dir).last
    config = checkpoints.read(path)["run"]["config"]
    changed = {key: value} if group is None else {group: {**config[group], key: value}}
    with pytest.raises(ValueError, match=r"other settings: .*(seed|model\.optimizer\._target_) \("):
        check_resumable(path, {**config, **changed})


def test_the_optimiser_s_settings_of_now_are_obeyed(fit, tmp_path):
    words = ["model.unfreeze=[]", "trainer.limit_train_batches=1", "trainer.max_epochs=2"]
    fit(tmp_path, words=words)
    words += ["trainer.max_epochs=4", "model.optimizer.lr=1e-4", "model.optimizer.weight_decay=0.5"]
    history, *_ = fit(tmp_path, words=words, resume=True)
    expected = [1e-3, 0.5e-3, *(1e-4 * (1 + math.cos(math.pi * e / 4)) / 2 for e in (2, 3))]
    assert history["lr"].tolist() == pytest.approx(expected, abs=1e-12)
    group = checkpoints.read(RunFolder(tmp_path).last)["optimizer_states"][0]["param_groups"][0]
    assert group["weight_decay"] == 0.5
