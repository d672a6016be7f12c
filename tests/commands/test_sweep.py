import json
import os
import shutil
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import psutil
import pytest
import yaml
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException
from omegaconf import OmegaConf

import train
from fashion.commands.sweep import Sweep
from fashion.training.resume import find_finished

REPO = Path(train.__file__).parent
TIMES = ["seconds_per_epoch", "images_per_second"]
SMALL = [
    "data.min_images=20",
    "data.batch_size=16",
    "data.num_workers=0",
    "model=timm",
    "model.pretrained=false",
    "model.input_size=32",
    "model.unfreeze=all",
    "model.optimizer.lr=1e-3",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
    "robustness_photos=3",
]


@pytest.fixture(scope="module")
def words_of(tiny_root, tmp_path_factory):
    """Returns words_of(sweep_dir, *words): what a shell gives Python for a sweep."""
    cache_dir = tmp_path_factory.mktemp("cache")

    def words_of(sweep_dir, *words):
        where = [
            f"data.root={tiny_root}",
            f"data.cache_dir={cache_dir}",
            f"hydra.sweep.dir={sweep_dir}",
        ]
        return ["train.py", "--multirun", *SMALL, *where, *words]

    return words_of


@pytest.fixture(scope="module")
def start(start_command, words_of):
    """Returns start(sweep_dir, *words): a sweep in a process of its own."""
    return lambda *arguments: start_command(*words_of(*arguments))


@pytest.fixture
def start_typed(words_of):
    """Returns the same with a command line of its own, by which its processes are found."""

    def start_typed(*arguments, catch=subprocess.PIPE):
        return subprocess.Popen(
            [sys.executable, *words_of(*arguments)],
            cwd=REPO,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=catch,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    return start_typed


def table_of(sweep_dir):
    table = pd.read_csv(sweep_dir / "comparison.csv").drop(columns=TIMES)
    return table.sort_values("run", ignore_index=True)


def job_end(sweep_dir, name, status, error=None, mode="MULTIRUN"):
    config = OmegaConf.create(
        {
            "hydra": {
                "sweep": {"dir": str(sweep_dir)},
                "runtime": {"output_dir": str(sweep_dir / name)},
            }
        }
    )
    hydra = SimpleNamespace(
        mode=SimpleNamespace(name=mode), sweep=config.hydra.sweep, runtime=config.hydra.runtime
    )
    job_return = JobReturn(status=status)
    job_return._return_value = error
    Sweep().on_job_end(SimpleNamespace(hydra=hydra), job_return)


@pytest.fixture
def folder(tmp_path):
    """A sweep's folder with a run that has neither failed nor finished."""
    (tmp_path / "resnet50" / ".hydra").mkdir(parents=True)
    return tmp_path


def test_what_hides_an_error_does_not_hide_it_from_the_table(folder, caplog):
    try:
        try:
            raise OSError("no process left")
        finally:
            raise RuntimeError("there is nothing to tear down")
    except RuntimeError as error:
        job_end(folder, "resnet50", JobStatus.FAILED, error)
    error = pd.read_csv(folder / "comparison.csv")["error"].item()
    assert error == "RuntimeError: there is nothing to tear down (after OSError: no process left)"
    assert 'raise OSError("no process left")' in caplog.text  # where it happened


def test_a_failed_job_s_error_is_kept_until_it_succeeds(folder):
    job_end(folder, "resnet50", JobStatus.FAILED, ValueError("disk\nfull"))
    table = pd.read_csv(folder / "comparison.csv").set_index("run")
    assert table.loc["resnet50", "status"] == "failed"
    assert table.loc["resnet50", "error"] == "ValueError: disk full"
    job_end(folder, "resnet50", JobStatus.COMPLETED)
    table = pd.read_csv(folder / "comparison.csv").set_index("run")
    assert table.loc["resnet50", "status"] == "missing"


def test_a_sentence_for_the_user_stands_in_the_table_as_it_is(folder):
    job_end(folder, "resnet50", JobStatus.FAILED, CompactHydraException("seed=-1 must be 0."))
    table = pd.read_csv(folder / "comparison.csv").set_index("run")
    assert table.loc["resnet50", "error"] == "seed=-1 must be 0."


def test_a_job_that_would_not_write_over_a_run_leaves_it_as_it_was(folder):
    error = CompactHydraException("holds a run of other settings")
    error.__cause__ = FileExistsError()
    job_end(folder, "resnet50", JobStatus.FAILED, error)
    table = pd.read_csv(folder / "comparison.csv").set_index("run")
    assert table.loc["resnet50", "status"] == "missing"


class Model:
    """Something large that refers to itself, as a trainer does."""

    def __init__(self):
        self.trainer = self


def test_a_failed_job_leaves_no_memory_behind(folder):
    seen = []

    def train():
        model = Model()
        seen.append(weakref.ref(model))
        raise MemoryError("no room on the device")

    def job():
        try:
            train()
        except MemoryError as error:
            raise RuntimeError("it failed") from error

    try:
        job()
    except RuntimeError as error:
        kept = error  # as Hydra does until the sweep ends
    job_end(folder, "resnet50", JobStatus.FAILED, kept)
    assert seen[0]() is None
    assert (folder / "resnet50" / "error.txt").read_text().startswith("RuntimeError: it failed")


def test_a_single_run_writes_no_comparison(folder):
    job_end(folder, "resnet50", JobStatus.COMPLETED, mode="RUN")
    assert not (folder / "comparison.csv").exists()


def finished_run(folder, config):
    (folder / "report").mkdir(parents=True)
    summary = {"config": config, "best_val_macro_auprc": 0.5}
    (folder / "report" / "summary.json").write_text(json.dumps(summary))


def test_a_finished_run_is_known_by_its_settings(tmp_path):
    config = {"seed": 0, "model": {"optimizer": {"lr": 1e-4}, "compile": None}, "sweep_name": "a"}
    assert find_finished(config, tmp_path) is None
    finished_run(tmp_path, config)
    elsewhere = {**config, "sweep_name": "b", "model": {**config["model"], "compile": True}}
    assert find_finished(elsewhere, tmp_path)["best_val_macro_auprc"] == 0.5
    other = {**config, "model": {"optimizer": {"lr": 1e-3}, "compile": None}}
    with pytest.raises(
        FileExistsError,
        match=r"holds a run of other settings: model\.optimizer\.lr "
        r"\(0\.0001 -> 0\.001\)\. Pass another sweep_name",
    ):
        find_finished(other, tmp_path)


SEEDS = ["model.backbone=test_resnet", "seed=0,1", "trainer.max_epochs=2"]
HALF_OF_THEM_FAIL = "model.weights=null,no.safetensors"


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory):
    """The folder of a sweep that nothing stopped, in one process: two jobs finish, two fail."""
    folder = tmp_path_factory.mktemp("whole")
    returncode, output = start(folder, *SEEDS, HALF_OF_THEM_FAIL).finish()
    assert returncode == 1, output
    return folder


@pytest.mark.slow
def test_a_sweep_killed_and_started_again_ends_as_one_that_was_not(start, whole, tmp_path):
    first, second = (tmp_path / f"timm,seed={seed},model.weights=null" for seed in (0, 1))

    def kill_when(is_time):
        process = start(tmp_path, *SEEDS, HALF_OF_THEM_FAIL)
        while process.poll() is None and not is_time():
            time.sleep(0.02)
        assert process.poll() is None, "it ended before it was killed"
        os.killpg(process.pid, signal.SIGKILL)
        assert process.finish()[0] == -signal.SIGKILL

    kill_when(lambda: (first / "checkpoints" / "last.ckpt").exists())
    assert not (first / "report" / "summary.json").exists()
    kill_when(lambda: (second / "checkpoints" / "last.ckpt").exists())
    assert not (second / "report" / "summary.json").exists()
    kill_when(lambda: (second / "predictions-val.npz").exists())  # trained, not yet reported on
    before = (first / "report" / "summary.json").stat().st_mtime_ns
    returncode, output = start(tmp_path, *SEEDS, HALF_OF_THEM_FAIL).finish()
    assert returncode == 1, output
    assert "is finished: nothing is left to do" in output
    assert (first / "report" / "summary.json").stat().st_mtime_ns == before
    pd.testing.assert_frame_equal(table_of(tmp_path), table_of(whole))
    for folder in (first, second):
        history = pd.read_csv(folder / "history.csv").drop(columns="seconds")
        unbroken = pd.read_csv(whole / folder.name / "history.csv").drop(columns="seconds")
        pd.testing.assert_frame_equal(history, unbroken)


DDP = ["model.backbone=test_resnet", "trainer.devices=2", "trainer.strategy=ddp"]


def left_over(sweep_dir):
    """The processes that still have a sweep's folder among their words, after a moment."""
    for _ in range(100):
        left = [
            each.pid
            for each in psutil.process_iter(["cmdline", "status"])
            if str(sweep_dir) in " ".join(each.info["cmdline"] or ())
            and each.info["status"] != psutil.STATUS_ZOMBIE
        ]
        if not left:
            return []
        time.sleep(0.2)
    return left


def second_processes(folder):
    """The processes that train a run beside its first."""
    return [
        each
        for each in psutil.process_iter(["cmdline"])
        if "hydra.job.name=train_ddp_process_1" in (each.info["cmdline"] or ())
        and str(folder) in " ".join(each.info["cmdline"])
    ]


@pytest.mark.slow
def test_jobs_of_two_processes_are_runs_of_their_own(start, tmp_path):
    words = [*DDP, "model.optimizer.lr=bad,1e-3", "trainer.max_epochs=1", "robustness_photos=0"]
    returncode, output = start(tmp_path, *words).finish()
    assert returncode == 1, output
    table = pd.read_csv(tmp_path / "comparison.csv").set_index("run")
    failed = table.loc["timm,model.optimizer.lr=bad"]
    assert (failed["status"], failed["error"]) == (
        "failed",
        "model.optimizer.lr='bad' must be a number.",
    )
    trained = tmp_path / "timm,model.optimizer.lr=0.001"
    assert table.loc[trained.name, "status"] == "finished"
    assert (trained / "train_ddp_process_1.log").exists()  # the second process
    assert len(pd.read_csv(trained / "history.csv")) == 1
    assert left_over(tmp_path) == []


@pytest.mark.long
def test_jobs_of_two_processes_end_with_the_sweep_and_go_on_with_it(start_typed, tmp_path):
    words = [*DDP, "seed=0,1", "trainer.max_epochs=4", "robustness_photos=0"]
    first, second = (tmp_path / f"timm,seed={seed}" for seed in (0, 1))

    def wait_for(path, process):
        while process.poll() is None and not path.exists():
            time.sleep(0.05)
        assert process.poll() is None, "it ended before it was killed"

    process = start_typed(tmp_path, *words, catch=subprocess.DEVNULL)
    wait_for(second / "checkpoints" / "last.ckpt", process)
    os.kill(process.pid, signal.SIGKILL)  # the sweep alone: the others find out
    process.wait()
    assert left_over(tmp_path) == []
    before = (first / "report" / "summary.json").stat().st_mtime_ns
    process = start_typed(tmp_path, *words)
    while not (ranks := second_processes(second)):
        time.sleep(0.05)
    ranks[0].kill()  # one of the two fails: its job does, and the sweep goes on to its table
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 1, output
    assert left_over(tmp_path) == []
    assert pd.read_csv(tmp_path / "comparison.csv")["error"].str.contains("signal 9").any()
    spread = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    process = start_typed(tmp_path, *words, *spread)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert (first / "report" / "summary.json").stat().st_mtime_ns == before
    assert set(pd.read_csv(tmp_path / "comparison.csv")["status"]) == {"finished"}
    assert left_over(tmp_path) == []


@pytest.mark.slow
def test_a_run_that_stopped_early_is_not_trained_on(start, tmp_path):
    words = ["model.backbone=test_resnet", "seed=0", "trainer.max_epochs=9"]
    words += ["callbacks.early_stopping.patience=1", "model.optimizer.lr=0.3"]
    returncode, output = start(tmp_path, *words).finish()
    assert returncode == 0, output
    folder = tmp_path / "timm"
    before = pd.read_csv(folder / "history.csv")
    assert len(before) < 9
    (folder / "report" / "summary.json").unlink()  # as if killed before its report was whole
    returncode, output = start(tmp_path, *words).finish()
    assert returncode == 0, output
    pd.testing.assert_frame_equal(pd.read_csv(folder / "history.csv"), before)
    summary = json.loads((folder / "report" / "summary.json").read_text())
    assert summary["epochs"] == len(before)


@pytest.mark.slow
def test_other_settings_under_the_same_name_fail_and_touch_nothing(start, whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "sweep")
    words = [*SEEDS, HALF_OF_THEM_FAIL, "model.dropout=0.1"]
    returncode, output = start(folder, *words).finish()
    assert returncode == 1
    assert "holds a run of other settings: model.dropout (0.3 -> 0.1)" in output
    pd.testing.assert_frame_equal(table_of(folder), table_of(whole))


@pytest.mark.parametrize(
    ("launcher", "module", "more"),
    [
        pytest.param(
            "joblib", "joblib", ["hydra.launcher.n_jobs=2"], marks=pytest.mark.slow, id="joblib"
        ),
        pytest.param(
            "ray", "ray", ["+hydra.launcher.ray.init.num_cpus=2"], marks=pytest.mark.long, id="ray"
        ),
        pytest.param(
            "submitit_local",
            "submitit",
            ["hydra.launcher.timeout_min=10"],
            marks=pytest.mark.long,
            id="submitit",
        ),
    ],
)
def test_a_sweep_over_other_processes_ends_as_one_in_this_process(
    launcher, module, more, start, whole, tmp_path
):
    pytest.importorskip(module, reason=f"the extra {module} is not installed")
    pytest.importorskip(f"hydra_plugins.hydra_{module}_launcher")
    spread = [f"hydra/launcher={launcher}", *more, "data.num_workers=1"]
    returncode, output = start(tmp_path, *SEEDS, HALF_OF_THEM_FAIL, *spread).finish()
    assert returncode == 1, output
    table = table_of(tmp_path)
    assert table["status"].value_counts().to_dict() == {"finished": 4, "failed": 2}
    pd.testing.assert_frame_equal(table, table_of(whole), rtol=1e-3)


@pytest.mark.slow
def test_a_search_started_again_asks_for_the_same_trials(start, tmp_path):
    pytest.importorskip("optuna", reason="the extra optuna is not installed")
    words = ["+tune=optuna", "model.backbone=test_resnet", "trainer.max_epochs=1"]
    words += ["hydra.sweeper.n_trials=3"]
    returncode, output = start(tmp_path, *words).finish()
    assert returncode == 0, output
    found = yaml.safe_load((tmp_path / "optimization_results.yaml").read_text())
    # The command line gives the learning rate, which is then not searched for.
    assert found["best_params"].keys() == {"model.optimizer.weight_decay", "model.dropout"}
    best = max(
        json.loads(path.read_text())["best_val_macro_auprc"]
        for path in tmp_path.glob("*/report/summary.json")
    )
    assert found["best_value"] == pytest.approx(best)
    folders = {path.name for path in tmp_path.iterdir() if path.is_dir()} - {"figures"}
    assert len(folders) == 3
    assert all(name.startswith("timm,model.optimizer.weight_decay=") for name in folders)
    returncode, output = start(tmp_path, *words).finish()
    assert returncode == 0, output
    assert output.count("is finished: nothing is left to do") == 3
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} - {"figures"} == folders
