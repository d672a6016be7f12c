"""From settings to photos with splits, in the one order in which each step knows enough.

1. `load` reads the table and decodes no photo, so that a mistake shows within seconds.
2. `pack` decodes each photo once; its `PhotoStore` knows which can't be read. Who packs nothing, as
   `explore`, finds these by itself.
3. `split` drops those, finds twins among the others, and shares them out: a `SplitCatalogue`.
4. `FashionDataModule.fill_features` computes what training needs of the photos of these splits, if
   it is to keep that: a `FeatureStore`.

Each step takes what the one before returned.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fashion.catalogue.review import read_review
from fashion.catalogue.root import CatalogueRoot, open_root
from fashion.catalogue.sample import MARKER, draw_sample
from fashion.catalogue.split_catalogue import SplitCatalogue, split_catalogue
from fashion.catalogue.table import Catalogue, drop_unreadable, load_catalogue
from fashion.data.photo_store import PhotoStore, open_store
from fashion.data.settings import DataSettings
from fashion.twins.groups import find_twins

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedCatalogue:
    """A catalogue whose table has been read and checked.

    Attributes:
        settings: What it was read by.
        root: Reads its photos.
        catalogue: Accounts for every row; whether a photo can be decoded isn't known yet.
    """

    settings: DataSettings
    root: CatalogueRoot
    catalogue: Catalogue

    @property
    def class_names(self) -> list[str]:
        """The K labels; photos that can't be decoded may make one too rare yet."""
        return self.catalogue.class_names

    def provisional_splits(self) -> SplitCatalogue:
        """Share the photos out at random, as if all could be decoded and none had a twin.

        The sizes are those of the splits to come, as far as they can be known.

        Raises:
            ValueError: A class can't be in every split.
        """
        seed = self.settings.split_seed
        return split_catalogue(self.catalogue, None, kind="random", seed=seed)


def catalogue_facts(loaded: LoadedCatalogue, splits: SplitCatalogue) -> dict[str, Any]:
    """Return what a summary says of a catalogue: counts, settings, the hash of the splits."""
    settings = loaded.settings
    return {
        "root": str(loaded.root.path),
        "drawn_sample": Path(loaded.root.path, MARKER).exists(),
        **splits.facts(),
        "label_column": settings.label_column,
        "min_images": settings.min_images,
        "split": settings.split,
        "split_seed": settings.split_seed,
        **({"folds": settings.folds, "fold": settings.fold} if settings.folds else {}),
        "splits_sha256": splits.sha256(),
    }


def load(settings: DataSettings) -> LoadedCatalogue:
    """Read a catalogue's table; the sample is drawn where there is none yet.

    Raises:
        FileNotFoundError: No catalogue lies at `data.root`.
        ValueError: The catalogue can't be used.
    """
    folder = settings.root
    if folder is None:
        folder = str(draw_sample(settings.cache_folder))
    review = read_review(settings.exclude, settings.relabel)
    root = open_root(folder, settings.table)
    catalogue = load_catalogue(
        root,
        settings.label_column,
        settings.min_images,
        settings.malformed_rows,
        id_column=settings.id_column,
        image_column=settings.image_column,
        review=review,
    )
    return LoadedCatalogue(settings, root, catalogue)


def pack(loaded: LoadedCatalogue, input_size: int, interpolation: str) -> PhotoStore:
    """Open the store of a catalogue's photos, packing it first where there is none.

    Args:
        loaded: The catalogue.
        input_size: Side of the square, in pixels.
        interpolation: See `fashion.catalogue.images.decode_image`.

    Raises:
        OSError: The disk lacks the room.
    """
    settings, table = loaded.settings, loaded.catalogue.table
    return open_store(
        loaded.root, table, input_size, settings.fit, interpolation, settings.cache_folder
    )


def split(loaded: LoadedCatalogue, unreadable: dict[str, str]) -> SplitCatalogue:
    """Drop the photos that can't be decoded, find twins among the others, draw the splits.

    Args:
        loaded: The catalogue.
        unreadable: Maps an id to what is wrong with its photo.

    Raises:
        ValueError: A class is left with too few photos.
    """
    settings = loaded.settings
    catalogue = drop_unreadable(
        loaded.catalogue, unreadable, settings.min_images, settings.label_column
    )
    splits = split_catalogue(
        catalogue,
        find_twins(loaded.root, catalogue.table, settings.cache_folder),
        kind=settings.split,
        seed=settings.split_seed,
        folds=settings.folds,
        fold=settings.fold,
    )
    log.info(catalogue.describe())
    log.info(splits.describe_twins())
    return splits
