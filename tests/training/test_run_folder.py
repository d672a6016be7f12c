import pytest

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
