"""`fashion predict` of a zip of small photos, with a network that costs next to nothing."""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

SIDE, DIFFERENT = 32, 1000  # pixels; photos, each of which is there many times


def prepare_predict(folder: Path, photos: int, classes: int) -> None:
    """Write a zip of so many photos, and the checkpoint of a small network of random weights."""
    from fashion.models import checkpoints
    from fashion.models.network import PhotoClassifier

    contents = [_jpeg(number) for number in range(DIFFERENT)]
    with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
        for number in range(photos):
            content = contents[number % DIFFERENT]
            archive.writestr(f"images/{number // 1000:04}/{number:07}.jpg", content)
    settings = {"backbone": "test_resnet", "input_size": SIDE, "unfreeze": [], "dropout": 0.0}
    settings["class_names"] = [f"class {number:05}" for number in range(classes)]
    network = PhotoClassifier(**settings, pretrained=False, weights=None)
    checkpoint = {
        "hyper_parameters": settings,
        "state_dict": network.state_dict(),
        "preprocessing": {"input_size": SIDE, "interpolation": "bilinear", "fit": "squash"},
        "run": {},
    }
    with (folder / "best.ckpt").open("wb") as file:
        checkpoints.write(checkpoint, file)


def run_predict(folder: Path, photos: int, classes: int) -> None:
    """Label them as the command does."""
    from fashion.commands.main import run

    output = folder / "labels.csv"
    run("predict", [f"ckpt_path={folder}/best.ckpt", f"{folder}/photos.zip", f"output={output}"])
    with output.open(encoding="utf-8") as file:
        assert sum(1 for _ in file) == photos + 1
    output.unlink()


def _jpeg(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (4, 3, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).resize((60, 80)).save(content, "JPEG", quality=80)
    return content.getvalue()
