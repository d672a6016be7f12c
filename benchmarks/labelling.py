"""Times labelling from files' bytes to CSV, beside timm's loop and a Transformers pipeline.

Every way labels the same drawn photos by the same weights, which are random, in turn, round after
round; what is compared are medians of one run. What was loaded before stays loaded: a network, and
the libraries.

    python benchmarks/labelling.py                                all six networks at 224 px
    python benchmarks/labelling.py --models resnet50 --photos 256
    python benchmarks/labelling.py --models resnet50 --bundle DIR --int8    a bundle of your own
"""

import argparse
import csv
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import transformers
from machine import machine
from PIL import Image
from random_weights import spread_out
from torch.utils.flop_counter import FlopCounterMode

from fashion.bundles.bundle_files import BundleFiles
from fashion.bundles.onnx_model import OnnxModel
from fashion.catalogue.images import decode_image
from fashion.commands.configuration import compose_words
from fashion.export.export import export
from fashion.export.odd_photos import drawn_photos
from fashion.labelling.checkpoint_models import CheckpointModel
from fashion.labelling.labeller import Labeller, Model
from fashion.labelling.labels_table import LabelsTable, csv_bytes
from fashion.labelling.photos import find_photos
from fashion.models import checkpoints
from fashion.models.network import PhotoClassifier

RESULTS = Path(__file__).with_name("labelling.json")
MODELS = (
    *("resnet50", "densenet201", "inceptionv3", "xception"),
    *("efficientnetv2m", "nasnetlarge"),
)
NUM_CLASSES = 54
WIDTH, HEIGHT = 480, 640  # of the photos, as shops have them
BATCH = 8  # of the peers: the fastest of 1, 8 and 64 for them on 2 cores

Way = Callable[[Path, Path], object]  # labels a folder's photos into a CSV


def draw_photos(folder: Path, number: int) -> None:
    """Write JPEGs of smooth colours with some grain, which take as long to decode as photos."""
    random = np.random.default_rng(0)
    for place in range(number):
        small = random.integers(0, 256, (12, 9, 3), dtype=np.uint8)
        photo = np.asarray(Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
        grain = random.integers(-6, 7, photo.shape)
        image = Image.fromarray((photo + grain).clip(0, 255).astype(np.uint8))
        image.save(folder / f"{place:05}.jpg", quality=88)


def write_checkpoint(model: str, side: int, path: Path) -> None:
    """Write a checkpoint of random weights that tells drawn photos apart."""
    cfg = compose_words(["data=sample", f"model={model}", f"model.input_size={side}"])
    settings = {
        **{"backbone": cfg.model.backbone, "input_size": side, "unfreeze": "all", "dropout": 0.0},
        "class_names": [f"class {k}" for k in range(NUM_CLASSES)],
    }
    torch.manual_seed(0)
    network = PhotoClassifier(**settings, pretrained=False, weights=None)
    way = {"input_size": side, "interpolation": "bilinear", "fit": "squash"}
    squares = np.stack([decode_image(content, **way) for content in drawn_photos(16)])
    spread_out(network, torch.from_numpy(squares).permute(0, 3, 1, 2))
    parts = {"hyper_parameters": settings, "state_dict": network.state_dict()}
    with path.open("wb") as file:
        checkpoints.write({**parts, "preprocessing": way, "run": {}}, file)


def by_project(model: Model) -> Way:
    """Label as `fashion predict` does."""
    labeller = Labeller([model])
    table = LabelsTable(labeller.class_names)

    def label(photos: Path, output: Path) -> None:
        found = find_photos([photos])
        with output.open("wb") as file:
            file.write(csv_bytes([table.columns]))
            for name, outcome in zip(found.names(), labeller.label(found, 64), strict=True):
                file.write(csv_bytes([table.row(name, outcome)]))

    return label


def by_timm(folder: Path) -> Way:
    """Label as timm's own script does: its dataset, its loader, its transform, top five."""
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    network = network.to(memory_format=torch.channels_last)
    config = timm.data.resolve_data_config({}, model=network)
    names = json.loads((folder / "config.json").read_text())["label_names"]

    def label(photos: Path, output: Path) -> None:
        dataset = timm.data.create_dataset("", root=str(photos), class_map="")
        loader = timm.data.create_loader(
            dataset, batch_size=BATCH, use_prefetcher=False, num_workers=2, **config
        )
        files = dataset.filenames(basename=True)
        with output.open("w", newline="") as file, torch.inference_mode():
            writer = csv.writer(file)
            done = 0
            for images, _ in loader:
                images = images.contiguous(memory_format=torch.channels_last)
                values, places = network(images).softmax(-1).topk(5)
                for row, likeliest in zip(values.tolist(), places.tolist(), strict=True):
                    writer.writerow([files[done], *(names[k] for k in likeliest), *row])
                    done += 1

    return label


def by_transformers(folder: Path) -> Way:
    """Label by a pipeline for image classification."""
    pipe = transformers.pipeline("image-classification", model=str(folder), device="cpu")

    def label(photos: Path, output: Path) -> None:
        files = [str(path) for path in sorted(photos.glob("**/*.jpg"))]
        with output.open("w", newline="") as file:
            writer = csv.writer(file)
            outcomes = pipe(files, batch_size=BATCH, top_k=5)
            for name, likeliest in zip(files, outcomes, strict=True):
                cells = [cell for each in likeliest for cell in (each["label"], each["score"])]
                writer.writerow([name, *cells])

    return label


def in_turn(ways: dict[str, Way], photos: Path, folder: Path, rounds: int) -> dict[str, float]:
    """Return photos a second of each way, the median of some rounds, after one that isn't timed."""
    number = len(list(photos.glob("**/*.jpg")))
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for place in range(rounds + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way(photos, folder / f"{name}.csv")
            if place:
                seconds[name].append(time.perf_counter() - started)
    return {name: number / statistics.median(times) for name, times in seconds.items()}


def engine_rate(model: Model, squares: np.ndarray, rounds: int) -> float:
    """Return the photos a second that are computed when they are decoded already."""
    model.probabilities(squares)
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        model.probabilities(squares)
        times.append(time.perf_counter() - started)
    return len(squares) / statistics.median(times)


def matrix_rate(rounds: int = 15, side: int = 2048) -> float:
    """Return the GFLOP/s of a matrix product in float32."""
    a, b = torch.rand(side, side), torch.rand(side, side)
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        torch.mm(a, b)
        times.append(time.perf_counter() - started)
    return 2 * side**3 / statistics.median(times) / 1e9


def flops(folder: Path, side: int) -> float:
    """Return the GFLOP that a photo takes."""
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros(1, 3, side, side))
    return counter.get_total_flops() / 1e9


def measure(model: str, side: int, asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Time all ways with one network."""
    photos = folder / "photos"
    checkpoint = folder / "best.ckpt"
    bundle = asked.bundle or folder / "bundle"
    if asked.bundle is None:
        write_checkpoint(model, side, checkpoint)
        export([checkpoint], bundle)
    files = BundleFiles(bundle)
    engine = OnnxModel(files)
    ways: dict[str, Way] = {"bundle": by_project(engine)}
    if asked.bundle is None:
        ways["checkpoint"] = by_project(CheckpointModel(checkpoints.read(checkpoint)))
    ways |= {"timm": by_timm(bundle), "transformers": by_transformers(bundle)}
    if asked.int8:
        ways["bundle, int8"] = by_project(OnnxModel(files, int8=True))
    squares = np.stack(
        [
            decode_image(path.read_bytes(), **files.manifest.preprocessing)
            for path in sorted(photos.glob("**/*.jpg"))[:64]
        ]
    )
    rate = matrix_rate()
    rates = in_turn(ways, photos, folder, asked.rounds)
    rate = (rate + matrix_rate()) / 2
    own = engine_rate(engine, squares, asked.rounds)
    work = flops(bundle, side)
    return {
        **{"model": model, "input_size": side, "photos": asked.photos, "rounds": asked.rounds},
        "photos_per_second": {name: round(value, 2) for name, value in rates.items()},
        "bundle_to": {
            name: round(rates["bundle"] / value, 3)
            for name, value in rates.items()
            if name != "bundle"
        },
        "engine_photos_per_second": round(own, 2),
        "bundle_to_engine": round(rates["bundle"] / own, 3),
        "matrix_gflops": round(rate, 1),
        "bundle_to_matrix_product": round(rates["bundle"] * work / rate, 3),
        "machine": machine(),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a table of Markdown."""
    lines = [
        "| network | bundle, photos/s | to checkpoint | to timm's loop | to Transformers | "
        "of the engine's rate | of the matrix product's |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        to = row["bundle_to"]
        ratios = [f"{to[name]:.2f}" for name in ("checkpoint", "timm", "transformers")]
        shares = [f"{row[key]:.0%}" for key in ("bundle_to_engine", "bundle_to_matrix_product")]
        rate = f"{row['photos_per_second']['bundle']:.1f}"
        lines.append(f"| {' | '.join([row['model'], rate, *ratios, *shares])} |")
    return "\n".join(lines) + "\n"


@contextmanager
def _folder_of_photos(number: int) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "photos" / "all").mkdir(parents=True)  # timm takes folders for classes
        draw_photos(folder / "photos" / "all", number)
        yield folder


def main() -> None:
    """Measure what is asked for, and keep each network's row as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--input-size", type=int, default=224)
    parser.add_argument("--photos", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bundle", type=Path, help="one of your own, instead of random weights")
    parser.add_argument("--int8", action="store_true", help="time its quantised network as well")
    parser.add_argument("--output", type=Path, help="a JSON file; none: print alone")
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    rows = json.loads(asked.output.read_text()) if asked.output and asked.output.exists() else []
    for model in asked.models:
        with _folder_of_photos(asked.photos) as folder:
            row = measure(model, asked.input_size, asked, folder)
        rows = [*(each for each in rows if each["model"] != model), row]
        print(json.dumps(row), flush=True)
        if asked.output:
            asked.output.write_text(json.dumps(rows, indent=1) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
