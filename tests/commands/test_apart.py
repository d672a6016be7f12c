import os
import subprocess
import sys
import time

import psutil
import pytest
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import OmegaConf

from fashion.commands import apart, lifeline


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"accelerator": "cpu", "devices": 2, "strategy": "ddp"}, True),
        ({"accelerator": "cpu", "devices": 2, "strategy": "auto"}, True),
        ({"accelerator": "cpu", "devices": "auto", "strategy": "auto"}, False),
        ({"accelerator": "cpu", "devices": 1, "strategy": "ddp"}, False),
        ({"accelerator": "cpu", "devices": "abc", "strategy": "ddp"}, False),  # the run says so
        ({"accelerator": "xla", "devices": "auto", "strategy": "auto"}, False),
    ],
)
def test_only_jobs_of_several_processes_are_trained_apart(settings, expected):
    assert apart.starts_processes(OmegaConf.create(settings)) is expected


def test_a_process_that_others_started_starts_none(monkeypatch):
    for name, value in {
        "LOCAL_RANK": "1",
        "TORCHELASTIC_RUN_ID": "1",
        "GROUP_RANK": "0",
        "WORLD_SIZE": "2",
        "RANK": "1",
        "LOCAL_WORLD_SIZE": "2",
    }.items():
        monkeypatch.setenv(name, value)
    # Lightning's own note of the rank, which would outlive this test.
    monkeypatch.setattr(rank_zero_only, "rank", getattr(rank_zero_only, "rank", 0), raising=False)
    settings = {"accelerator": "cpu", "devices": 2, "strategy": "ddp"}
    assert not apart.starts_processes(OmegaConf.create(settings))


@pytest.fixture
def hydra(monkeypatch):
    config = OmegaConf.create({
        "overrides": {
            "task": ["model=timm", "seed=1", "data.root='a b'"],
            "hydra": ["hydra.mode=MULTIRUN", "hydra.sweep.dir=x", "hydra.launcher.n_jobs=2",
                      "hydra.job.env_set={A:1}"],
        },
        "runtime": {
            "output_dir": "/runs/it's,lr=1",
            "config_sources": [{"provider": "main", "path": "/conf"},
                               {"provider": "command-line", "path": "/mine"}],
        },
    })  # fmt: skip
    monkeypatch.setattr(HydraConfig, "get", staticmethod(lambda: config))


def test_a_jobs_words_are_its_own(hydra):
    assert apart.words_of_job(OmegaConf.create({"ckpt_path": None})) == [
        *("--config-dir", "/mine"),
        *("model=timm", "seed=1", "data.root='a b'", "hydra.job.env_set={A:1}"),
        *("ckpt_path=auto", r"hydra.run.dir='/runs/it\'s,lr=1'"),
    ]
    words = apart.words_of_job(OmegaConf.create({"ckpt_path": "a/checkpoints/last.ckpt"}))
    assert "ckpt_path=auto" not in words


@pytest.mark.parametrize(
    ("returncode", "lines", "expected"),
    [
        (1, ["GPU available", "seed=-1 must be 0.", ""], "seed=-1 must be 0."),
        (
            1,
            ["Traceback", "[rank1]: OSError: no room left", "[Gloo] Rank 0 has gone"],
            "A process of this run failed: OSError: no room left",
        ),
        (
            -9,
            ["torch.OutOfMemoryError: CUDA out of memory.", ""],
            "A process of this run was ended by signal 9: torch.OutOfMemoryError: CUDA out of "
            "memory.",
        ),
        (-9, [], "A process of this run was ended by signal 9."),
    ],
)
def test_a_failed_job_tells_its_error(returncode, lines, expected):
    assert apart._reason(returncode, lines) == expected


CHAIN = """
import subprocess, sys, time
from fashion.commands import lifeline
lifeline.watch()
lifeline.tie()
depth = int(sys.argv[2])
print(f"{depth} {lifeline.os.getpid()}", flush=True)
child = depth and subprocess.Popen([sys.executable, sys.argv[1], sys.argv[1], str(depth - 1)])
time.sleep(600)
"""


def test_processes_end_with_the_first_of_them(tmp_path, monkeypatch):
    monkeypatch.delenv(lifeline.ABOVE, raising=False)
    script = tmp_path / "chain.py"
    script.write_text(CHAIN)
    first = subprocess.Popen(
        [sys.executable, script, script, "2"], stdout=subprocess.PIPE, text=True
    )
    pids = [int(first.stdout.readline().split()[1]) for _ in range(3)]
    assert pids[0] == first.pid
    first.stdout.close()
    first.kill()
    first.wait()
    deadline = time.monotonic() + 30
    while any(map(lifeline._runs, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_process_of_another_machine_is_none_of_ours(monkeypatch):
    assert lifeline._pids("elsewhere:1,2") == []
    assert lifeline._pids("") == []
    monkeypatch.setattr(lifeline, "_above", "")
    monkeypatch.setenv(lifeline.ABOVE, "")
    lifeline.tie()
    assert lifeline._pids(os.environ[lifeline.ABOVE]) == [os.getpid()]
    assert psutil.pid_exists(os.getpid())
    lifeline.watch()  # there is nobody above
    assert not lifeline._watching.is_set()
