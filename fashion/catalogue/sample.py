"""Draws the built-in sample catalogue: invented products in the published catalogue's layout."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image
from tqdm import tqdm

from fashion.catalogue import silhouettes as shapes
from fashion.catalogue.silhouettes import HEIGHT, RGB, WIDTH, Colours, Pen, Pose

MARKER = "drawn-sample.json"
VERSION = 1  # raised whenever the same settings draw other photos
SEED = 1984

PHOTOS = 5_000
MIN_PHOTOS = 200  # with fewer, rounding leaves the rarest types without any
RARE_PHOTOS = 8  # of RARE_TYPE, among the photos
BROKEN_ROWS = 3  # with unquoted commas in the name; their photos exist
ROWS_WITHOUT_IMAGE = 1  # on top of the photos
GREYSCALE_FRACTION = 0.01

COLUMNS = (
    "id", "gender", "masterCategory", "subCategory", "articleType",
    "baseColour", "season", "year", "usage", "productDisplayName",
)  # fmt: skip


@dataclass(frozen=True)
class ArticleType:
    """One article type: its columns in `styles.csv`, how common it is, and how it is drawn.

    Attributes:
        published: Photos of this type in the published catalogue; the sample keeps their order.
        genders: The words of the column `gender`, the usual one first; `usages` likewise.
        draw: Draws one product with a pen.
    """

    name: str
    published: int
    master_category: str
    sub_category: str
    genders: str
    usages: str
    draw: Callable[[Pen], None]


_TYPES = """
Tshirts | 7066 | Apparel | Topwear | Men Women Boys Girls | Casual Sports | tshirt
Shirts | 3215 | Apparel | Topwear | Men Women Boys | Casual Formal | shirt
Casual Shoes | 2845 | Footwear | Shoes | Men Women Unisex | Casual | casual_shoe
Watches | 2542 | Accessories | Watches | Men Women Unisex | Casual Sports | watch
Sports Shoes | 2036 | Footwear | Shoes | Men Women Unisex | Sports Casual | sports_shoe
Kurtas | 1844 | Apparel | Topwear | Women Men Boys | Ethnic | kurta
Tops | 1762 | Apparel | Topwear | Women Girls | Casual | top
Handbags | 1759 | Accessories | Bags | Women Unisex | Casual | handbag
Heels | 1323 | Footwear | Shoes | Women | Casual Formal | heel
Sunglasses | 1073 | Accessories | Eyewear | Men Women Unisex | Casual | sunglasses
Wallets | 936 | Accessories | Wallets | Women Men Unisex | Casual Formal | wallet
Flip Flops | 914 | Footwear | Flip Flops | Men Women Unisex Boys | Casual | flip_flops
Sandals | 897 | Footwear | Sandal | Men Unisex Girls Boys | Casual | sandal
Briefs | 849 | Apparel | Innerwear | Men Women | Casual | briefs
Belts | 813 | Accessories | Belts | Men Women | Casual Formal | belt
Backpacks | 724 | Accessories | Bags | Unisex Men Women | Casual Sports Travel | backpack
Socks | 686 | Accessories | Socks | Men Women Unisex | Casual Sports | sock
Formal Shoes | 637 | Footwear | Shoes | Men | Formal | formal_shoe
Perfume and Body Mist | 613 | Personal Care | Fragrance | Men Women | Casual | perfume
Jeans | 608 | Apparel | Bottomwear | Men Women Boys Girls | Casual | jeans
Shorts | 547 | Apparel | Bottomwear | Men Women Boys Girls | Casual Sports | shorts
Trousers | 530 | Apparel | Bottomwear | Men Women | Casual Formal | trousers
Flats | 500 | Footwear | Shoes | Women | Casual Ethnic | flat
Bra | 477 | Apparel | Innerwear | Women | Casual Sports | bra
Dresses | 464 | Apparel | Dress | Women Girls | Casual Party | dress
Sarees | 427 | Apparel | Saree | Women | Ethnic | saree
Earrings | 416 | Accessories | Jewellery | Women | Casual Ethnic | earrings
Deodorant | 347 | Personal Care | Fragrance | Men Women | Casual | deodorant
Nail Polish | 329 | Personal Care | Nails | Women | Casual | nail_polish
Lipstick | 315 | Personal Care | Lips | Women | Casual | lipstick
Track Pants | 304 | Apparel | Bottomwear | Men Women | Sports Casual | track_pants
Clutches | 290 | Accessories | Bags | Women | Casual Party | clutch
Sweatshirts | 285 | Apparel | Topwear | Men Women Boys | Casual Sports | sweatshirt
Caps | 283 | Accessories | Headwear | Unisex Men Women | Casual Sports | cap
Sweaters | 277 | Apparel | Topwear | Men Women | Casual | sweater
Ties | 263 | Accessories | Ties | Men | Formal Casual | tie
Jackets | 258 | Apparel | Topwear | Men Women Boys | Casual Sports | jacket
Innerwear Vests | 242 | Apparel | Innerwear | Men Girls Boys | Casual | innerwear_vest
Kurtis | 234 | Apparel | Topwear | Women | Ethnic | kurti
Tunics | 229 | Apparel | Topwear | Women | Casual Ethnic | tunic
Nightdress | 189 | Apparel | Loungewear and Nightwear | Women | Casual | nightdress
Leggings | 177 | Apparel | Bottomwear | Women Girls | Casual Ethnic | leggings
Pendant | 176 | Accessories | Jewellery | Women Men | Casual | pendant
Capris | 175 | Apparel | Bottomwear | Women Girls Boys | Casual Sports | capris
Necklace and Chains | 160 | Accessories | Jewellery | Women | Casual Ethnic | necklace
Lip Gloss | 144 | Personal Care | Lips | Women | Casual | lip_gloss
Night suits | 141 | Apparel | Loungewear and Nightwear | Women Men | Casual | night_suit
Trunk | 140 | Apparel | Innerwear | Men | Casual | trunk
Skirts | 128 | Apparel | Bottomwear | Women Girls | Casual Formal | skirt
Scarves | 119 | Accessories | Scarves | Women Men | Casual | scarf
Ring | 118 | Accessories | Jewellery | Women Men | Casual | ring
Dupatta | 116 | Apparel | Topwear | Women | Ethnic | dupatta
Cufflinks | 106 | Accessories | Cufflinks | Men | Casual Formal | cufflinks
Kajal and Eyeliner | 102 | Personal Care | Makeup | Women | Casual | kajal
Umbrellas | 6 | Accessories | Umbrellas | Unisex | Casual | umbrella
"""


def _article_type(line: str) -> ArticleType:
    name, published, master, sub, genders, usages, draw = line.split(" | ")
    return ArticleType(name, int(published), master, sub, genders, usages, getattr(shapes, draw))


*TYPES, RARE_TYPE = [_article_type(line) for line in _TYPES.strip().splitlines()]

PALETTE: dict[str, RGB] = {
    "Black": (28, 28, 30), "White": (246, 246, 244), "Blue": (42, 92, 190),
    "Brown": (104, 66, 40), "Grey": (132, 134, 138), "Red": (200, 32, 42),
    "Green": (46, 132, 66), "Pink": (238, 128, 170), "Navy Blue": (24, 34, 84),
    "Purple": (112, 58, 150), "Silver": (190, 194, 200), "Yellow": (244, 210, 52),
    "Beige": (222, 204, 168), "Maroon": (108, 22, 38), "Gold": (204, 164, 62),
    "Orange": (240, 124, 36), "Olive": (106, 110, 52), "Cream": (248, 238, 208),
    "Charcoal": (62, 66, 72), "Peach": (250, 190, 152), "Lavender": (186, 168, 222),
    "Khaki": (172, 154, 108), "Magenta": (204, 34, 128), "Teal": (18, 122, 126),
    "Tan": (196, 142, 92), "Mustard": (214, 164, 34), "Turquoise Blue": (64, 188, 206),
    "Rust": (176, 76, 34), "Coffee Brown": (70, 44, 32), "Sea Green": (104, 196, 158),
}  # fmt: skip

_SEASONS = {"Summer": 0.46, "Fall": 0.25, "Winter": 0.19, "Spring": 0.1}
_YEARS = {2011: 0.32, 2012: 0.36, 2013: 0.03, 2015: 0.06, 2016: 0.14, 2017: 0.08, 2018: 0.01}
_BRANDS = (
    "Alderwick", "Bluefern", "Corvane", "Dunmarrow", "Eskelund", "Farrowby", "Greyling",
    "Hollowmere", "Ivarsson", "Juniper Row", "Kestrelle", "Lorimund", "Marlowe Pike", "Northgable",
)  # fmt: skip
_LOOKS = ("Classic", "Everyday", "Studio", "Weekend", "Heritage", "Signature", "Essential", "Urban")


def draw_sample(cache_dir: str | Path, photos: int = PHOTOS) -> Path:
    """Return the folder of the sample catalogue, drawn now if `cache_dir` does not hold it yet.

    The same settings give the same bytes wherever the same Pillow writes the JPEGs. Processes that
    ask at once wait for the first of them; a drawing that was cut short is begun again.

    Args:
        cache_dir: Created when missing.
        photos: Photos in all, at least `MIN_PHOTOS`; 5,000 give each of the 54 types 30 or more.

    Returns:
        A folder with `styles.csv`, `images/ID.jpg` (60x80), and `MARKER`, a JSON object with
        `count`, `seed` and `version`.

    Raises:
        ValueError: If `photos` are too few to show every type.
    """
    if photos < MIN_PHOTOS:
        raise ValueError(
            f"photos={photos} leaves article types without a photo; pass {MIN_PHOTOS} or more."
        )
    settings = json.dumps([photos, SEED, VERSION, _TYPES, PALETTE, WIDTH, HEIGHT])
    digest = hashlib.sha256(settings.encode()).hexdigest()[:8]
    folder = Path(cache_dir) / f"sample-v{VERSION}-{digest}"
    if folder.is_dir():  # needs no lock, so that a read-only folder serves
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            unfinished = folder.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            _write_catalogue(unfinished, photos)
            os.replace(unfinished, folder)
    return folder


def type_counts(photos: int = PHOTOS) -> dict[str, int]:
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


def _write_catalogue(folder: Path, photos: int) -> None:
    (folder / "images").mkdir(parents=True)
    lines = [",".join(COLUMNS)]
    rows = list(_plan_rows(photos))
    for row in tqdm(rows, desc="Drawing the sample catalogue", unit="photo"):
        photo, colour = draw_photo(row.article.draw, row.rng)
        if row.has_image:
            photo = photo.convert("L") if row.greyscale else photo
            photo.save(folder / "images" / f"{row.image_id}.jpg", quality=90)
        lines.append(_csv_line(row, colour))
    (folder / "styles.csv").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    marker = {"count": photos, "seed": SEED, "version": VERSION}
    (folder / MARKER).write_text(json.dumps(marker) + "\n", encoding="utf-8")


def _plan_rows(photos: int) -> Iterator[_Row]:
    """Yield the rows in file order; the broken ones are of the most frequent types, one of each."""
    counts = type_counts(photos)
    articles = [article for article in (*TYPES, RARE_TYPE) for _ in range(counts[article.name])]
    articles += TYPES[:ROWS_WITHOUT_IMAGE]
    rng = np.random.default_rng(SEED)
    ids = rng.choice(np.arange(1_000, 60_001), len(articles), replace=False).tolist()
    num_grey = round(GREYSCALE_FRACTION * photos)
    grey = set(rng.choice(photos - RARE_PHOTOS, num_grey, replace=False).tolist())
    broken = set(np.cumsum([0, *counts.values()])[:BROKEN_ROWS].tolist())
    for i in rng.permutation(len(articles)).tolist():
        photo_rng = np.random.default_rng(np.random.SeedSequence([SEED, i]))
        yield _Row(ids[i], articles[i], photo_rng, i in broken, i in grey, i < photos)


def _csv_line(row: _Row, colour: str) -> str:
    article, rng = row.article, row.rng
    gender = _usually_first(article.genders, rng)
    name = f"{rng.choice(_BRANDS)} {gender} {rng.choice(_LOOKS)} {colour} {article.name}"
    season = rng.choice(list(_SEASONS), p=list(_SEASONS.values()))
    year = rng.choice(list(_YEARS), p=list(_YEARS.values()))
    usage = _usually_first(article.usages, rng)
    if row.broken:
        name += ", Regular Fit, Pack of 2"
    categories = f"{article.master_category},{article.sub_category},{article.name}"
    return f"{row.image_id},{gender},{categories},{colour},{season},{year},{usage},{name}"


def _usually_first(words: str, rng: np.random.Generator) -> str:
    """Pick one of the words: the first two times in three, the others alike."""
    first, *others = words.split()
    return first if not others or rng.random() < 2 / 3 else str(rng.choice(others))
