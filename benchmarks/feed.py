"""Times one loader worker on the packed store beside the same worker on the original files.

Both deliver the same shuffled uint8 batches `(B, S, S, 3)` before augmentation; that they do is
checked on every photo before the clock starts.
"""

import argparse
import csv
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from machine import drop_page_cache, machine
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from fashion.catalogue.images import FITS, decode_image
from fashion.catalogue.root import CatalogueRoot, open_root
from fashion.catalogue.sample import draw_sample
from fashion.catalogue.table import load_catalogue
from fashion.data.batches import Batch, BatchLoader, BatchSampler, ProductDataset
from fashion.data.photo_store import PHOTO, PhotoStore, open_store, store_bytes
from fashion.data.settings import default_cache_dir

BIG = (1800, 2400)


class OriginalPhotos(Dataset[torch.Tensor]):
    """The original files, decoded and fitted a batch at a time; an index is `(epoch, rows)`."""

    def __init__(self, paths: list[str], input_size: int, fit: str, interpolation: str) -> None:
        self.paths = paths
        self.settings = (input_size, fit, interpolation)

    def __len__(self) -> int:
        """Return N."""
        return len(self.paths)

    def __getitem__(self, item: tuple[int, np.ndarray]) -> torch.Tensor:
        """Return `(B, S, S, 3)` uint8."""
        photos = [
            decode_image(Path(self.paths[row]).read_bytes(), *self.settings) for row in item[1]
        ]
        return torch.from_numpy(np.stack(photos))


class Feed:
    """A catalogue's photos, packed and as files, and the loaders that deliver them."""

    def __init__(self, root: CatalogueRoot, options: argparse.Namespace, folder: Path) -> None:
        settings = (options.input_size, options.fit, options.interpolation)
        table = load_catalogue(root, min_images=1).table[: options.photos]
        self.store: PhotoStore = open_store(root, table, *settings, folder)
        readable = ~table["id"].isin(self.store.unreadable).to_numpy()
        self.slots = np.flatnonzero(readable)
        self.original = OriginalPhotos(_files(root, table["photo"][readable], folder), *settings)
        self.batch_size = options.batch_size
        self.original_bytes = sum(os.path.getsize(path) for path in self.original.paths)

    def packed_loader(self) -> BatchLoader:
        """Return the loader a training run has, less augmentation."""
        targets = np.zeros(len(self.slots), np.int64)
        dataset = ProductDataset(self.store, self.slots, targets, augment=False, rotation=0, seed=0)
        return BatchLoader(dataset, **self._one_worker())

    def original_loader(self) -> DataLoader[torch.Tensor]:
        """Return the same batches from the files."""
        return DataLoader(self.original, **self._one_worker())

    def _one_worker(self) -> dict[str, object]:
        sampler = BatchSampler(len(self.slots), self.batch_size, shuffle_seed=0)
        return {
            "batch_size": None, "sampler": sampler, "num_workers": 1, "persistent_workers": True,
        }  # fmt: skip


def _files(root: CatalogueRoot, photos: Iterator[str], folder: Path) -> list[str]:
    """Return the photos' paths; those of a zip are unpacked first."""
    if root.path.is_dir():
        return list(photos)
    (folder / "files").mkdir()
    paths = []
    for photo in photos:
        path = folder / "files" / Path(photo).name
        path.write_bytes(root.read(photo))
        paths.append(str(path))
    return paths


def packed_photos(batch: Batch) -> torch.Tensor:
    """Return a batch of the store as `(B, S, S, 3)`, contiguous as it is."""
    photos = batch.inputs.permute(0, 2, 3, 1)
    assert photos.is_contiguous()
    return photos


def check_identical(packed: BatchLoader, original: DataLoader[torch.Tensor]) -> int:
    """Return the number of photos compared.

    Raises:
        SystemExit: A photo of the store differs from its file.
    """
    compared = 0
    for batch, photos in zip(packed, original, strict=True):
        if not torch.equal(packed_photos(batch), photos):
            sys.exit("The store's pixels differ from the files'.")
        compared += len(photos)
    return compared


def photos_per_second(loader: DataLoader[Batch] | DataLoader[torch.Tensor]) -> float:
    """Time one epoch from the arrival of its first batch."""
    batches = iter(loader)
    next(batches)
    start, count = time.perf_counter(), 0
    for batch in batches:
        count += len(batch.rows) if isinstance(batch, Batch) else len(batch)
    return count / (time.perf_counter() - start)


def measure(feed: Feed, repetitions: int) -> dict[str, object]:
    """Time cold store, warm store and files in turn; all figures are medians."""
    still_cached, cold, warm, original = [], [], [], []
    for _ in range(repetitions):
        # Before any other worker has the store mapped: mapped pages can't be dropped.
        files = feed.store.shards.folder.glob(f"*/{PHOTO}.bin")
        still_cached.append(max(map(drop_page_cache, files)))
        cold.append(photos_per_second(feed.packed_loader()))
    packed, files = feed.packed_loader(), feed.original_loader()
    compared = check_identical(packed, files)
    for _ in range(repetitions):
        warm.append(photos_per_second(packed))
        original.append(photos_per_second(files))
    rates = {"store_cold": cold, "store_warm": warm, "original_files": original}
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "photos": len(feed.slots),
        "identical_photos": compared,
        "photos_per_second": {name: round(value, 1) for name, value in medians.items()},
        "ratio_cold": round(medians["store_cold"] / medians["original_files"], 2),
        "ratio_warm": round(medians["store_warm"] / medians["original_files"], 2),
        "all_photos_per_second": {k: [round(v, 1) for v in vs] for k, vs in rates.items()},
        "store_fraction_cached_when_cold": max(still_cached),
        "store_megabytes": round(store_bytes(len(feed.store), feed.store.input_size) / 1e6, 1),
        "original_megabytes": round(feed.original_bytes / 1e6, 1),
    }


def make_big_catalogue(folder: Path, num_photos: int) -> Path:
    """Write photos of 1800 x 2400, smooth with a fine texture, as a catalogue."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    with open(folder / "styles.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "articleType"])
        for i in range(num_photos):
            coarse = Image.fromarray(rng.integers(0, 256, (12, 9, 3), dtype=np.uint8))
            texture = rng.integers(-6, 7, (BIG[1], BIG[0], 1), dtype=np.int16)
            pixels = np.asarray(coarse.resize(BIG, Image.Resampling.BICUBIC)) + texture
            photo = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            photo.save(folder / "images" / f"{i}.jpg", quality=85)
            writer.writerow([i, ("Shirts", "Jeans")[i % 2]])
    return folder


def describe(figures: dict[str, object]) -> str:
    """Return the figures as lines for the screen."""
    rates = figures["photos_per_second"]
    assert isinstance(rates, dict)
    cached = figures["store_fraction_cached_when_cold"]
    lines = [
        "{cpu}, {cores} cores, load {load_average:.1f}".format(**figures),
        " ".join(figures["cpu_flags"]),
        "{photos} photos at {input_size} px, fit {fit}, {interpolation}, batches of {batch_size}, "
        "one worker".format(**figures),
        "store {store_megabytes} MB, original files {original_megabytes} MB; "
        "{identical_photos} photos compared, all identical".format(**figures),
        f"{'packed store, cold':28}{rates['store_cold']:>12,.0f} photos/s"
        f"   {figures['ratio_cold']:>7.2f} : 1   ({cached:.0%} still in the page cache)",
        f"{'packed store, warm':28}{rates['store_warm']:>12,.0f} photos/s"
        f"   {figures['ratio_warm']:>7.2f} : 1",
        f"{'original files, warm':28}{rates['original_files']:>12,.0f} photos/s",
    ]
    return "\n".join(lines) + "\n"


def parse() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--root",
        default=os.environ.get("FASHION_DATA"),
        help="folder or zip of a catalogue; default: $FASHION_DATA, else the drawn sample",
    )
    parser.add_argument("--big", type=int, metavar="N", help="make N photos of 1800 x 2400 instead")
    parser.add_argument("--photos", type=int, default=8192, help="at most; default: %(default)s")
    parser.add_argument("--input-size", type=int, default=224, help="default: %(default)s")
    parser.add_argument("--fit", choices=FITS, default="squash", help="default: %(default)s")
    parser.add_argument("--interpolation", default="bilinear", help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--repetitions", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    options = parser.parse_args()
    if min(options.photos, options.big or options.photos) < 2 * options.batch_size:
        parser.error("two batches at least are needed; pass more photos or a smaller --batch-size")
    return options


def main() -> None:
    """Measure, print and, with `--json`, write the figures."""
    options = parse()
    cache_dir = default_cache_dir()
    cache_dir.mkdir(parents=True, exist_ok=True)
    # Beside the real stores, since /tmp may lie in memory, where nothing is ever cold.
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=cache_dir) as temporary:
        folder = Path(temporary)
        if options.big:
            root = open_root(make_big_catalogue(folder / "big", options.big))
        else:
            root = open_root(options.root or draw_sample(cache_dir))
        figures = measure(Feed(root, options, folder), options.repetitions)
    settings = vars(options) | {"root": str(root.path), "json": None}
    figures = machine() | settings | figures
    sys.stdout.write(describe(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
