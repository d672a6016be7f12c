import json
from types import SimpleNamespace

import pandas as pd
import pytest
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException
from omegaconf import OmegaConf

from fashion.compare import CompareModels, collect, write_comparison


def summary(accuracy, macro_auprc):
    return {
        "test": {"accuracy": accuracy, "macro_f1": 0.5, "macro_auprc": macro_auprc},
        "best_epoch": 3,
        "epochs": 5,
        "trainable_parameters": {"backbone": 10, "head": 2},
        "seconds": {"total": 50.0, "per_epoch": 10.0},
    }


@pytest.fixture
def sweep(tmp_path):
    for name in ("resnet50", "xception,seed=1", "densenet201", "nasnetlarge"):
        (tmp_path / name / ".hydra").mkdir(parents=True)
        (tmp_path / name / "report").mkdir()
    (tmp_path / "not a run").mkdir()
    other_classes = summary(0.9, 0.91)
    same_classes = summary(0.8, 0.95) | {"study": {"test_accuracy": 0.9291, "macro_auprc": 0.9437}}
    for name, run in (("resnet50", other_classes), ("xception,seed=1", same_classes)):
        (tmp_path / name / "report" / "summary.json").write_text(json.dumps(run))
    (tmp_path / "densenet201" / "error.txt").write_text("ValueError: no\nweights | here\n")
    return tmp_path


def test_each_run_is_a_row_best_first_whatever_became_of_it(sweep):
    table = collect(sweep)
    assert table["run"].tolist()[:2] == ["xception,seed=1", "resnet50"]
    assert dict(zip(table["run"], table["status"], strict=True)) == {
        "xception,seed=1": "finished",
        "resnet50": "finished",
        "densenet201": "failed",
        "nasnetlarge": "missing",
    }


def test_measured_figures_stand_beside_the_study_s(sweep):
    row = collect(sweep).set_index("run").loc["xception,seed=1"]
    assert row["accuracy"] == 0.8
    assert row["study_accuracy"] == 0.9291
    assert row["study_macro_auprc"] == 0.9437
    assert row["trainable_parameters"] == 12
    assert pd.isna(collect(sweep).set_index("run").loc["resnet50", "study_accuracy"])
    assert collect(sweep).set_index("run").loc["nasnetlarge", "study_accuracy"] == 0.9319


def test_the_tables_hold_every_run(sweep):
    write_comparison(sweep)
    assert len(pd.read_csv(sweep / "comparison.csv")) == 4
    lines = (sweep / "comparison.md").read_text().splitlines()
    assert len(lines) == 6
    assert all(name in "\n".join(lines) for name in ("resnet50", "densenet201", "ValueError: no"))


def job_end(sweep, name, status, error=None, mode="MULTIRUN"):
    config = OmegaConf.create(
        {"hydra": {"sweep": {"dir": str(sweep)}, "runtime": {"output_dir": str(sweep / name)}}}
    )
    hydra = SimpleNamespace(
        mode=SimpleNamespace(name=mode),
        sweep=config.hydra.sweep,
        runtime=config.hydra.runtime,
    )
    job_return = JobReturn(status=status)
    job_return._return_value = error
    CompareModels().on_job_end(SimpleNamespace(hydra=hydra), job_return)


def test_a_failed_job_s_error_is_kept_until_it_succeeds(sweep):
    job_end(sweep, "resnet50", JobStatus.FAILED, ValueError("disk full"))
    table = pd.read_csv(sweep / "comparison.csv").set_index("run")
    assert table.loc["resnet50", "status"] == "failed"
    assert "disk full" in table.loc["resnet50", "error"]
    job_end(sweep, "resnet50", JobStatus.COMPLETED)
    table = pd.read_csv(sweep / "comparison.csv").set_index("run")
    assert table.loc["resnet50", "status"] == "finished"


def test_a_sentence_for_the_user_stands_in_the_table_as_it_is(sweep):
    job_end(sweep, "densenet201", JobStatus.FAILED, CompactHydraException("seed=-1 must be 0."))
    table = pd.read_csv(sweep / "comparison.csv").set_index("run")
    assert table.loc["densenet201", "error"] == "seed=-1 must be 0."


def test_a_job_that_would_not_write_over_a_finished_run_leaves_it_finished(sweep):
    error = CompactHydraException("already holds a run")
    error.__cause__ = FileExistsError()
    job_end(sweep, "resnet50", JobStatus.FAILED, error)
    table = pd.read_csv(sweep / "comparison.csv").set_index("run")
    assert table.loc["resnet50", "status"] == "finished"
    assert table.loc["resnet50", "accuracy"] == 0.9


def test_counts_stay_whole_numbers_beside_runs_without_any(sweep):
    write_comparison(sweep)
    text = (sweep / "comparison.csv").read_text()
    assert ",3,5,12,10.0," in text
    assert "| 3 " in (sweep / "comparison.md").read_text()


def test_a_table_of_failures_alone_can_be_written(sweep):
    for name in ("resnet50", "xception,seed=1"):
        (sweep / name / "report" / "summary.json").unlink()
    write_comparison(sweep)
    assert pd.read_csv(sweep / "comparison.csv")["accuracy"].isna().all()


def test_a_folder_without_runs_is_an_empty_table(tmp_path):
    assert collect(tmp_path).empty


def test_a_single_run_writes_no_table(sweep):
    job_end(sweep, "resnet50", JobStatus.COMPLETED, mode="RUN")
    assert not (sweep / "comparison.csv").exists()
