import importlib.util
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import requests
import torch
from hydra import compose, initialize_config_dir
from lightning.fabric.accelerators.xla import XLAAccelerator
from lightning.pytorch.strategies import XLAStrategy as LightningXLAStrategy

import train
from fashion.commands.train import build_trainer
from fashion.devices import accelerators
from fashion.devices.accelerators import chosen, missing, trainer_arguments

REPO = Path(train.__file__).parent
needs_xla = pytest.mark.skipif(
    not importlib.util.find_spec("torch_xla"), reason="torch_xla is missing"
)


@pytest.fixture
def versions(monkeypatch):
    """Returns pretend(torch_xla="2.9.0", ...), which changes what seems to be installed."""
    real = metadata.version

    def pretend(**changes):
        def version(name):
            found = changes.get(name, real(name) if name not in changes else None)
            if found is None:
                raise metadata.PackageNotFoundError(name)
            return found

        monkeypatch.setattr(metadata, "version", version)

    return pretend


@pytest.fixture
def tpu(monkeypatch):
    """Returns attach(chips), which pretends that TPU chips are attached and libtpu installed."""

    def attach(chips, libtpu=True):
        monkeypatch.setattr(accelerators, "num_tpu_chips", lambda: chips)
        monkeypatch.delenv("PJRT_DEVICE", raising=False)
        find_spec = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name, *args: libtpu or None if name == "libtpu" else find_spec(name, *args),
        )

    return attach


def test_without_torch_xla_the_install_command_is_named(versions, tpu):
    tpu(4)
    versions(torch_xla=None)
    for accelerator in ("tpu", "xla"):
        with pytest.raises(
            ValueError, match=rf"=({accelerator}): torch_xla is not installed.*\[\1\]"
        ):
            trainer_arguments({"accelerator": accelerator})
    assert chosen("auto") != "tpu"


@pytest.mark.parametrize("torch_version", ["2.10.1", "2.8.0+cpu", "2.90.0"])
def test_a_torch_that_torch_xla_was_not_built_for_is_named(torch_version, versions, tpu):
    tpu(4)
    versions(torch_xla="2.9.0", torch=torch_version)
    for accelerator in ("tpu", "xla"):
        lack = missing(accelerator)
        assert f"torch_xla 2.9.0 needs torch 2.9, but torch {torch_version} is installed" in lack
        assert f"run pip install -e '.[{accelerator}]'" in lack


@pytest.mark.parametrize("torch_version", ["2.9.0", "2.9.1+cu128"])
def test_any_patch_of_the_right_torch_will_do(torch_version, versions, tpu):
    tpu(4)
    versions(torch_xla="2.9.0", torch=torch_version)
    assert missing("tpu") is None
    assert missing("xla") is None
    assert chosen("auto") == "tpu"
    assert chosen("cpu") == "cpu"


def test_a_machine_without_a_tpu_is_told_so(versions, tpu, monkeypatch):
    tpu(0)
    versions(torch_xla="2.9.0", torch="2.9.0")
    assert "no TPU is attached" in missing("tpu")
    assert missing("xla") is None
    monkeypatch.setenv("PJRT_DEVICE", "TPU")
    assert "no TPU is attached" in missing("xla")
    assert chosen("auto") == ("gpu" if torch.cuda.is_available() else "cpu")


def test_a_tpu_without_its_library_or_behind_another_device_is_told_so(versions, tpu, monkeypatch):
    versions(torch_xla="2.9.0", torch="2.9.0")
    tpu(4, libtpu=False)
    assert "libtpu is not installed; run pip install -e '.[tpu]'" in missing("tpu")
    tpu(4)
    monkeypatch.setenv("PJRT_DEVICE", "CPU")
    assert missing("tpu").startswith("PJRT_DEVICE=CPU is set; unset it")
    assert missing("xla") is None


@needs_xla
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"devices": 4}, r"trainer\.devices=4: pass auto .* or 1 .*#9181"),
        ({"devices": 8}, r"trainer\.devices=8"),
        ({"devices": -1}, r"trainer\.devices=-1"),
        ({"precision": "bf16-true"}, r"precision='bf16-true': .*silently.*Pass bf16-mixed"),
        ({"precision": "16-true"}, r"precision='16-true': .*silently"),
        ({"precision": "16-mixed"}, r"precision='16-mixed': .*Pass bf16-mixed"),
        ({"precision": "64-true"}, r"precision='64-true'"),
        ({"precision": "bf16-true", "strategy": "xla"}, r"precision='bf16-true'"),
    ],
)
def test_what_an_xla_device_cannot_do_is_one_sentence(settings, message, monkeypatch):
    monkeypatch.setenv("PJRT_DEVICE", "CPU")
    with pytest.raises(ValueError, match=message) as caught:
        trainer_arguments({"accelerator": "xla", **settings})
    assert "\n" not in str(caught.value)


def test_other_devices_stay_lightning_s():
    for accelerator in ("cpu", "gpu", "cuda", "mps"):
        assert trainer_arguments({"accelerator": accelerator, "precision": "bf16-true"}) == {}


@needs_xla
def test_a_strategy_of_the_user_s_own_stays(monkeypatch):
    monkeypatch.setenv("PJRT_DEVICE", "CPU")
    overrides = [
        "output_dir=out",
        "model_name=resnet50",
        "trainer.accelerator=xla",
        "trainer.strategy=xla",
        "trainer.devices=1",
        "trainer.logger=false",
    ]
    with initialize_config_dir(str(REPO / "conf"), version_base="1.3"):
        cfg = compose("config", overrides)
    trainer = build_trainer(cfg, None)
    assert type(trainer.strategy) is LightningXLAStrategy


def test_nothing_is_asked_of_a_metadata_host_that_is_not_there(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a request was sent")

    monkeypatch.setattr(requests, "get", refuse)
    monkeypatch.setattr(accelerators, "_has_google_device", lambda: False)
    for name in ("TPU_SKIP_MDS_QUERY", "TPU_ACCELERATOR_TYPE"):
        monkeypatch.delenv(name, raising=False)
    XLAAccelerator.auto_device_count.cache_clear()
    XLAAccelerator.is_available.cache_clear()
    assert trainer_arguments({"accelerator": "cpu"}) == {}
    with pytest.raises(ValueError, match=r"trainer\.accelerator=tpu: "):
        trainer_arguments({"accelerator": "tpu"})
    assert XLAAccelerator.is_available() is False


def test_bfloat16_on_a_processor_without_it_is_warned_of(monkeypatch, caplog):
    monkeypatch.setattr(accelerators, "cpu_has_bfloat16", lambda: False)
    assert trainer_arguments({"accelerator": "cpu", "precision": "32-true"}) == {}
    assert not caplog.text
    assert trainer_arguments({"accelerator": "cpu", "precision": "bf16-mixed"}) == {}
    assert "trainer.precision=bf16-mixed: this processor has no" in caplog.text
    assert "pass trainer.precision=32-true" in caplog.text


def test_bfloat16_on_a_processor_with_it_is_not(monkeypatch, caplog):
    monkeypatch.setattr(accelerators, "cpu_has_bfloat16", lambda: True)
    assert trainer_arguments({"accelerator": "cpu", "precision": "bf16-mixed"}) == {}
    assert not caplog.text


def test_the_command_ends_with_one_line_and_no_traceback(tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "PJRT_DEVICE"}
    result = subprocess.run(
        [sys.executable, "train.py", "trainer.accelerator=tpu", f"hydra.run.dir={tmp_path}"],
        cwd=REPO,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("trainer.accelerator")]
    assert len(lines) == 1
    assert "pass trainer.accelerator=auto" in lines[0]


def test_everything_but_xla_devices_works_without_torch_xla(tmp_path):
    script = (
        "import sys; sys.modules['torch_xla'] = None; "
        "import train, fashion.commands.checks, fashion.devices.xla"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    command = [sys.executable, "-W", "error::ImportWarning", "-c", script]
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
