"""The first label loads what it needs, and of the rest nothing."""

import csv
import json
import subprocess
import sys

import pytest
from PIL import Image

from fashion.models import checkpoints
from fashion.models.network import PhotoClassifier

HEAVY = (
    *("lightning", "torch_xla", "faiss", "captum", "cleanlab", "statsmodels"),
    *("matplotlib", "scipy", "pandas", "hydra"),
)
PROGRAM = """
import json, sys
sys.argv = ["fashion", *sys.argv[1:]]
from fashion.commands.main import main
main()
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@pytest.fixture
def files(tmp_path):
    """A checkpoint of random weights and a photo."""
    settings = {"backbone": "test_resnet", "input_size": 32, "unfreeze": [], "dropout": 0.0}
    settings["class_names"] = ["Flats", "Heels", "Shirts"]
    network = PhotoClassifier(**settings, pretrained=False, weights=None)
    checkpoint = {
        "hyper_parameters": settings,
        "state_dict": network.state_dict(),
        "preprocessing": {"input_size": 32, "interpolation": "bilinear", "fit": "squash"},
        "run": {},
    }
    with (tmp_path / "best.ckpt").open("wb") as file:
        checkpoints.write(checkpoint, file)
    Image.new("RGB", (40, 60), (200, 30, 30)).save(tmp_path / "photo.jpg")
    return tmp_path


def loaded(program, *arguments):
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_a_photo_is_labelled_without_what_only_training_and_reports_need(files):
    output = files / "labels.csv"
    words = [f"ckpt_path={files / 'best.ckpt'}", files / "photo.jpg", f"output={output}"]
    modules = loaded(PROGRAM, "predict", *words)
    assert {"torch", "timm", "PIL"} <= modules
    assert not modules & set(HEAVY)
    [row] = csv.DictReader(output.read_text().splitlines())
    assert {row[f"label_{place}"] for place in (1, 2, 3)} == {"Flats", "Heels", "Shirts"}
