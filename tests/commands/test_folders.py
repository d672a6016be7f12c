from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf, read_write

import train
from fashion.commands.folders import register_resolvers, run_dir, varied_keys
from fashion.commands.sweep import Sweep

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
    monkeypatch.setattr("fashion.commands.folders.datetime", None)
    assert config.dir == first


def job_folder(arguments, overrides, quoted=()):
    """Return the folder of the job that a sweep's words give these overrides."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        sweep = compose("config", return_hydra_config=True)
        config = compose("config", overrides, return_hydra_config=True)
    sweep.hydra.overrides.task = arguments
    Sweep(quoted).on_multirun_start(sweep)
    key, _, name = OmegaConf.to_container(sweep.hydra.overrides.hydra)[-1].partition("=")
    config.hydra.overrides.task = overrides
    HydraConfig.instance().set_config(config)
    with read_write(config.hydra):
        OmegaConf.update(config, key, name.strip("'"))
    return config.hydra.sweep.dir, config.hydra.sweep.subdir


@pytest.mark.parametrize(
    ("arguments", "overrides", "folder"),
    [
        ([], ["model=xception"], "xception"),
        (["model=a,b", "seed=1"], ["model=xception", "seed=1"], "xception"),
        (["seed=0,1"], ["model=xception", "seed=1"], "xception,seed=1"),
        (
            ["model=timm", "model.backbone=test_resnet,test_vit", "seed=0,1"],
            ["model=timm", "model.backbone=test_vit", "seed=0"],
            "timm,model.backbone=test_vit,seed=0",
        ),
        (
            ["data.root=a/b.zip,c"],
            ["model=resnet50", "data.root=a/b.zip"],
            "resnet50,data.root=a_b.zip",
        ),
        (["data.rotation=range(0,20,10)"], ["data.rotation=10"], "resnet50,data.rotation=10"),
    ],
)
def test_a_job_s_folder_is_its_model_and_what_else_varies(arguments, overrides, folder):
    sweep, name = job_folder(arguments, overrides)
    assert (sweep, name) == ("multirun/default", folder)


def test_a_folder_has_the_quotes_that_were_typed_and_no_others():
    sweep = ["data.root='2024','archive (1).zip',b"]
    for word, name in (("'2024'", "2024"), ("'archive (1).zip'", "archive (1).zip"), ("b", "b")):
        job = [f"data.root={word}"]
        assert job_folder(sweep, job, ["data.root"])[1] == f"resnet50,data.root={name}"
        assert job_folder(sweep, job)[1] == f"resnet50,data.root={word}"


def test_a_name_too_long_for_a_folder_is_cut_and_stays_its_own():
    patterns = [f"['^layer{i}\\\\.', '{'é' * 120}']" for i in (1, 2)]
    names = [
        job_folder([f"model.unfreeze={','.join(patterns)}"], [f"model.unfreeze={pattern}"])[1]
        for pattern in patterns
    ]
    assert len(set(names)) == 2
    assert all(len(name.encode()) <= 200 for name in names)
    assert all(name.startswith("resnet50,model.unfreeze=") for name in names)


def test_a_folder_that_the_user_names_stays_so():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        sweep = compose("config", return_hydra_config=True)
    sweep.hydra.overrides.hydra = ["hydra.sweep.subdir=mine"]
    Sweep().on_multirun_start(sweep)
    assert sweep.hydra.overrides.hydra == ["hydra.sweep.subdir=mine"]


def test_what_a_search_varies_is_known_but_for_what_the_command_line_gives():
    searched = ["model=a,b", "model.dropout=interval(0, 1)", "seed=choice(1, 2)", "data.views=2"]
    assert varied_keys(["seed=3", "data.fit=pad,squash"], searched) == [
        *("model", "model.dropout", "data.fit")
    ]
