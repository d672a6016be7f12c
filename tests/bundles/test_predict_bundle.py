"""`fashion predict bundle=`: labels without PyTorch."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fashion.bundles.manifest import HUB_CONFIG, HUB_WEIGHTS
from fashion.commands.main import run
from fashion.labelling import bundle_models

GREYS = {"a.jpg": 250, "b.jpg": 128, "c.jpg": 3}
REFUSED = ("torch", "pandas", "scipy", "lightning", "timm", "hydra", "omegaconf", "matplotlib")
WITHOUT = """
import sys
from importlib.abc import MetaPathFinder
class Refuse(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {refused!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
from fashion.commands.main import main
sys.argv = ["fashion", *{words!r}]
main()
"""


@pytest.fixture
def photos(tmp_path):
    """A folder of photos, one of them cut off."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, grey in GREYS.items():
        Image.new("RGB", (30, 40), (grey,) * 3).save(folder / name)
    (folder / "d.jpg").write_bytes((folder / "a.jpg").read_bytes()[:200])
    return folder


def rows_of(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_labels_are_the_bundle_s(bundle, photos, expected, tmp_path, capsys):
    output = tmp_path / "labels.csv"
    run("predict", [f"bundle={bundle}", str(photos), f"output={output}", "precision=0.85"])
    assert "3 photos labelled, 1 of them not sure, 1 unreadable" in capsys.readouterr().out
    rows = rows_of(output)
    assert [row["photo"] for row in rows] == [str(photos / f"{name}.jpg") for name in "abcd"]
    squares = np.stack([np.full((8, 8, 3), grey, np.uint8) for grey in GREYS.values()])
    for row, probabilities in zip(rows, expected(squares), strict=False):
        assert float(row["probability_1"]) == pytest.approx(probabilities.max(), abs=0.02)
        assert row["sure"] == ("yes" if probabilities.max() >= 0.7 else "no")
    assert [row["label_1"] for row in rows] == ["Bright", "Grey", "Dark, or =so", ""]


def test_nothing_of_training_is_loaded(bundle, photos, tmp_path):
    output = tmp_path / "labels.csv"
    words = ["predict", f"bundle={bundle}", str(photos), f"output={output}"]
    code = WITHOUT.format(refused=REFUSED, words=words)
    code += f"loaded = {{name.partition('.')[0] for name in sys.modules}} & {{*{REFUSED!r}}}\n"
    code += "assert not loaded, loaded\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(rows_of(output)) == 4
    code = WITHOUT.format(refused=REFUSED, words=["verify", f"bundle={bundle}"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.endswith("It labels here.\n"), done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], r"Pass bundle=DIR or ckpt_path=FILE, one of them\."),
        (["bundle={bundle}", "ckpt_path=x"], r"Pass bundle=DIR or ckpt_path=FILE, one of them\."),
        (["bundle=nowhere"], r"bundle='nowhere' does not exist; pass a bundle"),
        (["bundle={bundle}", "int8=true"], r"int8=true: .* has no quantised network"),
        (["bundle={bundle}", "int8=maybe"], r"int8='maybe' must be true or false"),
        (["ckpt_path=x", "int8=true"], r"int8=true is for a bundle"),
        (["ckpt_path=x", "dtype=bfloat16"], r"dtype=bfloat16 is for a bundle"),
        (["bundle={bundle}", "dtype=half"], r"dtype='half' must be one of float32, bfloat16"),
        (["bundle={bundle}", "int8=true", "dtype=bfloat16"], r"either int8=true or dtype=bfloat16"),
        (["bundle={bundle}", "dtype=bfloat16"], r"labels as well in bfloat16 isn't known"),
        (["bundle={bundle}", "precision=0.95"], r"out of reach .*; the best there is 0\.9\."),
    ],
)
def test_what_cannot_be_is_told(words, message, bundle, photos, tmp_path):
    typed = [word.format(bundle=bundle) for word in words]
    with pytest.raises(SystemExit, match=message):
        run("predict", [*typed, str(photos), f"output={tmp_path / 'x.csv'}"])
    assert not (tmp_path / "x.csv").exists()


def test_a_killed_run_goes_on_with_the_same_bundle_alone(draft, photos, tmp_path):
    output = tmp_path / "labels.csv"
    words = [str(photos), f"output={output}", "batch_size=2"]
    first, other = draft.write(tmp_path / "first"), None
    run("predict", [f"bundle={first}", *words])
    whole = output.read_bytes()
    lines = whole.splitlines(keepends=True)
    draft.options["name"] = "another"
    other = draft.write(tmp_path / "other")

    def killed():
        """Leave what a killed run would: its words, and its first rows."""
        part = tmp_path / "labels.csv.part"
        part.write_bytes(b"".join(lines[:3]))
        output.unlink()
        return part

    from fashion.bundles.bundle_files import BundleFiles
    from fashion.labelling.photos import find_photos

    facts = {
        **{"bundle": BundleFiles(first).id, "int8": False, "dtype": "float32"},
        **{"precision": None, "photos": find_photos([photos]).digest()},
    }
    part = killed()
    (tmp_path / "labels.csv.part.json").write_text(json.dumps(facts))
    with pytest.raises(SystemExit, match="a run with other bundle has left"):
        run("predict", [f"bundle={other}", *words])
    run("predict", [f"bundle={first}", *words])
    assert output.read_bytes() == whole
    assert not part.exists()


def test_a_gpu_computes_the_network_where_torch_finds_one(
    draft, photos, tmp_path, monkeypatch, caplog
):
    """On the CPU in its place, from a network in timm's layout that answers otherwise."""
    import timm
    import torch
    from safetensors.torch import save

    from fashion.labelling import hub_models

    network = timm.create_model("test_resnet", num_classes=3, in_chans=3)
    config = {
        "architecture": "test_resnet",
        "model_args": {"in_chans": 3, "global_pool": "avg"},
        "pretrained_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3},
    }
    draft.files[HUB_CONFIG] = json.dumps(config).encode()
    draft.files[HUB_WEIGHTS] = save(network.state_dict())
    bundle = draft.write(tmp_path / "with")
    monkeypatch.setattr(bundle_models, "_gpu_is_likely", lambda: True)
    monkeypatch.setattr(hub_models, "gpu", lambda: torch.device("cpu"))
    output = tmp_path / "labels.csv"
    run("predict", [f"bundle={bundle}", str(photos), f"output={output}"])
    assert "is computed by PyTorch on cpu" in caplog.text
    with torch.inference_mode():
        photo = torch.full((1, 3, 8, 8), 250 / 255)
        wanted = network.eval()((photo - 0.5) / 0.5).softmax(1).max().item()
    assert float(rows_of(output)[0]["probability_1"]) == pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": "hf-hub:someone/else"},
        {"architecture": "local-dir:/tmp"},
        {"architecture": ["test_resnet"]},
        {"model_args": None},
        {"pretrained_cfg": {"mean": "x"}},
    ],
)
def test_a_stranger_s_configuration_reaches_nothing_but_timm_s_networks(change, draft, tmp_path):
    import torch
    from safetensors.torch import save

    from fashion.bundles.bundle_files import BundleFiles
    from fashion.labelling.hub_models import HubModel

    config = {"architecture": "test_resnet", "model_args": {}, "pretrained_cfg": {}, **change}
    draft.files[HUB_CONFIG] = json.dumps(config).encode()
    draft.files[HUB_WEIGHTS] = save({"x": torch.zeros(1)})
    files = BundleFiles(draft.write(tmp_path / "odd"))
    with pytest.raises(ValueError, match=r"are no network of its classes"):
        HubModel(files, torch.device("cpu"))


def test_the_engine_writes_nothing_home_and_calls_nobody(bundle, photos, tmp_path):
    """ONNX Runtime's telemetry keeps an identity and a queue in the user's cache."""
    home = tmp_path / "home"
    home.mkdir()
    words = ["predict", f"bundle={bundle}", str(photos), f"output={tmp_path / 'labels.csv'}"]
    environment = {**os.environ, "HOME": str(home)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    environment.pop("XDG_CACHE_HOME", None)
    command = [sys.executable, "-m", "fashion", *words]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert [path for path in home.rglob("*") if path.is_file()] == []
