"""Going on with a run: its best model stays the best, and the settings of now are obeyed."""

import shutil

import pandas as pd
import pytest

from fashion.models import checkpoints
from fashion.training import classifier as classifier_module
from fashion.training.plugins import write_checkpoint
from fashion.training.run_folder import RunFolder

NO_PATIENCE = "callbacks.early_stopping.patience=99"


@pytest.fixture
def scores(monkeypatch):
    """A list of the validation figures to come; each validation takes the next one."""
    to_come = []

    def take(probabilities, targets):
        value = to_come.pop(0)
        return {"accuracy": value, "macro_f1": value, "macro_auprc": value}

    monkeypatch.setattr(classifier_module, "classification_metrics", take)
    return to_come


@pytest.fixture
def train(fit, scores):
    """Returns train(folder, epochs, figures, *words) -> the history's val/macro_auprc."""

    def train(folder, epochs, figures, *words, resume=False):
        scores[:] = figures
        words = [f"trainer.max_epochs={epochs}", "trainer.limit_train_batches=1", *words]
        history, *_ = fit(folder, words=words, resume=resume)
        return history["val/macro_auprc"].round(6).tolist()

    return train


def best(folder):
    """Return the epoch of a run's best.ckpt and the figure beside it."""
    row = checkpoints.read(RunFolder(folder).best)["run"]["epochs"][-1]
    return row["epoch"], round(row["val/macro_auprc"], 6)


def test_a_run_that_was_moved_keeps_its_best_epoch(train, tmp_path):
    train(tmp_path / "A", 3, [0.3, 0.75, 0.5], NO_PATIENCE)
    (tmp_path / "A").rename(tmp_path / "B")
    train(tmp_path / "B", 5, [0.625, 0.7], NO_PATIENCE, resume=True)
    assert best(tmp_path / "B") == (1, 0.75)
    train(tmp_path / "B", 6, [0.875], NO_PATIENCE, resume=True)
    assert best(tmp_path / "B") == (5, 0.875)


@pytest.mark.parametrize("windows", [False, True])
def test_a_run_that_goes_on_elsewhere_takes_its_best_model_along(windows, train, tmp_path):
    train(tmp_path / "A", 3, [0.3, 0.75, 0.5], NO_PATIENCE)
    folder = RunFolder(tmp_path / "A")
    if windows:  # as if it came from there
        last = checkpoints.read(folder.last)
        _rewrite(last, folder.last, str(folder.checkpoints), "D:\\runs\\A\\checkpoints", "\\")
    was = folder.best.read_bytes()
    words = (NO_PATIENCE, f"ckpt_path={folder.last}")
    train(tmp_path / "C", 4, [0.625], *words)
    assert best(tmp_path / "C") == (1, 0.75)
    assert RunFolder(tmp_path / "C").best.read_bytes() == folder.best.read_bytes() == was
    assert not list((tmp_path / "C").rglob("*.part"))
    train(tmp_path / "D", 4, [0.875], *words)
    assert best(tmp_path / "D") == (3, 0.875)
    assert best(tmp_path / "A") == (1, 0.75)


def _rewrite(checkpoint, path, old, new, separator):
    def renamed(value):
        if isinstance(value, str) and value.startswith(old):
            return value.replace(old, new).replace("/", separator)
        if isinstance(value, dict):
            return {renamed(key): renamed(each) for key, each in value.items()}
        return value

    assert old in repr(checkpoint["callbacks"])
    states = renamed(checkpoint["callbacks"])
    assert old not in repr(states)
    write_checkpoint({**checkpoint, "callbacks": states}, path)


def test_a_best_model_that_is_gone_is_said_and_the_last_one_takes_its_place(
    train, tmp_path, caplog
):
    train(tmp_path / "A", 3, [0.3, 0.75, 0.5], NO_PATIENCE)
    RunFolder(tmp_path / "A").best.unlink()
    (tmp_path / "A").rename(tmp_path / "B")
    train(tmp_path / "B", 4, [0.4], NO_PATIENCE, resume=True)
    assert "best.ckpt is missing; the model of epoch 2 takes its place" in caplog.text
    assert "Epoch 1 had 0.7500, but its model is no longer there." in caplog.text
    assert best(tmp_path / "B") == (2, 0.5)
    train(tmp_path / "B", 5, [0.625], NO_PATIENCE, resume=True)
    assert best(tmp_path / "B") == (4, 0.625)


def test_a_kill_between_writing_best_and_last_loses_no_epoch(train, tmp_path):
    train(tmp_path, 2, [0.3, 0.25], NO_PATIENCE)
    folder = RunFolder(tmp_path)
    shutil.copy(folder.last, tmp_path / "before.ckpt")
    train(tmp_path, 3, [0.75], NO_PATIENCE, resume=True)
    shutil.copy(tmp_path / "before.ckpt", folder.last)
    assert train(tmp_path, 4, [0.5], NO_PATIENCE, resume=True) == [0.3, 0.25, 0.75, 0.5]
    assert best(tmp_path) == (2, 0.75)


def test_a_later_best_model_is_not_written_over_from_an_earlier_epoch(train, tmp_path):
    train(tmp_path, 1, [0.3], NO_PATIENCE)
    folder = RunFolder(tmp_path)
    kept = folder.checkpoints / "kept.ckpt"
    shutil.copy(folder.last, kept)
    train(tmp_path, 3, [0.5, 0.75], NO_PATIENCE, resume=True)
    with pytest.raises(ValueError, match=r"kept\.ckpt' has 1 epoch behind it, of which .*best"):
        train(tmp_path, 3, [], NO_PATIENCE, f"ckpt_path={kept}")
    train(tmp_path / "C", 2, [0.25], NO_PATIENCE, f"ckpt_path={kept}")
    assert best(tmp_path / "C") == (0, 0.3)
    assert best(tmp_path) == (2, 0.75)


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_another_figure_to_watch_ranks_the_epochs_so_far(train, tmp_path):
    train(tmp_path, 3, [0.3, 0.75, 0.5], NO_PATIENCE)
    lowest = ("callbacks.best.mode=min", "callbacks.early_stopping.mode=min", NO_PATIENCE)
    train(tmp_path, 4, [0.875], *lowest, resume=True)
    assert best(tmp_path) == (1, 0.75)  # 0.3 was lower, but its model is gone
    train(tmp_path, 5, [0.625], *lowest, resume=True)
    assert best(tmp_path) == (4, 0.625)


def patience(number):
    return f"callbacks.early_stopping.patience={number}"


def test_more_patience_trains_on_and_counts_all_epochs(train, tmp_path):
    stopped = train(tmp_path, 9, [0.5, 0.25], patience(1))
    assert stopped == [0.5, 0.25]
    longer = train(tmp_path, 9, [0.3, 0.4], patience(3), resume=True)
    assert longer == [0.5, 0.25, 0.3, 0.4]
    higher = [0.625, *[0.25] * 4]
    assert train(tmp_path, 9, higher, patience(4), resume=True) == [*longer, *higher]


def test_a_run_without_patience_left_says_why_it_trains_no_further(train, tmp_path, caplog):
    stopped = train(tmp_path, 3, [0.5, 0.25, 0.3], patience(2))
    caplog.set_level("INFO")
    assert train(tmp_path, 9, [], patience(2), resume=True) == stopped
    assert (
        "Nothing is left to train: val/macro_auprc has not become better for 2 epochs, and "
        "callbacks.early_stopping.patience=2. Pass callbacks.early_stopping.patience=3 or more"
    ) in caplog.text
    assert train(tmp_path, 9, [], patience(1), resume=True) == stopped


@pytest.mark.parametrize(
    "words",
    [
        ["callbacks.early_stopping.mode=min"],
        ["callbacks.early_stopping.monitor=val/loss", "callbacks.early_stopping.mode=min"],
        ["+callbacks.early_stopping.min_delta=-0.5"],
    ],
)
@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_what_is_watched_now_decides_how_long_it_has_waited(words, train, tmp_path):
    stopped = train(tmp_path, 9, [0.5, 0.3], patience(1))
    on = train(tmp_path, 3, [0.25], patience(1), *words, resume=True)
    assert on == [*stopped, 0.25]


def test_less_patience_stops_a_run_that_would_have_gone_on(train, tmp_path):
    before = train(tmp_path, 3, [0.5, 0.25, 0.3], patience(6))
    assert train(tmp_path, 9, [], patience(2), resume=True) == before


def test_history_and_best_model_agree_on_disk(train, tmp_path):
    train(tmp_path, 3, [0.3, 0.75, 0.5], NO_PATIENCE)
    history = pd.read_csv(RunFolder(tmp_path).history)
    assert history["val/macro_auprc"].argmax() == best(tmp_path)[0]


@pytest.mark.filterwarnings("ignore:.*could not find the monitored key")
def test_an_epoch_without_validation_repeats_no_figure(train, tmp_path, fit, scores):
    words = ("trainer.check_val_every_n_epoch=2", "~callbacks.early_stopping")
    train(tmp_path, 5, [0.5, 0.25], *words)
    history = pd.read_csv(RunFolder(tmp_path).history)
    figures = history["val/macro_auprc"]
    assert figures.isna().tolist() == [True, False, True, False, True]
    assert figures.dropna().tolist() == [0.5, 0.25]
    assert history["val/loss"].isna().tolist() == figures.isna().tolist()
    assert history["train/loss"].notna().all()
    assert best(tmp_path) == (1, 0.5)
