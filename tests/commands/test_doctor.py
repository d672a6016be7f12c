import importlib.util
import re
import shutil
from collections import namedtuple
from pathlib import Path

import psutil
import pytest
from hydra import compose, initialize_config_dir

import train
from fashion.catalogue.root import open_root
from fashion.commands import checks, doctor
from fashion.commands.main import run
from fashion.data.photo_store import open_store
from fashion.devices import accelerators
from fashion.models.backbone import pretrained_cfg
from fashion.training.classifier import ProductClassifier

CONF = Path(train.__file__).parent / "conf"


@pytest.fixture
def examine(monkeypatch, tmp_path):
    """Returns examine(*words) -> (exit status, the report on one line, the command)."""

    def examine(*words):
        lines = []
        words = (f"data.cache_dir={tmp_path / 'cache'}", *words)
        monkeypatch.setenv("COLUMNS", "400")
        with pytest.raises(SystemExit) as stopped:
            doctor.run(list(words), lines.append)
        text = "".join(lines)
        commands = [line.strip() for line in text.splitlines() if line.startswith("    python")]
        return stopped.value.code, text, commands[0] if commands else None

    return examine


@pytest.fixture
def small(tiny_root):
    return (
        f"data.root={tiny_root}",
        "data.min_images=20",
        "data.batch_size=8",
        "model=timm",
        "model.backbone=test_resnet",
        "model.pretrained=false",
        "model.input_size=64",
    )


@pytest.fixture
def hub(monkeypatch):
    """Returns answer(error), which has the hub fail with it, or answer."""

    def answer(error=None):
        def reach(cfg):
            if error:
                raise error

        monkeypatch.setattr("fashion.models.backbone._reach_hub", reach)

    return answer


def test_a_run_that_would_work_is_ok_and_its_command_composes(examine, small, tmp_path):
    status, text, command = examine(*small)
    assert status == 0, text
    assert "!!" not in text
    assert "120 photos of 3 classes" in text
    assert "120 photos at 64 px take 1.5 MB" in text
    assert "weights: random ones" in text
    for name in ("Python 3.", "torch 2.", "lightning 2.", "timm ", "CPU: ", "GPU", "TPU", "XLA"):
        assert name in text
    words = command.split()
    assert words[:2] == ["python", "train.py"]
    assert set(small) <= set(words)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        compose("config", words[2:])
    assert not (tmp_path / "cache").exists()  # nothing was written


def test_what_is_missing_is_named_and_what_helps_is_in_the_command(
    examine, hub, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    hub(ConnectionError())
    status, text, command = examine()
    assert status == 1
    assert "!!  catalogue: data.root='data/fashion-product-images' does not exist" in text
    assert "!!  weights: model.pretrained=true: the weights of resnet50.tv_in1k" in text
    assert "As it is, this would run on" in text
    assert {"data=sample", "model.pretrained=false"} <= set(command.split())
    hub()
    status, text, command = examine("data=sample")
    assert status == 0
    assert "the sample, 5,000 photos that the first run draws" in text
    assert "model.pretrained=false" not in command


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("data.root=nowhere", "catalogue: data.root='nowhere' does not exist"),
        ("data.label_column=colour", "catalogue: data.label_column='colour'"),
        ("model.weights=no.safetensors", "weights: model.weights='no.safetensors' does not exist"),
        ("data.fit=crop", "data.fit='crop' is unknown"),
        ("model.optimizer.lr=-1", "model.optimizer can't be built: "),
        ("model.unfreeze=[layer9]", "model.unfreeze: 'layer9' matches none"),
        ("trainer.accelerator=tpu", "trainer.accelerator=tpu: "),
        ("trainer.accelerator=quantum", "trainer.accelerator=quantum is unknown; pass auto, "),
    ],
)
def test_what_no_word_can_mend_gets_no_command(word, message, examine, small, monkeypatch):
    monkeypatch.setattr(accelerators, "num_tpu_chips", lambda: 0)
    status, text, command = examine(*small, word)
    assert status == 1
    assert f"!!  {message}" in text
    assert command is None
    assert "Mend what is marked !! first." in text


def test_the_memory_of_batches_ahead_is_told(examine, small, monkeypatch):
    monkeypatch.setattr("fashion.data.loaders.usable_cores", lambda: 5)
    for module in ("data.loaders", "commands.checks"):
        monkeypatch.setattr(f"fashion.{module}.usable_memory", lambda: 10**9)
    _, text, _ = examine(*small, "trainer.accelerator=cpu")
    batch = 8 * 64 * 64 * 3  # 98.3 kB, of which four workers have two each and two are in use
    assert 10 * batch == 983_040
    assert (
        "ok  loaders: 4 processes, whose batches take up to 983.0 kB of memory in training and "
        "983.0 kB more in validation" in text
    )
    two = ("trainer.devices=2", "+trainer.accumulate_grad_batches=2")
    _, text, _ = examine(*small, "trainer.accelerator=cpu", *two)
    assert (
        "ok  loaders: 2 processes, whose batches take up to 196.6 kB of memory in training and "
        "393.2 kB more in validation" in text
    )
    large = ("data.batch_size=90", "model.input_size=800", "data.num_workers=4")
    status, text, _ = examine(*small, "trainer.accelerator=cpu", *large)
    assert status == 1
    assert "!!  loaders: 4 processes, whose batches take up to 1.0 GB" in text
    assert "more in validation, but there are 1.0 GB; pass fewer data.num_workers" in text


def test_a_full_disk_and_a_full_memory_are_found_before_the_run(examine, small, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    _, text, _ = examine(*small)
    assert "!!  disk: 120 photos at 64 px" in text
    assert "pass data.cache_dir on a larger disk" in text
    memory = namedtuple("memory", "total available")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory(8 * 10**9, 1000))
    _, text, _ = examine(*small, "trainer.accelerator=cpu")
    assert "!!  memory: weights, gradients and AdamW's state take" in text
    assert "pass a smaller data.batch_size" in text


@pytest.mark.parametrize(
    ("unfreeze", "gigabytes"),
    # 23.51 million weights of 4 bytes, and of those that train a gradient and AdamW's two moments.
    [("all", "0.38"), ("['^layer4']", "0.27"), ("[]", "0.09")],
)
def test_the_memory_of_a_run_is_that_of_weights_gradients_and_moments(
    unfreeze, gigabytes, examine, small
):
    whole = [word for word in small if not word.startswith("model.input_size")]
    words = ("model.backbone=resnet50", "model.input_size=32", f"model.unfreeze={unfreeze}")
    text = examine(*whole, *words, "trainer.accelerator=cpu")[1]
    assert f"weights, gradients and AdamW's state take {gigabytes} GB" in text


def test_what_the_views_take_is_told_before_the_run(examine, small, monkeypatch):
    cut = (*small, "model.unfreeze=['^layer4']", "data.views=3")
    status, text, _ = examine(*cut)
    assert status == 0
    assert re.search(r"ok  disk: the features of 300 photos \(3 views\) take \d+\.\d MB in ", text)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    _, text, _ = examine(*cut)
    assert "!!  disk: the features of 300 photos (3 views)" in text
    assert "pass fewer data.views" in text
    _, text, _ = examine(*small, "model.unfreeze=all", "data.views=3")
    assert "--  features: data.views=3 has no effect, test_resnet can't be cut in two" in text


def test_photos_that_are_packed_already_need_no_room(examine, small, tiny_root, tmp_path):
    from fashion.catalogue.table import load_catalogue

    root = open_root(str(tiny_root))
    table = load_catalogue(root, min_images=20).table
    interpolation = pretrained_cfg("test_resnet").interpolation
    open_store(root, table, 64, "squash", interpolation, tmp_path / "cache")
    assert "are packed there already" in examine(*small)[1]
    assert "are packed there already" not in examine(*small, "model.input_size=65")[1]


def test_a_cache_that_cannot_be_written_is_told(examine, small, tmp_path):
    (tmp_path / "file").touch()
    _, text, _ = examine(*small, f"data.cache_dir={tmp_path / 'file' / 'cache'}")
    assert re.search(r"!!  disk: 120 photos .*file can't be written; pass data\.cache_dir=", text)


def test_a_tpu_is_chosen_where_there_is_one(examine, small, monkeypatch):
    monkeypatch.setattr(accelerators, "missing", lambda accelerator: None)
    monkeypatch.setattr(checks, "missing", lambda accelerator: None)
    status, text, command = examine(*small)
    assert status == 0
    assert "trainer=tpu" in command.split()
    assert "This would train on the TPU" in text
    assert "trainer=tpu" not in examine(*small, "trainer.accelerator=cpu")[2].split()


def test_the_pjrt_device_is_named(examine, small, monkeypatch):
    if not importlib.util.find_spec("torch_xla"):
        pytest.skip("torch_xla is missing")
    monkeypatch.setenv("PJRT_DEVICE", "CPU")
    monkeypatch.setenv("CPU_NUM_DEVICES", "8")
    assert "fits torch; PJRT_DEVICE=CPU, CPU_NUM_DEVICES=8" in examine(*small)[1]
    monkeypatch.delenv("PJRT_DEVICE")
    monkeypatch.setattr(accelerators, "num_tpu_chips", lambda: 0)
    assert "PJRT_DEVICE is not set, so it takes CPU" in examine(*small)[1]


def test_what_a_step_keeps_is_what_the_trained_side_needs(small):
    import torch

    def kept(unfreeze, input_size=64):
        with torch.device("meta"):
            classifier = ProductClassifier(
                class_names=["a", "b", "c"],
                backbone="test_resnet",
                pretrained=False,
                weights=None,
                input_size=input_size,
                unfreeze=unfreeze,
                dropout=0.0,
                label_smoothing=0.0,
            )
        return checks._saved_bytes(classifier, input_size)

    assert kept([]) == 96 * 4  # the features of a photo, for the head's weights
    assert kept("all", 128) > 3.5 * kept("all", 64) > kept(["^layer4"]) > kept([])


def test_a_mistyped_word_ends_with_its_name():
    for words, message in (
        ("modle=resnet50", r"modle is unknown \(did you mean model\?\)"),
        ("model=resnt50", r"model=resnt50 is unknown \(did you mean resnet50\?\)"),
    ):
        with pytest.raises(SystemExit, match=message):
            run("doctor", [words])
