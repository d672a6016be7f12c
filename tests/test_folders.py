import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

import train
from fashion.folders import register_resolvers, run_dir

CONF = Path(train.__file__).parent / "conf"


@pytest.mark.parametrize(
    ("ckpt_path", "folder"),
    [
        ("runs/a/checkpoints/last.ckpt", "runs/a"),
        ("/runs/a, b=c/checkpoints/best.ckpt", "/runs/a, b=c"),
    ],
)
def test_a_resumed_run_goes_on_in_its_own_folder(ckpt_path, folder):
    assert run_dir(ckpt_path, "xception") == folder


@pytest.mark.parametrize("ckpt_path", [None, "last", "elsewhere/best.ckpt"])
def test_any_other_run_gets_a_new_folder_under_its_model(ckpt_path):
    folder = Path(run_dir(ckpt_path, "xception"))
    assert folder.parent == Path("outputs/xception")
    assert folder.name[:2] == "20"


def test_a_run_s_folder_stays_the_same_while_it_runs(monkeypatch):
    register_resolvers()
    config = OmegaConf.create({"dir": "${run_dir:null,resnet50}"})
    first = config.dir
    monkeypatch.setattr("fashion.folders.datetime", None)
    assert config.dir == first


def job_folder(monkeypatch, arguments, overrides):
    """Return the folder of the job that a sweep's command line gives these overrides."""
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides, return_hydra_config=True)
    config.hydra.overrides.task = overrides
    HydraConfig.instance().set_config(config)
    return config.hydra.sweep.dir, config.hydra.sweep.subdir


@pytest.mark.parametrize(
    ("arguments", "overrides", "folder"),
    [
        (["--multirun"], ["model=xception"], "xception"),
        (["-m", "model=a,b", "seed=1"], ["model=xception", "seed=1"], "xception"),
        (["--multirun", "seed=0,1"], ["model=xception", "seed=1"], "xception,seed=1"),
        (
            ["--multirun", "model=timm", "model.backbone=test_resnet,test_vit", "seed=0,1"],
            ["model=timm", "model.backbone=test_vit", "seed=0"],
            "timm,model.backbone=test_vit,seed=0",
        ),
        (
            ["--multirun", "data.root=a/b.zip,c", "--config-dir", "more"],
            ["model=resnet50", "data.root=a/b.zip"],
            "resnet50,data.root=a_b.zip",
        ),
        (["data.rotation=range(0,20,10)", "-m"], ["data.rotation=10"], "resnet50,data.rotation=10"),
    ],
)
def test_a_job_s_folder_is_its_model_and_what_else_varies(
    arguments, overrides, folder, monkeypatch
):
    sweep, name = job_folder(monkeypatch, arguments, overrides)
    assert (sweep, name) == ("multirun/default", folder)
