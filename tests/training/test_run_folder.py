import subprocess
import sys

import pytest
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from fashion.training.run_folder import RunFolder, find_runs


def test_the_runs_of_a_sweep_are_found_among_what_else_lies_there(tmp_path):
    for name in ("fold=0", "fold=1"):
        (tmp_path / "sweep" / name / "checkpoints").mkdir(parents=True)
    (tmp_path / "sweep" / "figures").mkdir()
    (tmp_path / "sweep" / "comparison.csv").touch()
    runs = [RunFolder(tmp_path / "sweep" / name) for name in ("fold=0", "fold=1")]
    assert find_runs([tmp_path / "sweep"]) == runs
    assert find_runs(sorted((tmp_path / "sweep").iterdir())) == runs
    assert find_runs([runs[1].path]) == [runs[1]]
    with pytest.raises(FileNotFoundError, match=r"There is no run in .*sweep/figures"):
        find_runs([tmp_path / "sweep" / "figures"])
    with pytest.raises(FileNotFoundError, match=r"nowhere' does not exist"):
        find_runs([tmp_path / "nowhere"])


CLAIM = """
import sys
from pathlib import Path
from fashion.training.run_folder import RunFolder
with RunFolder(Path(sys.argv[1])).alone():
    print("training", flush=True)
    sys.stdin.read()
"""


def test_a_folder_takes_one_run_at_a_time(tmp_path):
    folder = RunFolder(tmp_path / "run")
    command = [sys.executable, "-c", CLAIM, str(folder.path)]
    for end in (subprocess.Popen.kill, lambda process: process.communicate("")):
        with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as process:
            assert process.stdout.readline() == "training\n"
            with (
                pytest.raises(ValueError, match=r"run': another process is training there"),
                folder.alone(),
            ):
                pass
            end(process)
        with folder.alone():
            pass
    assert list(folder.path.iterdir()) == []


def test_other_ranks_of_a_run_share_its_folder(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    with folder.alone():
        monkeypatch.setattr(rank_zero_only, "rank", 1)
        with folder.alone():
            pass


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    message = r"file/run' can't be written \(Not a directory\)\. Pass"
    with pytest.raises(OSError, match=message), RunFolder(tmp_path / "file" / "run").alone():
        pass
