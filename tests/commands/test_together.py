"""Processes that torchrun has started on several machines, which are this one twice."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import psutil
import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from torch.distributed import TCPStore

from fashion.commands import together
from fashion.devices.launch import Launch
from fashion.metrics.predictions import Predictions

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "RANK": "1",
    "WORLD_SIZE": "4",
    "GROUP_WORLD_SIZE": "2",
}
SRUN = {"SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "shop"}


@pytest.fixture
def started(monkeypatch):
    """Returns started(**variables), which has this process be one of several."""

    def started(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    for name in (*TORCHRUN, *SRUN):
        monkeypatch.delenv(name, raising=False)
    together._store.cache_clear()
    yield started
    together._store.cache_clear()


def test_a_process_knows_who_started_it_and_with_how_many(started):
    assert Launch.of_this_process() is None
    assert together.own_words() == []
    started(**SRUN)
    assert Launch.of_this_process() == Launch("srun", 3, 4, 2)
    assert together.own_words()[-1] == "hydra.job.name=train_process_3"
    started(**TORCHRUN)  # inside of SLURM, too
    assert Launch.of_this_process() == Launch("torchrun", 1, 4, 2)
    started(RANK="0")
    assert together.own_words() == []
    started(WORLD_SIZE="1")
    assert Launch.of_this_process() is None


@pytest.mark.parametrize("name", ["bash", "interactive"])
def test_a_shell_that_slurm_has_opened_is_alone(name, started):
    started(**{**SRUN, "SLURM_JOB_NAME": name})
    assert Launch.of_this_process() is None


@pytest.mark.parametrize(
    ("nodes", "devices", "world_size", "fits"),
    [
        (2, 2, 4, True),
        (1, 2, 4, False),  # as Lightning takes torchrun's number in any case
        (2, 1, 4, False),
        (1, 1, 1, False),  # would train alone, four times
    ],
)
def test_settings_of_other_processes_are_refused(nodes, devices, world_size, fits):
    trainer = SimpleNamespace(num_nodes=nodes, num_devices=devices, world_size=world_size)
    launch = Launch("torchrun", 0, 4, 2)
    if fits:
        launch.check(trainer)
        return
    said = (
        rf"^trainer\.num_nodes={nodes} trainer\.devices={devices}: torchrun has started 4 "
        r"processes, 2 on each of 2 machines; pass trainer\.num_nodes=2 trainer\.devices=2"
    )
    with pytest.raises(ValueError, match=said):
        launch.check(trainer)


def test_the_folder_of_a_run_on_several_machines_is_typed(started, monkeypatch):
    def typed(*words, mode=RunMode.RUN):
        config = SimpleNamespace(mode=mode, overrides=SimpleNamespace(hydra=list(words)))
        monkeypatch.setattr(HydraConfig, "initialized", staticmethod(lambda: True))
        monkeypatch.setattr(HydraConfig, "get", staticmethod(lambda: config))

    typed()
    together.check_folder(None)  # alone, the time names it
    started(**TORCHRUN)
    with pytest.raises(ValueError, match=r"^hydra\.run\.dir is not set: each of the processes"):
        together.check_folder(None)
    together.check_folder("outputs/mine/checkpoints/last.ckpt")  # names it, too
    typed("hydra.run.dir=outputs/mine")
    together.check_folder(None)
    typed("hydra.run.dir=outputs/mine", mode=RunMode.MULTIRUN)
    with pytest.raises(ValueError, match=r"^--multirun: torchrun starts the processes of one run"):
        together.check_folder(None)


@pytest.fixture
def store(started):
    """The store of a torchrun with two processes, of which this is the second."""
    store = TCPStore("127.0.0.1", 0, is_master=True)
    variables = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    started(**{**TORCHRUN, **variables, "TORCHELASTIC_USE_AGENT_STORE": "True"})
    return store


def test_processes_wait_for_one_another(store, monkeypatch):
    monkeypatch.setattr(together, "SECONDS", 0.01)
    waiting = threading.Thread(target=together.wait_for_all, daemon=True)
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    monkeypatch.setenv("RANK", "0")
    together.wait_for_all()
    waiting.join(10)
    assert not waiting.is_alive()


def test_the_first_that_fails_is_told_by_all(store, monkeypatch):
    assert together.tell(OSError("no room")) == "no room"
    monkeypatch.setenv("RANK", "0")
    told = together.tell(RuntimeError("Connection reset by peer"))
    assert told.startswith("Process 1 of 2, on ")
    assert told.endswith(" failed: no room")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")  # a new run
    assert together.tell(ValueError("again")) == "again"


def nodes(port, folder, *words, of_each=((), ()), **options):
    """Start a torchrun for each of two machines."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    torchrun += ["--master-addr=127.0.0.1", f"--master-port={port}"]
    return [
        subprocess.Popen(
            [*torchrun, f"--node-rank={rank}", "-m", "fashion", "train", *words, *own,
             f"hydra.run.dir={folder}"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options,
        )
        for rank, own in enumerate(of_each)
    ]  # fmt: skip


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def words(tiny_root, tmp_path):
    """Those of a run whose steps are the same however many processes share them."""
    return [
        f"data.root={tiny_root}",
        f"data.cache_dir={tmp_path / 'cache'}",
        "data.min_images=20",
        "data.batch_size=16",
        "data.num_workers=0",
        "model=timm",
        "model.backbone=test_resnet",
        "model.pretrained=false",
        "model.input_size=32",
        "model.dropout=0",
        "model.optimizer.lr=1e-2",
        "trainer.accelerator=cpu",
        "trainer.enable_progress_bar=false",
        "robustness_photos=0",
    ]


TWO = ("trainer.num_nodes=2", "trainer.devices=1")


@pytest.mark.slow
def test_two_machines_train_and_report_as_one_does(start_command, words, port, tmp_path):
    words.append("trainer.max_epochs=2")
    both = nodes(port, tmp_path / "two", *words, *TWO)
    outputs = [process.communicate(timeout=600)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    alone = start_command("-m", "fashion", "train", *words, f"hydra.run.dir={tmp_path / 'one'}")
    status, said = alone.finish()
    assert status == 0, said
    two, one = tmp_path / "two", tmp_path / "one"
    tables = [pd.read_csv(run / "history.csv").drop(columns="seconds") for run in (two, one)]
    pd.testing.assert_frame_equal(*tables, rtol=1e-5)
    for name in ("predictions.npz", "predictions-val.npz"):
        ours, theirs = (Predictions.load(run / name) for run in (two, one))
        assert ours.image_ids.tolist() == theirs.image_ids.tolist()
        np.testing.assert_allclose(ours.probabilities, theirs.probabilities, atol=1e-5)
    files = [{path.relative_to(run) for path in run.rglob("*.*")} for run in (two, one)]
    events = {path for both in files for path in both if path.name.startswith("events.")}
    assert {path.name for path in (files[0] ^ files[1]) - events} == {"train_process_1.log"}
    stores = list((tmp_path / "cache").glob("photos/*"))
    assert len(stores) == 1


@pytest.mark.slow
def test_a_machine_that_fails_before_training_ends_the_others(words, port, tmp_path):
    started = time.monotonic()
    both = nodes(port, tmp_path / "run", *words, *TWO, of_each=((), ("data.root=/nowhere",)))
    outputs = [process.communicate(timeout=600)[0] for process in both]
    assert [process.returncode for process in both] == [1, 1]
    assert "data.root='/nowhere' does not exist" in outputs[1]
    said = f"Process 1 of 2, on {os.uname().nodename}, failed: data.root='/nowhere' does not exist"
    assert said in outputs[0]
    assert time.monotonic() - started < 600  # a group of processes waits for half an hour


@pytest.mark.slow
def test_machines_with_other_photos_are_refused(words, tiny_root, port, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tiny_root, other)
    text = (other / "styles.csv").read_text().splitlines(keepends=True)
    (other / "styles.csv").write_text("".join(text[:1] + text[2:]))
    both = nodes(port, tmp_path / "run", *words, *TWO, of_each=((), (f"data.root={other}",)))
    outputs = [process.communicate(timeout=600)[0] for process in both]
    assert [process.returncode for process in both] == [1, 1]
    for output in outputs:
        assert "On process 1 of 2 the splits of data.root differ from the first one's." in output
    assert not (tmp_path / "run" / "splits.csv").exists()


@pytest.mark.slow
def test_a_machine_that_is_killed_in_training_ends_the_others(words, port, tmp_path):
    both = nodes(port, tmp_path / "run", *words, *TWO, "trainer.max_epochs=1000")
    while not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists():
        assert all(process.poll() is None for process in both), both[0].communicate()
        time.sleep(0.05)
    for child in psutil.Process(both[1].pid).children():
        child.send_signal(signal.SIGKILL)
    outputs = [process.communicate(timeout=600)[0] for process in both]
    assert [process.returncode for process in both] == [1, 1], outputs
    assert "has ended, so this run has, too. Type the same words with ckpt_path=last" in outputs[0]
