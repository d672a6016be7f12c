import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from lightning import Trainer

from fashion.training.averaging import TRAINED
from fashion.training.run import (
    LAST,
    AtomicCheckpointIO,
    ResumableCSVLogger,
    check_resumable,
    find_checkpoint,
    find_runs,
    load_checkpoint,
)

REPO = Path(__file__).parents[2]
EPOCHS = 3


def start(run_dir, tiny_root, cache_dir, *more):
    """Train a small network in a process of its own, with all that a seed decides switched on."""
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
    return subprocess.Popen(
        [sys.executable, "train.py", *settings, *more],
        cwd=REPO,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process):
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def epochs_done(run_dir):
    path = run_dir / "history.csv"
    return len(pd.read_csv(path)) if path.exists() else 0


def wait_until(condition, process):
    deadline = time.monotonic() + 200
    while not condition():
        assert process.poll() is None, finish(process)[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def unbroken(tiny_root, cache_dir, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "unbroken"
    code, output = finish(start(run_dir, tiny_root, cache_dir))
    assert code == 0, output
    return run_dir


def assert_same_run(run_dir, unbroken):
    one, other = load_checkpoint(run_dir / LAST), load_checkpoint(unbroken / LAST)
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
    epochs_before, unbroken, tiny_root, cache_dir, tmp_path
):
    run_dir = tmp_path / "run"
    process = start(run_dir, tiny_root, cache_dir)
    wait_until(lambda: epochs_done(run_dir) >= epochs_before, process)
    process.send_signal(signal.SIGKILL)
    assert finish(process)[0] == -signal.SIGKILL
    assert not (run_dir / "report").exists()
    code, output = finish(start(run_dir, tiny_root, cache_dir, "ckpt_path=last"))
    assert code == 0, output
    assert_same_run(run_dir, unbroken)
    steps = pd.read_csv(run_dir / "csv" / "metrics.csv")["epoch"]
    assert set(steps) == set(range(EPOCHS))


@pytest.mark.slow
def test_sigterm_in_an_epoch_leaves_a_checkpoint_to_go_on_from(
    unbroken, tiny_root, cache_dir, tmp_path
):
    run_dir = tmp_path / "run"
    process = start(run_dir, tiny_root, cache_dir)
    wait_until((run_dir / "csv" / "metrics.csv").exists, process)
    process.send_signal(signal.SIGTERM)
    code, output = finish(process)
    assert code == 128 + signal.SIGTERM, output
    stopped = load_checkpoint(run_dir / LAST)
    assert 0 < stopped["global_step"] < 12 * EPOCHS
    again = run_dir / LAST
    code, output = finish(start(run_dir, tiny_root, cache_dir, f"ckpt_path={again}"))
    assert code == 0, output
    assert_same_run(run_dir, unbroken)


@pytest.mark.parametrize("decay", [0, 0.9])
@pytest.mark.parametrize("stop", ["batch", "validation"])
def test_stopping_inside_an_epoch_or_its_validation_changes_nothing(
    stop, decay, tiny_root, cache_dir, tmp_path
):
    """The same in one process, where the place of the interruption is exact."""
    from hydra import compose, initialize
    from lightning import Callback

    from fashion.commands import train

    class Stop(Callback):
        def on_train_batch_end(self, trainer, *_):
            if stop == "batch" and trainer.global_step == 17:
                trainer._signal_connector.received_sigterm = True

        def on_validation_batch_end(self, trainer, *_):
            if stop == "validation" and trainer.current_epoch == 1:
                trainer._signal_connector.received_sigterm = True

    def fit(name, *callbacks, resume=False):
        overrides = [
            f"data.root={tiny_root}",
            f"data.cache_dir={cache_dir}",
            f"output_dir={tmp_path / name}",
            f"ckpt_path={'last' if resume else 'null'}",
            "model_name=timm",
            "data.min_images=20",
            "data.batch_size=8",
            "data.num_workers=0",
            "model=timm",
            "model.backbone=test_resnet",
            "model.pretrained=false",
            "model.input_size=32",
            "model.optimizer.lr=1e-3",
            f"callbacks.averaging.decay={decay}",
            "trainer.accelerator=cpu",
            f"trainer.max_epochs={EPOCHS}",
            "trainer.enable_progress_bar=false",
            "trainer.logger=false",
            "trainer.enable_model_summary=false",
        ]
        with initialize(version_base="1.3", config_path="../../conf"):
            cfg = compose("config", overrides)
        ckpt_path, record, trainer, datamodule, classifier = train.prepare(cfg)
        trainer.callbacks[:0] = callbacks
        trainer.fit(classifier, datamodule, ckpt_path=ckpt_path, weights_only=True)
        last = load_checkpoint(tmp_path / name / LAST)
        weights = {**last["state_dict"], **last.get(TRAINED, {})}
        assert (TRAINED in last) == (decay > 0)
        return record.history.drop(columns="seconds"), weights, classifier.state_dict()

    history, *states = fit("unbroken")
    with pytest.raises(SystemExit):
        fit("stopped", Stop())
    resumed_history, *resumed_states = fit("stopped", resume=True)
    pd.testing.assert_frame_equal(resumed_history, history, rtol=1e-6)
    for state, resumed in zip(states, resumed_states, strict=True):
        assert all(torch.equal(state[key], resumed[key]) for key in state)


def test_frozen_tensors_are_bit_identical_after_training(unbroken, tiny_root):
    checkpoint = load_checkpoint(unbroken / "checkpoints" / "best.ckpt")
    from fashion.labelling.predict import load_classifier

    torch.manual_seed(0)
    classifier = load_classifier(checkpoint)
    trainable = {key for key, value in classifier.named_parameters() if value.requires_grad}
    first = load_checkpoint(unbroken / LAST)["state_dict"]
    frozen = [key for key in first if key.startswith("backbone.") and key not in trainable]
    still = [key for key in frozen if not key.startswith(("backbone.layer3", "backbone.layer4"))]
    assert len(still) > 10
    # best.ckpt and last.ckpt come from different epochs; what is frozen is the same in both.
    assert all(torch.equal(first[key], checkpoint["state_dict"][key]) for key in still)


def test_ckpt_path_names_a_checkpoint_or_is_an_error(tmp_path):
    assert find_checkpoint(None, tmp_path) is None
    with pytest.raises(
        FileNotFoundError, match=r"ckpt_path='last': there is no checkpoint .*last\.ckpt"
    ):
        find_checkpoint("last", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"ckpt_path='nowhere\.ckpt'"):
        find_checkpoint("nowhere.ckpt", tmp_path)
    (tmp_path / LAST).parent.mkdir()
    (tmp_path / LAST).touch()
    assert find_checkpoint("last", tmp_path) == tmp_path / LAST
    with pytest.raises(FileExistsError, match=r"already holds a run\. Pass ckpt_path=last"):
        find_checkpoint(None, tmp_path)
    (tmp_path / "other.ckpt").touch()
    with pytest.raises(FileExistsError, match=r"already holds a run"):
        find_checkpoint(str(tmp_path / "other.ckpt"), tmp_path)


def test_a_checkpoint_that_is_none_is_refused(tmp_path):
    path = tmp_path / "x.ckpt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=r"ckpt_path=.*x\.ckpt' is not a complete checkpoint"):
        load_checkpoint(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(ValueError, match=r"was not written by this project"):
        load_checkpoint(path)


def test_changed_settings_are_named_on_resume(unbroken, caplog):
    config = load_checkpoint(unbroken / LAST)["run"]["config"]
    check_resumable(unbroken / LAST, config)
    assert caplog.text == ""
    elsewhere = {"accelerator": "tpu", "devices": 1, "strategy": "ddp"}
    check_resumable(unbroken / LAST, {**config, "trainer": {**config["trainer"], **elsewhere}})
    assert caplog.text == ""
    other = {**config, "trainer": {**config["trainer"], "max_epochs": 9}}
    check_resumable(unbroken / LAST, other)
    assert "trainer.max_epochs (3 -> 9)" in caplog.text
    other = {**config, "model": {**config["model"], "backbone": "resnet50"}}
    with pytest.raises(ValueError, match=r"model\.backbone \('test_resnet' -> 'resnet50'\)"):
        check_resumable(unbroken / LAST, other)


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path):
    path = tmp_path / "last.ckpt"
    writer = AtomicCheckpointIO()
    writer.save_checkpoint({"step": 1}, path)

    class Unwritable:
        def __reduce__(self):
            raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        writer.save_checkpoint({"step": 2, "bad": Unwritable()}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]


def test_the_csv_log_of_a_resumed_run_goes_on(tmp_path):
    for step, metrics in enumerate([{"a": 1.0}, {"a": 2.0, "b": 3.0}]):
        logger = ResumableCSVLogger(tmp_path, name="csv", version="")
        logger.log_metrics(metrics, step)
        logger.save()
    table = pd.read_csv(tmp_path / "csv" / "metrics.csv")
    assert table["a"].tolist() == [1.0, 2.0]
    assert table["b"].tolist()[1] == 3.0


def test_the_trainer_s_default_checkpoint_writer_is_the_atomic_one():
    trainer = Trainer(plugins=[AtomicCheckpointIO()], accelerator="cpu", logger=False)
    assert isinstance(trainer.strategy.checkpoint_io, AtomicCheckpointIO)


def test_the_runs_of_a_sweep_are_found_among_what_else_lies_there(tmp_path):
    for name in ("fold=0", "fold=1"):
        (tmp_path / "sweep" / name / "checkpoints").mkdir(parents=True)
    (tmp_path / "sweep" / "figures").mkdir()
    (tmp_path / "sweep" / "comparison.csv").touch()
    runs = [tmp_path / "sweep" / name for name in ("fold=0", "fold=1")]
    assert find_runs([tmp_path / "sweep"]) == runs
    assert find_runs(sorted((tmp_path / "sweep").iterdir())) == runs
    assert find_runs([runs[1]]) == [runs[1]]
    with pytest.raises(FileNotFoundError, match=r"There is no run in .*sweep/figures"):
        find_runs([tmp_path / "sweep" / "figures"])
    with pytest.raises(FileNotFoundError, match=r"nowhere' does not exist"):
        find_runs([tmp_path / "nowhere"])
