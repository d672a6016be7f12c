import re
from types import SimpleNamespace

import pytest

from fashion import folders
from fashion.folders import run_dir, sweep_subdir


def test_a_new_run_gets_a_folder_named_by_model_and_time():
    assert re.fullmatch(
        r"outputs/xception/\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", run_dir(None, "xception")
    )
    assert run_dir("last", "xception").startswith("outputs/xception/")


def test_a_checkpoint_s_run_goes_on_in_its_own_folder():
    assert run_dir("outputs/mine/checkpoints/last.ckpt", "resnet50") == "outputs/mine"
    assert run_dir("elsewhere/last.ckpt", "resnet50").startswith("outputs/resnet50/")


@pytest.mark.parametrize(
    ("arguments", "job", "expected"),
    [
        (["--multirun"], ["model=xception"], "xception"),
        (["--multirun", "model=xception,resnet50"], ["model=xception"], "xception"),
        (
            ["-m", "seed=0,1", "data.root=/a/b.zip"],
            ["model=xception", "seed=1", "data.root=/a/b.zip"],
            "xception,seed=1",
        ),
        (
            ["-m", "model.weights=a/b.safetensors,null"],
            ["model=xception", "model.weights=a/b.safetensors"],
            "xception,model.weights=a_b.safetensors",
        ),
    ],
)
def test_a_sweep_s_folders_name_what_is_varied_and_nothing_else(
    arguments, job, expected, monkeypatch
):
    config = SimpleNamespace(overrides=SimpleNamespace(task=job))
    monkeypatch.setattr(folders.sys, "argv", ["train.py", *arguments])
    monkeypatch.setattr(folders.HydraConfig, "get", lambda: config)
    assert sweep_subdir("xception") == expected
