"""Runs on XLA's own CPU device, which traces, compiles and partitions as a TPU does."""

import importlib.util
import json
import math
import os
import re
import subprocess
import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import torch

import train
from fashion.metrics.predictions import Predictions
from fashion.models import checkpoints

pytestmark = [
    pytest.mark.tpu,
    pytest.mark.skipif(not importlib.util.find_spec("torch_xla"), reason="torch_xla is missing"),
]
REPO = Path(train.__file__).parent
EPOCHS = 3
DEVICES = {
    "cpu": ("trainer.accelerator=cpu",),
    "xla-1": ("trainer.accelerator=xla", "trainer.devices=1"),
    "xla-8": ("trainer.accelerator=xla",),
}
ON_XLA = ["xla-1", "xla-8"]
# XLA's own passes and partitioning stay; machine code that runs for seconds needn't be fast.
QUICKLY = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


@pytest.fixture(scope="module")
def command(start_command):
    """Returns command(device, *words, program, typed) -> what it said, in a process of its own.

    One that has used 8 devices can't use a single one. It is forked unless it is as `typed`.
    """

    def command(device, *words, program=("train.py",), typed=False):
        number = device.partition("-")[2]
        xla = {"PJRT_DEVICE": "CPU", "CPU_NUM_DEVICES": number, "XLA_FLAGS": QUICKLY}
        environment = xla if number else {}
        words = [*program, *DEVICES[device], *words]
        if typed:
            result = subprocess.run(
                [sys.executable, *words],
                cwd=REPO,
                env={**os.environ, **environment},
                capture_output=True,
                text=True,
                timeout=900,
            )
            status, said = result.returncode, result.stderr
        else:
            status, said = start_command(*words, **environment).finish()
        assert status == 0, said[-5000:]
        return said

    return command


@contextmanager
def busy_cores():
    """Keep two cores busy: where threads were too few, the devices waited for one another then."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def test_the_parts_hold_in_a_process_of_their_own(tmp_path):
    parts = REPO / "tests" / "devices" / "test_xla_parts.py"
    found = tmp_path / "found.xml"
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", f"--junitxml={found}", str(parts)],
        cwd=REPO,
        env={**os.environ, "FASHION_XLA_PROCESS": "1", "PJRT_DEVICE": "CPU"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout
    cases = ElementTree.parse(found).findall(".//testcase")
    assert not [case.attrib["name"] for case in cases if len(case)]  # skipped or otherwise not run
    written = re.findall(r"^def (test_\w+)", parts.read_text(), re.MULTILINE)
    assert {case.attrib["name"].partition("[")[0] for case in cases} == set(written)


SMALL = (
    "model=timm",
    "model.backbone=test_resnet",
    "model.unfreeze=all",
    "model.input_size=32",
    # AdamW's steps on next to no gradient are of full length and differ between processors, too.
    "model.optimizer.lr=3e-5",
)


def settings(root, cache_dir, folder):
    return [
        f"data.root={root}",
        f"data.cache_dir={cache_dir}",
        "data.min_images=20",
        "data.batch_size=8",
        "data.num_workers=1",
        "model.pretrained=false",
        "model.dropout=0",
        f"trainer.max_epochs={EPOCHS}",
        "trainer.log_every_n_steps=3",
        "trainer.enable_progress_bar=false",
        "callbacks.last.filename='epoch{epoch}'",
        "+callbacks.last.save_top_k=-1",
        "+callbacks.last.auto_insert_metric_name=false",
        "robustness_photos=2",
        f"hydra.run.dir={folder}",
    ]


@pytest.fixture(scope="module")
def root(write_catalogue, tmp_path_factory):
    """43 photos of each class: the test split of 13 divides neither by 8 devices nor by a batch."""
    labels = ["Shirts", "Jeans", "Watches"] * 43
    genders = ["Men", "Women", "", "Men"] * 33
    rows = [
        {"id": str(i), "articleType": label, "gender": genders[i]} for i, label in enumerate(labels)
    ]
    return write_catalogue(tmp_path_factory.mktemp("catalogue"), rows)


@pytest.fixture(scope="module")
def run(root, command, tmp_path_factory):
    """Returns run(device, *overrides) -> the run's folder; each is trained once a module.

    A checkpoint of every epoch is kept.
    """
    done = {}
    cache_dir = tmp_path_factory.mktemp("cache")

    def run(device, *overrides):
        key = (device, *overrides)
        if key not in done:
            folder = tmp_path_factory.mktemp(device)
            typed = key == ("xla-8", *SMALL)
            said = command(device, *settings(root, cache_dir, folder), *overrides, typed=typed)
            (folder / "said.txt").write_text(said)
            done[key] = folder
        return done[key]

    return run


def history_of(folder):
    return pd.read_csv(folder / "history.csv")


def summary_of(folder):
    return json.loads((folder / "report" / "summary.json").read_text())


def assert_same_answer(folder, expected_folder):
    """Losses to 1e-4 relative, probabilities to 1e-4 absolute, figures but for near ties."""
    history, expected = history_of(folder), history_of(expected_folder)
    assert history["epoch"].tolist() == expected["epoch"].tolist() == list(range(EPOCHS))
    for column in ("train/loss", "val/loss"):
        np.testing.assert_allclose(history[column], expected[column], rtol=1e-4)
    paths = [path / "predictions.npz" for path in (folder, expected_folder)]
    one, other = map(Predictions.load, paths)
    assert one.image_ids.tolist() == other.image_ids.tolist()
    assert len(set(one.image_ids)) == 13
    np.testing.assert_array_equal(one.targets, other.targets)
    np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-4)
    figures, others = (summary_of(path)["test"] for path in (folder, expected_folder))
    for name in ("accuracy", "macro_auprc"):
        equal = math.isclose(figures[name], others[name], abs_tol=1e-6)
        assert equal or nearly_tied(other.probabilities, name), name


def nearly_tied(probabilities, figure):
    """Whether scores that the figure compares differ by less than devices may."""
    if figure == "accuracy":  # of a photo, the two highest
        compared = np.diff(np.sort(probabilities, axis=1), axis=1)[:, -1]
    else:  # of a class, any two neighbours in the ranking
        compared = np.diff(np.sort(probabilities, axis=0), axis=0)
    return compared.min() < 2e-4


@pytest.mark.parametrize(
    ("model", "device"),
    [
        pytest.param("test_resnet", "xla-8", marks=pytest.mark.slow),
        pytest.param("test_resnet", "xla-1", marks=pytest.mark.slow),
        pytest.param("resnet50", "xla-8", marks=pytest.mark.long),
        pytest.param("resnet50", "xla-1", marks=pytest.mark.long),
        pytest.param("densenet201", "xla-8", marks=pytest.mark.long),
        pytest.param("densenet201", "xla-1", marks=pytest.mark.long),
    ],
)
def test_every_device_gives_the_same_answer(model, device, run):
    of_model = SMALL if model == "test_resnet" else (f"model={model}", "model.input_size=64")
    assert_same_answer(run(device, *of_model), run("cpu", *of_model))


@pytest.mark.slow
@pytest.mark.parametrize("device", ON_XLA)
def test_two_heads_are_those_of_the_cpu_in_as_many_graphs(device, run):
    columns = "data.label_column=[articleType,gender]"
    two = (*SMALL, "model.optimizer.lr=3e-5", "model.head_weights=[1,0.5]", columns)
    folder, expected_folder = run(device, *two), run("cpu", *two)
    assert_same_answer(folder, expected_folder)
    one, other = (
        Predictions.load(path / "predictions.npz").attributes["gender"]
        for path in (folder, expected_folder)
    )
    assert one.image_ids.tolist() == other.image_ids.tolist()
    np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-4)
    assert summary_of(folder)["xla"]["graphs_by_epoch"] == [2, 0, 0]
    assert summary_of(folder)["xla"]["graphs"] == 2


@pytest.mark.parametrize("device", ON_XLA)
@pytest.mark.parametrize(
    "model",
    [
        pytest.param("test_resnet", marks=pytest.mark.slow),
        pytest.param("resnet50", marks=pytest.mark.long),
        pytest.param("densenet201", marks=pytest.mark.long),
    ],
)
def test_two_graphs_are_compiled_in_the_first_epoch_and_none_later(model, device, run):
    of_model = SMALL if model == "test_resnet" else (f"model={model}", "model.input_size=64")
    folder = run(device, *of_model)
    xla = summary_of(folder)["xla"]
    assert xla["graphs_by_epoch"] == [2, 0, 0]  # a training step and an evaluation step
    assert xla["graphs"] == 2  # all predictions take the validation's graph
    # Two batches each for validation and test, and 15 changes of two photos.
    assert xla["executions"] == EPOCHS * (103 // 8 + 2) + 2 + 2 + 4
    assert xla["compile_seconds_by_epoch"][0] == pytest.approx(xla["compile_seconds"])
    assert xla["compile_seconds"] > 0
    assert xla["fallbacks"] == {}
    assert (xla["cache_hits"], xla["cache_misses"], xla["cache_failures"]) == (0, 0, 0)
    assert "more graphs" not in (folder / "said.txt").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second"), [("xla-8", "cpu"), ("cpu", "xla-8"), ("cpu", "xla-1")]
)
def test_a_run_goes_on_on_another_device_with_the_same_figures(first, second, run):
    whole = run(first, *SMALL)
    checkpoint_path = whole / "checkpoints" / "epoch0.ckpt"
    resumed = run(second, *SMALL, f"ckpt_path={checkpoint_path}")
    assert_same_answer(resumed, whole)
    if second != "cpu":
        xla = summary_of(resumed)["xla"]
        assert xla["graphs_by_epoch"] == [2, 0]
        assert xla["graphs"] == 2
    for folder in (whole, resumed):
        checkpoint = checkpoints.read(folder / "checkpoints" / "best.ckpt")
        tensors = [*checkpoint["state_dict"].values()]
        for state in checkpoint["optimizer_states"][0]["state"].values():
            tensors += state.values()
        assert {tensor.device.type for tensor in tensors} == {"cpu"}
        group = checkpoint["optimizer_states"][0]["param_groups"][0]
        assert isinstance(group["lr"], float)
        assert group["capturable"] is False


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["SGD", "Adagrad"])
def test_any_optimiser_goes_on_there_and_back(optimizer, run):
    chosen = (
        *SMALL,
        f"model.optimizer._target_=torch.optim.{optimizer}",
        "model.optimizer.lr=1e-3",
        *(["+model.optimizer.momentum=0.9"] if optimizer == "SGD" else []),
    )
    whole = run("cpu", *chosen)
    there = run("xla-1", *chosen, f"ckpt_path={whole / 'checkpoints' / 'epoch0.ckpt'}")
    assert_same_answer(there, whole)
    back = run("cpu", *chosen, f"ckpt_path={there / 'checkpoints' / 'epoch1.ckpt'}")
    assert_same_answer(back, whole)


@pytest.mark.slow
@pytest.mark.parametrize("device", ON_XLA)
def test_averaged_weights_are_the_same_and_part_of_the_training_step(device, run):
    averaged = (*SMALL, "callbacks.averaging.decay=0.9")
    folder = run(device, *averaged)
    assert_same_answer(folder, run("cpu", *averaged))
    assert summary_of(folder)["xla"]["graphs_by_epoch"] == [2, 0, 0]
    assert summary_of(folder)["xla"]["graphs"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("device", ON_XLA)
def test_dropout_is_drawn_anew_each_step_and_alike_in_a_resumed_run(device, run):
    dropout = (*SMALL, "model.dropout=0.5")
    whole = run(device, *dropout)
    resumed = run(device, *dropout, f"ckpt_path={whole / 'checkpoints' / 'epoch0.ckpt'}")
    assert_same_answer(resumed, whole)
    without = history_of(run(device, *SMALL))["train/loss"]
    assert (history_of(whole)["train/loss"] > without * 1.001).any()


@pytest.mark.slow
@pytest.mark.parametrize(("device", "batch_size"), [("xla-1", 8), ("xla-8", 32)])
def test_accumulated_gradients_keep_the_step_and_compile_a_graph_for_each_part(
    device, batch_size, run
):
    # Nothing but the head trains, so that no BatchNorm sees the smaller parts.
    head = (*SMALL[:2], SMALL[3], "model.unfreeze=[]", f"data.batch_size={batch_size}")
    folder = run(device, *head, "trainer.accumulate_grad_batches=4")
    assert_same_answer(folder, run("cpu", *head, "trainer.accumulate_grad_batches=4"))
    # The first part, the next ones, the last one with the optimizer's step, and evaluation.
    assert summary_of(folder)["xla"]["graphs_by_epoch"] == [4, 0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("device", ON_XLA)
def test_a_cut_network_fills_its_store_and_trains_from_it(device, on_device, run, tmp_path):
    cut = (*SMALL[:2], r"model.unfreeze=['^layer4\.']", "model.input_size=48", "data.views=2")
    cut += ("data.views_precision=float32",)
    place = f"data.views_on_device={on_device}"
    folder = run(device, *cut, place, f"data.cache_dir={tmp_path}")  # a store of its own
    assert_same_answer(folder, run("cpu", *cut))
    xla = summary_of(folder)["xla"]
    # The frozen side, a training and an evaluation step; the test split goes through both sides.
    assert xla["graphs_by_epoch"] == [3, 0, 0]
    assert xla["graphs"] == 4
    assert xla["fallbacks"] == {}
    assert "more graphs" not in (folder / "said.txt").read_text()


@pytest.mark.slow
def test_bfloat16_is_autocast_over_float32(run):
    folder = run("xla-8", *SMALL, "trainer.precision=bf16-mixed")
    checkpoint = checkpoints.read(folder / "checkpoints" / f"epoch{EPOCHS - 1}.ckpt")
    states = checkpoint["optimizer_states"][0]["state"].values()
    tensors = [
        *checkpoint["state_dict"].values(),
        *(part for state in states for part in state.values()),
    ]
    assert {tensor.dtype for tensor in tensors} == {torch.float32, torch.int64}
    float32 = history_of(run("xla-8", *SMALL))
    losses = history_of(folder)["train/loss"]
    assert not np.allclose(losses, float32["train/loss"], rtol=1e-6)  # it is another arithmetic
    np.testing.assert_allclose(losses, float32["train/loss"], rtol=0.05)
    assert summary_of(folder)["xla"]["graphs_by_epoch"] == [2, 0, 0]


@pytest.mark.parametrize(
    ("words", "support"),
    [
        pytest.param((), 13, marks=pytest.mark.slow),
        pytest.param(  # the drawn sample
            ("data.root=null", "data.batch_size=64", "model.input_size=48"),
            499,
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_checkpoint_gives_nearly_the_same_answer_in_bfloat16(
    words, support, run, command, tmp_path
):
    trained = run("cpu", *SMALL, *words, "model.optimizer.lr=3e-3")
    precisions = {"32-true": busy_cores(), "bf16-mixed": nullcontext()}
    for precision, cores in precisions.items():
        with cores:
            command(
                "xla-8",
                f"ckpt_path={trained / 'checkpoints' / 'best.ckpt'}",
                f"output_dir={tmp_path / precision}",
                f"trainer.precision={precision}",
                program=("-m", "fashion", "evaluate"),
            )
    folders = [trained, *(tmp_path / precision for precision in precisions)]
    summaries = [summary_of(folder) for folder in folders]
    assert [summary["test"]["support"] for summary in summaries] == [support] * 3
    assert [summary["xla"]["graphs"] for summary in summaries[1:]] == [1, 1]
    cpu, float32, bfloat16 = (summary["test"]["macro_auprc"] for summary in summaries)
    assert float32 == pytest.approx(cpu, abs=1e-4)
    assert float32 > 0.9
    assert bfloat16 == pytest.approx(float32, abs=0.003)
    assert bfloat16 != float32 or support == 13  # so few may rank alike
    _, exact, rounded = (Predictions.load(folder / "predictions.npz") for folder in folders)
    assert exact.image_ids.tolist() == rounded.image_ids.tolist()
    assert not np.allclose(exact.probabilities, rounded.probabilities, atol=1e-6)
    np.testing.assert_allclose(rounded.probabilities, exact.probabilities, atol=0.1)
