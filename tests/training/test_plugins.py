import pandas as pd
import pytest
import torch
from lightning import Trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fashion.models import checkpoints
from fashion.training.plugins import (
    AtomicCheckpointIO,
    ResumableCSVLogger,
    ResumableTensorBoardLogger,
    drop_redone_steps,
    store_calibration,
    write_checkpoint,
)


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path):
    path = tmp_path / "last.ckpt"
    writer = AtomicCheckpointIO()
    writer.save_checkpoint({"step": 1}, path)

    class Unwritable:
        def __reduce__(self):
            raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        writer.save_checkpoint({"step": 2, "bad": Unwritable()}, path)
    assert torch.load(path, weights_only=True)["step"] == 1
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


def test_a_calibration_is_added_and_the_rest_of_the_checkpoint_stays(run_dir, tmp_path):
    before = checkpoints.read(run_dir / "checkpoints" / "best.ckpt")
    path = tmp_path / "best.ckpt"
    write_checkpoint({**before, "calibration": None}, path)
    store_calibration(path, before["calibration"])
    after = checkpoints.read(path)
    assert after.keys() == before.keys()
    assert after["calibration"]["temperature"] == before["calibration"]["temperature"]
    for key, value in before["state_dict"].items():
        assert torch.equal(after["state_dict"][key], value)


@pytest.mark.parametrize("logger_class", [ResumableCSVLogger, ResumableTensorBoardLogger])
def test_steps_that_are_taken_again_are_logged_once(logger_class, tmp_path):
    for first, last, value in ((0, 9, 1.0), (6, 12, 2.0)):
        logger = logger_class(tmp_path, name="log", version="")
        trainer = Trainer(logger=logger, accelerator="cpu")
        if first:
            drop_redone_steps(trainer, {"global_step": first})
        for step in range(first, last):
            logger.log_metrics({"a": value}, step)
        logger.save()
        logger.finalize("success")
    expected = {step: 1.0 if step < 6 else 2.0 for step in range(12)}
    if logger_class is ResumableCSVLogger:
        table = pd.read_csv(tmp_path / "log" / "metrics.csv")
        assert list(zip(table["step"], table["a"], strict=True)) == list(expected.items())
    else:
        events = EventAccumulator(str(tmp_path / "log")).Reload().Scalars("a")
        assert [(event.step, event.value) for event in events] == list(expected.items())


def test_a_row_that_a_kill_cut_short_is_dropped(tmp_path):
    path = tmp_path / "csv" / "metrics.csv"
    path.parent.mkdir()
    path.write_text("epoch,step,train/loss\n0,1,0.5\n0,3,")
    ResumableCSVLogger(tmp_path, name="csv", version="").drop_from(9)
    assert pd.read_csv(path)["step"].tolist() == [1, 3]
    path.write_text("epoch,step,train/loss\n0,1,0.5\n0,")
    ResumableCSVLogger(tmp_path, name="csv", version="").drop_from(9)
    assert path.read_text() == "epoch,step,train/loss\n0,1,0.5\n"
