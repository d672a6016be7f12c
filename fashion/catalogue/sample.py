"""The built-in sample catalogue: invented products in the published catalogue's layout.

What draws it is imported only where it isn't drawn yet.
"""

import hashlib
import json
import os
from pathlib import Path

from fashion.catalogue.sample_products import HEIGHT, PALETTE, TYPES_TEXT, WIDTH

MARKER = "drawn-sample.json"
VERSION = 1  # raised whenever the same settings draw other photos
SEED = 1984
PHOTOS = 5_000
MIN_PHOTOS = 200  # with fewer, rounding leaves the rarest types without any


def draw_sample(cache_dir: str | Path, photos: int = PHOTOS) -> Path:
    """Return the folder of the sample catalogue, drawn now if `cache_dir` does not hold it yet.

    The same settings give the same bytes wherever the same Pillow writes the JPEGs. Processes that
    ask at once wait for the first of them; a drawing that was cut short, or lost a part, is begun
    again.

    Args:
        cache_dir: Created when missing.
        photos: Photos in all, at least `MIN_PHOTOS`; 5,000 give each of the 54 types 30 or more.

    Returns:
        A folder with `styles.csv`, `images/ID.jpg` (60x80), and `MARKER`, a JSON object with
        `count`, `seed` and `version`.

    Raises:
        ValueError: If `photos` are too few to show every type.
        OSError: The folder can't be written.
    """
    if photos < MIN_PHOTOS:
        raise ValueError(
            f"photos={photos} leaves article types without a photo; pass {MIN_PHOTOS} or more."
        )
    settings = json.dumps([photos, SEED, VERSION, TYPES_TEXT, PALETTE, WIDTH, HEIGHT])
    digest = hashlib.sha256(settings.encode()).hexdigest()[:8]
    folder = Path(cache_dir) / f"sample-v{VERSION}-{digest}"
    if not _is_whole(folder, photos):  # else it needs no lock, so that a read-only folder serves
        _draw_once(folder, photos)
    return folder


def _is_whole(folder: Path, photos: int) -> bool:
    """Return whether nothing is missing, as a cleaner of old files may have taken a part."""
    if not ((folder / MARKER).is_file() and (folder / "styles.csv").is_file()):
        return False
    images = folder / "images"
    return images.is_dir() and len(os.listdir(images)) == photos


def _draw_once(folder: Path, photos: int) -> None:
    from fashion.cache_folder import make_folder, remove, writing
    from fashion.catalogue.sample_drawing import write_catalogue
    from fashion.locks import alone

    damage = f"The sample in {folder} lacks a part." if folder.exists() else ""
    make_folder(folder.parent, reason=damage)
    with alone(folder, "the sample"), writing(folder.parent):
        if _is_whole(folder, photos):  # drawn by the process that was waited for
            return
        unfinished = folder.with_suffix(".unfinished")
        remove(unfinished)
        remove(folder)
        write_catalogue(unfinished, photos, SEED)
        marker = {"count": photos, "seed": SEED, "version": VERSION}
        (unfinished / MARKER).write_text(json.dumps(marker) + "\n", encoding="utf-8")
        os.replace(unfinished, folder)
