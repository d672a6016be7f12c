"""From settings to photos with splits, in the one order in which each step knows enough.

1. `load` reads the table and decodes no photo, so that a mistake shows within seconds.
2. `pack` decodes each photo once; its `PhotoStore` knows which can't be read. Who packs nothing, as
   `explore`, finds these by itself.
3. `split` drops those and shares the others out: a `SplitCatalogue`. It finds twins first where
   these decide the splits, or are to be counted.
4. `FashionDataModule.fill_features` computes what training needs of the photos of these splits, if
   it is to keep that: a `FeatureStore`.

Each step takes what the one before returned.
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from fashion.attributes import Heads
from fashion.catalogue.csv_rows import CsvForm, parse_delimiter
from fashion.catalogue.review import read_review
from fashion.catalogue.root import CatalogueRoot, open_root
from fashion.catalogue.sample import MARKER, draw_sample
from fashion.catalogue.split_catalogue import SplitCatalogue, split_catalogue
from fashion.catalogue.splits import SPLITS
from fashion.catalogue.table import Catalogue, drop_unreadable, load_catalogue
from fashion.data.more_photos import MorePhotos, add_to_training, load_more, with_more
from fashion.data.photo_store import PhotoStore, open_store
from fashion.data.settings import DataSettings
from fashion.twins.groups import find_twins
from fashion.twins.thumbnail_store import ThumbnailStore
from fashion.wording import many

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedCatalogue:
    """A catalogue whose table has been read and checked.

    Attributes:
        settings: What it was read by.
        root: Reads its photos.
        catalogue: Accounts for every row; whether a photo can be decoded isn't known yet.
        is_sample: Whether the project has drawn it.
        more: What `data.more` adds to training, which `root` reads, too.
    """

    settings: DataSettings
    root: CatalogueRoot
    catalogue: Catalogue
    is_sample: bool
    more: MorePhotos | None = None

    @property
    def class_names(self) -> list[str]:
        """The K labels; photos that can't be decoded may make one too rare yet."""
        return self.catalogue.class_names

    @property
    def photos(self) -> pd.DataFrame:
        """`id` and `photo` of all that is packed: the catalogue's photos, and more of them."""
        tables = [self.catalogue.table, *([self.more.table] if self.more else [])]
        return pd.concat([table[["id", "photo"]] for table in tables], ignore_index=True)

    def provisional_splits(self) -> SplitCatalogue:
        """Share the photos out as if all could be decoded and none had a twin.

        The sizes are those of the splits to come, as far as they can be known.

        Raises:
            ValueError: A class can't be in every split.
        """
        kind = "given" if self.settings.split == "given" else "random"
        splits = split_catalogue(
            self.catalogue,
            None,
            kind=kind,
            seed=self.settings.split_seed,
            min_images=self.settings.min_images,
        )
        return with_more(splits, self.more) if self.more else splits


def catalogue_facts(loaded: LoadedCatalogue, splits: SplitCatalogue) -> dict[str, Any]:
    """Return what a summary says of a catalogue: counts, settings, the hash of the splits."""
    settings = loaded.settings
    return {
        "root": str(loaded.root.path),
        "drawn_sample": loaded.is_sample,
        **splits.facts(),
        **_labels(loaded),
        **(_division(settings, splits) if splits.is_divided else {}),
    }


def _division(settings: DataSettings, splits: SplitCatalogue) -> dict[str, Any]:
    asked = {key: getattr(settings, key) for key in ("split_column", "group_column", "group_level")}
    return {
        "min_images": settings.min_images,
        "split": settings.split,
        "split_seed": settings.split_seed,
        **({"folds": settings.folds, "fold": settings.fold} if settings.folds else {}),
        **{key: column for key, column in asked.items() if column is not None},
        "splits_sha256": splits.sha256(),
    }


def _labels(loaded: LoadedCatalogue) -> dict[str, Any]:
    if loaded.root.csv_name is None:
        return {"label_column": None, "label_level": loaded.settings.label_level}
    return {"label_column": loaded.settings.label}


def load(settings: DataSettings, *, keep_rare: bool = False) -> LoadedCatalogue:
    """Read a catalogue's table; the sample is drawn where there is none yet.

    Args:
        settings: Name the catalogue.
        keep_rare: Keep each label, even a single one, as for a model that is trained already.

    Raises:
        FileNotFoundError: No catalogue lies at `data.root`.
        ValueError: The catalogue can't be used.
    """
    folder = settings.root
    if folder is None:
        folder = str(draw_sample(settings.cache_folder))
    review = read_review(settings.exclude, settings.relabel, settings.rename, settings.encoding)
    root = open_root(
        folder,
        settings.table,
        least_folders=1 if keep_rare else 2,
        photo_folder=settings.photo_folder,
        zip_encoding=settings.zip_encoding,
        cache_dir=settings.cache_folder,
    )
    catalogue = load_catalogue(
        root,
        settings.label,
        None if keep_rare else settings.min_images,
        settings.malformed_rows,
        id_column=settings.id_column,
        image_column=settings.image_column,
        form=CsvForm(parse_delimiter(settings.delimiter), settings.encoding),
        review=review,
        structure=settings.structure.of_labels(root) if keep_rare else settings.structure,
        attributes=settings.attributes,
    )
    for note in catalogue.notes:
        log.warning(note)
    is_sample, more = Path(root.path, MARKER).exists(), None
    if settings.more and not keep_rare:  # which is not for training
        root, more = load_more(settings, root, catalogue, review)
    return LoadedCatalogue(settings, root, catalogue, is_sample, more)


def pack(
    loaded: LoadedCatalogue, input_size: int, interpolation: str, *, is_divided: bool = True
) -> PhotoStore:
    """Open the store of a catalogue's photos, packing first those that it lacks.

    Where twins are wanted, thumbnails are made of the same reading of a file.

    Args:
        loaded: The catalogue.
        input_size: Side of the square, in pixels.
        interpolation: See `fashion.catalogue.images.decode_image`.
        is_divided: Whether splits will be made of it, which twins may decide.

    Raises:
        OSError: The disk lacks the room.
    """
    settings, table, root = loaded.settings, loaded.photos, loaded.root
    how = (root, table, input_size, settings.fit, interpolation, settings.cache_folder)
    if is_divided and wants_twins(settings, loaded.catalogue.table):
        thumbnails = ThumbnailStore(settings.cache_folder)
        if len(thumbnails.missing(root.keys(table["photo"]))):
            with thumbnails.adding():
                return open_store(*how, beside=thumbnails)
    return open_store(*how)


def split(
    loaded: LoadedCatalogue, unreadable: dict[str, str], *, with_twins: bool = False
) -> SplitCatalogue:
    """Drop the photos that can't be decoded, and draw the splits.

    Args:
        loaded: The catalogue.
        unreadable: Maps an id to what is wrong with its photo.
        with_twins: Find twins even where no split needs them and nobody counts them.

    Raises:
        ValueError: A class is left with too few photos.
    """
    settings = loaded.settings
    catalogue = drop_unreadable(loaded.catalogue, unreadable, settings.min_images)
    twins = None
    if with_twins or wants_twins(settings, catalogue.table):
        twins = find_twins(loaded.root, catalogue.table, settings.cache_folder)
    splits = split_catalogue(
        catalogue,
        twins,
        kind=settings.split,
        seed=settings.split_seed,
        folds=settings.folds,
        fold=settings.fold,
        min_images=settings.min_images,
    )
    log.info(catalogue.describe())
    for line in splits.describe_attributes():
        log.info(line)
    log.info(splits.describe_twins())
    for note in splits.notes():
        log.warning(note)
    if loaded.more is None:
        return splits
    splits, more = add_to_training(
        splits, loaded.more, loaded.root, unreadable, settings.cache_folder
    )
    for note in more.describe():
        log.warning(note)
    return splits


def wants_twins(settings: DataSettings, table: pd.DataFrame) -> bool:
    """Return whether twins decide the splits of a catalogue's table, or are to be counted."""
    decide = settings.split == "grouped"
    if settings.split == "given":  # what is missing of them is drawn
        decide = not set(SPLITS) <= set(table["given"])
    return decide or settings.count_twins


def prepare_labelled(
    settings: DataSettings, heads: Heads, input_size: int, interpolation: str
) -> tuple[LoadedCatalogue, PhotoStore, SplitCatalogue]:
    """Pack all photos of the classes that a model knows, to evaluate it on them.

    No label is rare here, and nothing is shared out: a photo is enough.

    Args:
        settings: Name the catalogue.
        heads: The model's; the catalogue may lack its attributes.
        input_size: As in `pack`.
        interpolation: As in `pack`.

    Raises:
        FileNotFoundError: No catalogue lies at `data.root`.
        ValueError: The catalogue can't be used, or has no photo of these classes.
        OSError: The disk lacks the room.
    """
    class_names = list(heads.class_names)
    loaded = load(settings, keep_rare=True)
    known = SplitCatalogue.undivided(loaded.catalogue, class_names)
    if known.table.empty:
        raise ValueError(
            f"data.root={settings.root!r} has no photo of the classes that ckpt_path knows, such "
            f"as {class_names[0]!r}; its labels are such as {loaded.class_names[0]!r}. Pass a "
            "catalogue that does, or another data.label_column."
        )
    strange = known.catalogue.of_no_class["label"].value_counts()
    if len(strange):
        labels = ", ".join(f"{label!r} ({count:,})" for label, count in strange[:5].items())
        number = many(len(strange), "label is", "labels are")
        log.info("%s unknown to the model: %s", number, labels)
    loaded = replace(loaded, catalogue=known.catalogue)
    store = pack(loaded, input_size, interpolation, is_divided=False)
    catalogue = drop_unreadable(known.catalogue, store.unreadable, None)
    if catalogue.table.empty:
        id_, reason = next(iter(store.unreadable.items()))
        raise ValueError(
            f"data.root={settings.root!r}: none of the {len(known.table)} photos of the classes "
            f"that ckpt_path knows can be decoded, {id_!r} for one ({reason}). Pass others."
        )
    log.info(catalogue.describe())
    splits = SplitCatalogue.undivided(catalogue, class_names, attributes=heads.attributes)
    for line in splits.describe_attributes():
        log.info(line)
    return loaded, store, splits
