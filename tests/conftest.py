import csv
import html
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import accuracy_score, average_precision_score, f1_score

import train
from fashion.catalogue.sample import draw_sample
from fashion.commands.configuration import compose_words
from fashion.data.settings import DataSettings
from fashion.metrics.predictions import Predictions

pytest_plugins = ["forked_commands", "written_bundles"]
REPO = Path(train.__file__).parent

COLUMNS = [
    "id", "gender", "masterCategory", "subCategory", "articleType",
    "baseColour", "season", "year", "usage", "productDisplayName",
]  # fmt: skip
COLOURS = {"Shirts": (200, 40, 40), "Jeans": (40, 60, 200), "Watches": (230, 210, 60)}


def pytest_configure():
    """Compute with one thread, in processes that tests start, too.

    Networks and photos are too small here for several, which on a busy machine wait for each other
    a hundred times longer than they compute.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_draws():
    """Each test draws the same numbers, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def write_catalogue():
    """Returns write(folder, rows, ...), which writes a catalogue in the published layout.

    `rows` are dicts; columns they lack are filled in. Each row gets a photo in the colour of its
    label but those whose id is in `without_image`; `greyscale` ids get a photo of mode L. `text`
    is appended to styles.csv as it is.
    """

    def write(folder, rows, *, without_image=(), greyscale=(), text="", size=(60, 80)):
        images = folder / "images"
        images.mkdir(parents=True)
        lines = io.StringIO()
        writer = csv.DictWriter(lines, COLUMNS, restval="NA", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        (folder / "styles.csv").write_text(lines.getvalue() + text, encoding="utf-8")
        for row in rows:
            if row["id"] not in without_image:
                photo = draw(row["id"], row.get("articleType"), size)
                photo = photo.convert("L") if row["id"] in greyscale else photo
                photo.save(images / f"{row['id']}.jpg", quality=90)
        return folder

    return write


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory, write_catalogue):
    """A catalogue of 40 Shirts, 40 Jeans and 40 Watches with the real file's faults.

    Ids 1000 to 1119 are whole; 1000 is greyscale. 2000 has no image, 2001 and 2002 are of a rare
    class, and 2003 has stray commas in its name.
    """
    rows = [
        {"id": str(1000 + i), "articleType": label, "productDisplayName": f"{label} {i}"}
        for i, label in enumerate(list(COLOURS) * 40)
    ]
    faulty = [{"id": "2000", "articleType": "Jeans"}]
    faulty += [{"id": id_, "articleType": "Umbrellas"} for id_ in ("2001", "2002")]
    folder = write_catalogue(
        tmp_path_factory.mktemp("tiny"),
        rows + faulty,
        without_image={"2000"},
        greyscale={"1000"},
        text="2003,Men,Apparel,Topwear,Shirts,Red,Fall,2011,Casual,Red shirt, checked, slim\n",
    )
    draw("2003", "Shirts", (60, 80)).save(folder / "images" / "2003.jpg")
    return folder


@pytest.fixture(scope="session")
def sample_cache(tmp_path_factory):
    """A cache that holds the drawn sample, which takes a while to draw."""
    cache_dir = tmp_path_factory.mktemp("sample")
    draw_sample(cache_dir)
    return cache_dir


@pytest.fixture(scope="session")
def data_settings():
    """Returns settings(root, **changes): DataSettings for a catalogue like `tiny_root`."""

    def settings(root, **changes):
        given = {"root": None if root is None else str(root), "min_images": 20, "num_workers": 0}
        return DataSettings.from_config({**given, **changes})

    return settings


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel of this checkout."""
    pytest.importorskip("hatchling", reason="building a wheel offline needs hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*build, str(REPO)], check=True)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def run_dir(tiny_root, tmp_path_factory):
    """A finished run on `tiny_root`, two epochs of a small network."""
    folder = tmp_path_factory.mktemp("run")
    settings = [
        f"data.root={tiny_root}",
        f"data.cache_dir={tmp_path_factory.mktemp('cache')}",
        f"output_dir={folder}",
        "model_name=timm",
        "model=timm",
        "model.backbone=test_resnet",
        "model.pretrained=false",
        "model.input_size=48",
        "model.unfreeze=all",
        "model.optimizer.lr=1e-3",
        "data.min_images=20",
        "data.batch_size=16",
        "data.num_workers=0",
        "trainer.accelerator=cpu",
        "trainer.max_epochs=2",
        "trainer.log_every_n_steps=1",
        "trainer.enable_progress_bar=false",
    ]
    train.main(compose_words(settings))
    return folder


@pytest.fixture(scope="session")
def browse():
    """Returns browse(page, width), which opens a page in Chromium.

    A function in JavaScript may be passed, too, whose answer is then there as `answer`. Else it
    returns how many pictures are there and how many of them are broken, how many pixels the page
    is wider than the window, how many headings of tables don't stand in their row, and what the
    console says.
    """
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    if chromium is None:
        pytest.skip("there is no Chromium to open pages in")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    probe = """<script>addEventListener("load", () => {
        const pictures = [...document.images];
        document.title = JSON.stringify({
            pictures: pictures.length,
            broken: pictures.filter((picture) => !picture.naturalWidth).length,
            too_wide: Math.max(0, document.documentElement.scrollWidth - innerWidth),
            stacked: [...document.querySelectorAll("th")].filter(
                (cell) => getComputedStyle(cell).display !== "table-cell").length,
            answer: (ASKED)(),
        });
    });</script></body>"""

    def open_page(page, width, asked=None):
        copy = page.with_name("probe.html")
        script = probe.replace("ASKED", asked or "() => null")
        copy.write_text(page.read_text(encoding="utf-8").replace("</body>", script), "utf-8")
        size = f"--window-size={width},1200"
        command = [chromium, *flags, size, "--dump-dom", copy.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        copy.unlink()
        found = json.loads(html.unescape(re.search(r"<title>(.*?)</title>", done.stdout)[1]))
        answer = found.pop("answer")
        if asked:
            return answer
        console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        return {**found, "console": console}

    return open_page


@pytest.fixture
def check_figure():
    """Returns check(figure, most): it has something on it, whole, in at most so many pixels."""

    def check(figure, most):
        png = io.BytesIO()
        figure.savefig(png, format="png")
        picture = Image.open(png).convert("L")
        assert 400 < picture.width < most
        assert 200 < picture.height < most
        assert picture.getextrema()[0] < 100
        assert 0.002 < (np.asarray(picture) < 250).mean() < 0.9
        drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        assert min(drawn.x0, drawn.y0) > -0.02
        assert drawn.x1 < width + 0.02
        assert drawn.y1 < height + 0.02

    return check


@pytest.fixture(scope="session")
def from_counts():
    """Returns make(counts, class_names), predictions with this confusion matrix, true ones down."""

    def make(counts, class_names):
        targets, predicted = (
            np.repeat(axis.ravel(), np.ravel(counts)) for axis in np.indices(np.shape(counts))
        )
        probabilities = np.full((len(targets), len(class_names)), 0.1, np.float32)
        probabilities[np.arange(len(targets)), predicted] = 0.9
        ids = np.array([str(1163 + i) for i in range(len(targets))])
        return Predictions(ids, probabilities, targets, tuple(class_names))

    return make


@pytest.fixture(scope="session")
def scikit_learn_metrics():
    """Returns score(probabilities, targets), the headline metrics of `(N, K)` and `(N,)` arrays."""

    def score(probabilities, targets):
        predicted, classes = probabilities.argmax(axis=1), range(probabilities.shape[1])
        return {
            "accuracy": accuracy_score(targets, predicted),
            "macro_f1": f1_score(
                targets, predicted, labels=classes, average="macro", zero_division=0
            ),
            "macro_auprc": np.mean(
                [
                    average_precision_score(targets == k, probabilities[:, k])
                    for k in set(targets.tolist())
                ]
            ),
        }

    return score


@pytest.fixture(scope="session")
def real_root():
    """The published catalogue, a folder or a zip."""
    return path_from_environment("FASHION_DATA", "the Fashion Product Images catalogue")


@pytest.fixture(scope="session")
def real_weights():
    """A folder with resnet50.safetensors and legacy_xception.safetensors."""
    return path_from_environment("FASHION_WEIGHTS", "a folder of pretrained weights")


def draw(id_, label, size):
    """Draw a product in the colour of its label on white, with a faint print of its own.

    Without the print most of them would be twins, and finding those takes longer than all else.
    """
    rng = np.random.default_rng(list(id_.encode()))
    width, height = size
    pixels = np.full((height, width, 3), 255, np.uint8)
    top, left = rng.integers(1, height // 4), rng.integers(1, width // 4)
    colour = COLOURS.get(label, (90, 160, 90)) + rng.integers(-20, 21, 3)
    print_ = Image.fromarray(rng.integers(0, 41, (8, 6), np.uint8))
    shape = (width - 2 * left, height - 2 * top)
    shade = np.asarray(print_.resize(shape, Image.Resampling.NEAREST)).astype(int) - 20
    pixels[top : height - top, left : width - left] = (colour + shade[:, :, None]).clip(0, 255)
    return Image.fromarray(pixels)


def path_from_environment(variable, what):
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set; it names {what}")
    if not Path(value).exists():
        pytest.skip(f"{variable}={value} does not exist; it names {what}")
    return Path(value)
