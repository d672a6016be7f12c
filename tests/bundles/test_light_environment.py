"""An environment of its own that the wheel makes, and a bundle that labels in it."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

REPO = Path(__file__).parents[2]
PIP = ["-m", "pip", "--quiet", "--disable-pip-version-check"]
MOST_BYTES = 250 * 2**20
ALONE = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.fixture
def light(wheel, tmp_path):
    """Returns light(*words), which runs the Python of an environment that the wheel made."""
    probe = [*PIP, "download", "--no-deps", "--dest", str(tmp_path / "probe"), "filelock"]
    if subprocess.run([sys.executable, *probe], capture_output=True).returncode:
        pytest.skip("pip reaches no index to install from")
    environment = tmp_path / "light"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)

    def run(*words):
        python = environment / "bin" / "python"
        return subprocess.run(
            [python, *words], cwd=tmp_path, env=ALONE, capture_output=True, text=True
        )

    constraints = str(REPO / "constraints.txt")
    done = run(*PIP, "install", "--constraint", constraints, str(wheel))
    assert done.returncode == 0, done.stderr
    return run


@pytest.mark.long
def test_the_wheel_alone_makes_a_light_environment_that_labels(light, bundle, tmp_path):
    Image.new("RGB", (30, 40), (250, 250, 250)).save(tmp_path / "photo.jpg")
    done = light("-m", "fashion", "predict", f"bundle={bundle}", "photo.jpg", "output=labels.csv")
    assert "1 photo labelled" in done.stdout, done.stderr
    (row,) = csv.DictReader((tmp_path / "labels.csv").read_text(encoding="utf-8").splitlines())
    assert row["label_1"] == "Bright"
    done = light("-m", "fashion", "verify", f"bundle={bundle}")
    assert done.stdout.endswith("It labels here.\n"), done.stderr
    assert "usage: fashion WORD" in light("-m", "fashion", "--help").stdout
    said = light("-m", "fashion", "train", "data=sample").stderr
    assert said.startswith("fashion train needs ")
    assert said.endswith("FILE.whl[train]'.\n")

    listed = light("-m", "pip", "list", "--format=freeze").stdout.lower().split()
    names = {line.partition("==")[0] for line in listed}
    assert {"fashion", "onnxruntime", "numpy"} <= names
    assert not names & {"torch", "pandas", "scipy", "timm", "lightning", "sympy", "transformers"}
    used = sum(path.lstat().st_blocks * 512 for path in (tmp_path / "light").rglob("*"))
    assert used <= MOST_BYTES
