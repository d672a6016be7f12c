"""Draws the photos of the sample catalogue and writes its table."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from fashion.catalogue import silhouettes
from fashion.catalogue.sample_products import (
    BRANDS,
    COLUMNS,
    HEIGHT,
    LOOKS,
    PALETTE,
    RARE_TYPE,
    SEASONS,
    TYPES,
    WIDTH,
    YEARS,
    ArticleType,
)
from fashion.catalogue.silhouettes import RGB, Colours, Pen, Pose

RARE_PHOTOS = 8  # of RARE_TYPE, among the photos
BROKEN_ROWS = 3  # with unquoted commas in the name; their photos exist
ROWS_WITHOUT_IMAGE = 1  # on top of the photos
GREYSCALE_FRACTION = 0.01


def write_catalogue(folder: Path, photos: int, seed: int) -> None:
    """Draw a catalogue into a new folder.

    Args:
        folder: Doesn't exist yet.
        photos: Photos in all.
        seed: Decides every row and every photo.
    """
    (folder / "images").mkdir(parents=True)
    lines = [",".join(COLUMNS)]
    rows = list(_plan_rows(photos, seed))
    for row in tqdm(rows, desc="Drawing the sample catalogue", unit="photo"):
        photo, colour = draw_photo(getattr(silhouettes, row.article.shape), row.rng)
        if row.has_image:
            photo = photo.convert("L") if row.greyscale else photo
            photo.save(folder / "images" / f"{row.image_id}.jpg", quality=90)
        lines.append(_csv_line(row, colour))
    (folder / "styles.csv").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def type_counts(photos: int) -> dict[str, int]:
    """Return how many photos each article type gets, in the order of `TYPES`, in all `photos`.

    The published counts are drawn together (to the power 0.6), so that a small catalogue still
    holds enough of its rarest types.
    """
    shares = np.cumsum([article.published**0.6 for article in TYPES])
    ends = np.rint(shares / shares[-1] * (photos - RARE_PHOTOS)).astype(int)
    counts = np.diff(ends, prepend=0).tolist()
    names = [article.name for article in TYPES]
    return dict(zip(names, counts, strict=True)) | {RARE_TYPE.name: RARE_PHOTOS}


def draw_photo(draw: Callable[[Pen], None], rng: np.random.Generator) -> tuple[Image.Image, str]:
    """Draw one product in a random colour, pose and light; return the photo and the colour's name.

    What `rng` decides is distributed alike for every shape, so that only the shape tells a type.
    """
    colour, colours = _choose_colours(rng)
    pose = Pose(
        angle=rng.uniform(-12, 12),
        scale=rng.uniform(0.74, 0.96),
        shift=(rng.uniform(-2, 2), rng.uniform(-2, 2)),
        flipped=bool(rng.integers(2)),
    )
    pen = Pen(colours, pose, rng)
    draw(pen)
    return _add_light(pen.photo(), rng), colour


def _choose_colours(rng: np.random.Generator) -> tuple[str, Colours]:
    names = list(PALETTE)
    name = names[rng.integers(len(names))]
    main = _shade(PALETTE[name], rng)
    others = [rgb for rgb in PALETTE.values() if _distance(rgb, main) > 110]
    accent = _shade(others[rng.integers(len(others))], rng)
    paper = int(rng.integers(226, 256))
    dark = sum(main) < 210
    edge = [round(0.5 * c + (95 if dark else 0)) for c in main]
    return name, Colours(main, accent, (edge[0], edge[1], edge[2]), (paper, paper, paper))


def _shade(rgb: RGB, rng: np.random.Generator) -> RGB:
    red, green, blue = np.clip(rgb + rng.normal(0, 7, 3), 0, 255).astype(int).tolist()
    return red, green, blue


def _distance(one: RGB, other: RGB) -> float:
    return float(np.linalg.norm(np.subtract(one, other)))


def _add_light(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Add a slope of light across the photo and a camera's noise."""
    across, down = rng.uniform(-12, 12, 2)
    light = across * np.linspace(-1, 1, WIDTH) + down * np.linspace(-1, 1, HEIGHT)[:, None]
    noise = rng.normal(0, rng.uniform(1, 6), (HEIGHT, WIDTH, 3))
    pixels = np.asarray(photo) + light[..., None] + noise
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


@dataclass(frozen=True)
class _Row:
    image_id: int
    article: ArticleType
    rng: np.random.Generator
    broken: bool
    greyscale: bool
    has_image: bool


def _plan_rows(photos: int, seed: int) -> Iterator[_Row]:
    """Yield the rows in file order; the broken ones are of the most frequent types, one of each."""
    counts = type_counts(photos)
    articles = [article for article in (*TYPES, RARE_TYPE) for _ in range(counts[article.name])]
    articles += TYPES[:ROWS_WITHOUT_IMAGE]
    rng = np.random.default_rng(seed)
    ids = rng.choice(np.arange(1_000, 60_001), len(articles), replace=False).tolist()
    num_grey = round(GREYSCALE_FRACTION * photos)
    grey = set(rng.choice(photos - RARE_PHOTOS, num_grey, replace=False).tolist())
    broken = set(np.cumsum([0, *counts.values()])[:BROKEN_ROWS].tolist())
    for i in rng.permutation(len(articles)).tolist():
        photo_rng = np.random.default_rng(np.random.SeedSequence([seed, i]))
        yield _Row(ids[i], articles[i], photo_rng, i in broken, i in grey, i < photos)


def _csv_line(row: _Row, colour: str) -> str:
    article, rng = row.article, row.rng
    gender = _usually_first(article.genders, rng)
    name = f"{rng.choice(BRANDS)} {gender} {rng.choice(LOOKS)} {colour} {article.name}"
    season = rng.choice(list(SEASONS), p=list(SEASONS.values()))
    year = rng.choice(list(YEARS), p=list(YEARS.values()))
    usage = _usually_first(article.usages, rng)
    if row.broken:
        name += ", Regular Fit, Pack of 2"
    categories = f"{article.master_category},{article.sub_category},{article.name}"
    return f"{row.image_id},{gender},{categories},{colour},{season},{year},{usage},{name}"


def _usually_first(words: str, rng: np.random.Generator) -> str:
    """Pick one of the words: the first two times in three, the others alike."""
    first, *others = words.split()
    return first if not others or rng.random() < 2 / 3 else str(rng.choice(others))
