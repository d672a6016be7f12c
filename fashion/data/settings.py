"""DataSettings: the keys under `data` in a run's configuration, checked."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import platformdirs

from fashion.catalogue.csv_rows import check_encoding, parse_delimiter
from fashion.catalogue.images import FITS
from fashion.catalogue.labels import clean_text
from fashion.catalogue.splits import KINDS
from fashion.catalogue.structure import Structure
from fashion.defaults import default_settings
from fashion.wording import did_you_mean

# How likely a photo is drawn: to this power of the photos of its class.
SAMPLERS = {"shuffle": 0.0, "sqrt": -0.5, "balanced": -1.0}
VIEW_PRECISIONS = ("bfloat16", "float32")
# Keys of earlier releases: where one isn't false, the sentence goes on with what became of it.
DROPPED_KEYS = {"views_mirrored": "stored maps are no longer mirrored; more data.views do more"}
REPEATED_KEYS = ("backbone", "input_size", "seed")  # of earlier releases, which said them twice
LEAST = {"batch_size": 1, "min_images": 1, "rotation": 0, "split_seed": 0, "views": 0}
# Names and paths, which may look like numbers.
TEXTS = (
    *("root", "table", "id_column", "image_column", "label_column", "cache_dir"),
    *("exclude", "relabel", "rename", "more", "delimiter", "encoding"),
    *("photo_folder", "zip_encoding"),
)
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """What a run asks of its catalogue; `conf/data` has the defaults.

    Attributes:
        root: Folder or zip with a table and photos, or with a folder of photos for each class; None
            stands for the drawn sample.
        table: The table's file name; None takes each folder of photos as a class.
        delimiter: Between the table's cells, a character or comma, semicolon, tab, pipe; None tells
            commas, semicolons and tabs from the header.
        encoding: Of a table or list without a mark; None is UTF-8. A list in UTF-8 is read as that.
        id_column: The table's column that names each row; None takes the photo's path.
        image_column: The column of the photos' paths; None: the photo is images/<id>.
        photo_folder: The folder of the photos beside the table; None finds it.
        zip_encoding: The code page of a zip's names that are no UTF-8.
        label_column: The column to classify by, or several: a model then tells each of them, and
            the first one is watched.
        label_level: Without a table: which folder of a photo's path is its label, see
            `fashion.catalogue.structure.Structure`.
        group_column: The table's column in which photos of one product have the same value; they
            are in one split.
        group_level: The same for the folders, where there is no table.
        min_images: Labels with fewer photos are dropped.
        malformed_rows: `skip` or `repair`.
        exclude: CSV of the ids to leave out, see `fashion.catalogue.review`.
        relabel: CSV of ids and the labels they get instead.
        rename: CSV of labels, `old`, and those that take their place, `new`; an empty one is none.
        more: Folder or zip of a catalogue that is added to the training split alone: what
            `fashion corrections export` writes, or one like `root`; None adds nothing.
        fit: `squash` or `pad`, see `fashion.catalogue.images.decode_image`.
        rotation: Largest angle of the random rotation, in degrees.
        split: How the splits are drawn, stratified by label: `random`, or `grouped`, which has no
            photo's twins in another split; or `given`, those of the catalogue.
        count_twins: Look for twins where they decide no split, too, to count those of test photos
            in train.
        split_column: The column that gives the splits; None: folders train, val and test do.
        split_seed: Decides the splits, and nothing else does.
        folds: Cross-validate: so many folds take the place of the splits; None doesn't.
        fold: Which of them is tested on, from 0.
        sampler: `shuffle` takes each training photo once an epoch. `sqrt` and `balanced` draw as
            many, with replacement: a class as often as the square root of its photos, or as any.
        batch_size: Photos of one optimiser step, over all devices and processes.
        num_workers: Loader processes; None takes one less than the cores that it may use,
            1 to 8.
        cache_dir: Where packed photos, features and the drawn sample are kept; None is the user's
            cache.
        views: How many views of each training photo, the first plain and the others augmented,
            are kept as features for all epochs to train from; 0 trains from the photos.
        views_precision: `bfloat16` or `float32`, in which features are kept.
        views_on_device: Keep the features in the memory of the device that trains, too; None does
            so on a GPU with twice the room.

    Raises:
        ValueError: A setting is out of range; the sentence names the key and the way out.
    """

    root: str | None
    table: str | None
    delimiter: str | None
    encoding: str | None
    id_column: str | None
    image_column: str | None
    photo_folder: str | None
    zip_encoding: str | None
    label_column: str | Sequence[str]
    label_level: int
    group_column: str | None
    group_level: int | None
    min_images: int
    malformed_rows: str
    exclude: str | None
    relabel: str | None
    rename: str | None
    more: str | None
    fit: str
    rotation: float
    split: str
    count_twins: bool
    split_column: str | None
    split_seed: int
    folds: int | None
    fold: int
    sampler: str
    batch_size: int
    num_workers: int | None
    cache_dir: str | None
    views: int
    views_precision: str
    views_on_device: bool | None

    def __post_init__(self) -> None:
        """Take numbers for texts, and refuse what no catalogue can be read or trained with."""
        for key in TEXTS:  # a column or a folder may be called 2023
            value = getattr(self, key)
            if isinstance(value, (int, float)):
                object.__setattr__(self, key, str(value))
        if self.root is not None and not self.root.strip():
            raise ValueError("data.root= is empty: pass a folder or zip, or data=sample.")
        if self.label_column is None and self.table is not None:
            raise ValueError(
                "data.label_column=null: a table has a column that says what each photo shows; "
                "pass data.label_column=<its name>, or data.table=null to take each folder of "
                "photos as a class."
            )
        self._check_columns()
        parse_delimiter(self.delimiter)
        check_encoding(self.encoding)
        self._check_choices()
        self._check_folds()
        self._check_structure()
        for key, lowest in LEAST.items():
            kinds = (int, float) if key == "rotation" else (int,)
            value = getattr(self, key)
            if isinstance(value, bool) or not (
                isinstance(value, kinds) and lowest <= value < math.inf
            ):
                kind = "a number" if key == "rotation" else "a whole number"
                raise ValueError(f"data.{key}={value!r} must be {kind}, {lowest} or more.")
        workers = self.num_workers
        if workers is not None and (
            isinstance(workers, bool) or not isinstance(workers, int) or workers < 0
        ):
            raise ValueError(
                f"data.num_workers={workers!r} must be a whole number, 0 or more, or null for one "
                "less than the cores."
            )

    @classmethod
    def from_config(cls, node: Mapping[str, Any]) -> "DataSettings":
        """Take the settings from a configuration's node `data`, of this release or an earlier one.

        What it lacks has its default; Hydra's own keys are passed over.

        Raises:
            ValueError: A key is unknown or no longer there, or a setting is out of range.
        """
        given = {**default_settings()["data"], **node}
        given = {key: value for key, value in given.items() if not key.startswith("_")}
        for key in REPEATED_KEYS:
            given.pop(key, None)
        for key, dropped in DROPPED_KEYS.items():
            if given.get(key):
                raise ValueError(f"data.{key}={given[key]}: {dropped}. Pass data.{key}=false.")
            if key in given:
                del given[key]
                log.info("data.%s=false is dropped: %s.", key, dropped)
        names = [field.name for field in fields(cls)]
        unknown = sorted(given.keys() - set(names))
        if unknown:
            hint = did_you_mean(f"data.{unknown[0]}", [f"data.{name}" for name in names])
            raise ValueError(f"data.{unknown[0]} is unknown{hint}; there are {', '.join(names)}.")
        return cls(**given)

    @property
    def label(self) -> str:
        """The column that is classified by."""
        column = self.label_column
        return column if isinstance(column, str) or column is None else column[0]

    @property
    def attributes(self) -> tuple[str, ...]:
        """The further columns that a model is to tell."""
        column = self.label_column
        return () if isinstance(column, str) or column is None else tuple(column[1:])

    @property
    def structure(self) -> Structure:
        """What belongs together, beside the labels."""
        return Structure(
            label_level=self.label_level,
            group_level=self.group_level,
            group_column=self.group_column,
            keeps_splits=self.split == "given",
            split_column=self.split_column,
        )

    @property
    def cache_folder(self) -> Path:
        """The folder of packed photos, features and the drawn sample."""
        return Path(self.cache_dir).expanduser() if self.cache_dir else default_cache_dir()

    def _check_columns(self) -> None:
        """Take a list of one column for that one; refuse lists that name none, or one twice."""
        columns = self.label_column
        if isinstance(columns, str) or columns is None:
            return
        if not isinstance(columns, (list, tuple)) or not columns:
            raise ValueError(
                f"data.label_column={columns!r} names no column; pass one, or a list such as "
                "[articleType,gender], whose first is watched."
            )
        names = [str(each) if type(each) in (int, float) else each for each in columns]
        for name in names:
            if not isinstance(name, str) or not name.strip():
                raise ValueError(f"data.label_column={columns!r} has {name!r}, which is no column.")
        cleaned = [clean_text(name) for name in names]
        again = next((name for name in cleaned if cleaned.count(name) > 1), None)
        if again is not None:
            raise ValueError(
                f"data.label_column={columns!r} has {again!r} twice; name each column once."
            )
        object.__setattr__(self, "label_column", names[0] if len(names) == 1 else tuple(names))

    def _check_choices(self) -> None:
        for key, choices in (
            ("fit", FITS),
            ("split", KINDS),
            ("sampler", tuple(SAMPLERS)),
            ("views_precision", VIEW_PRECISIONS),
        ):
            value = getattr(self, key)
            if value not in choices:
                raise ValueError(f"data.{key}={value!r} is unknown; pass {' or '.join(choices)}.")
        if not isinstance(self.count_twins, bool):
            raise ValueError(f"data.count_twins={self.count_twins!r}: pass true or false.")
        if not isinstance(self.views_on_device, (bool, type(None))):
            raise ValueError(
                f"data.views_on_device={self.views_on_device!r}: pass true, false or null."
            )

    def _check_structure(self) -> None:
        for key in ("label_level", "group_level"):
            level = getattr(self, key)
            is_level = isinstance(level, int) and not isinstance(level, bool) and level != 0
            if not (is_level or (level is None and key == "group_level")):
                raise ValueError(
                    f"data.{key}={level!r}: pass 1 for the first folder below the root, 2 for the "
                    "next, or -1 for the photo's own."
                )
        if self.split_column is not None and self.split != "given":
            raise ValueError(
                f"data.split_column={self.split_column!r} has no effect with "
                f"data.split={self.split}; pass data.split=given."
            )
        if self.split == "given" and self.folds is not None:
            raise ValueError(
                f"data.folds={self.folds} draws splits of its own, but data.split=given keeps "
                "those of the catalogue. Pass data.split=random or grouped, or leave data.folds "
                "out."
            )

    def _check_folds(self) -> None:
        folds, fold = self.folds, self.fold
        if folds is not None and not (isinstance(folds, int) and folds >= 2):
            raise ValueError(f"data.folds={folds!r}: pass a number of 2 or more, or null.")
        if not isinstance(fold, int) or not 0 <= fold < (folds or 1):
            raise ValueError(
                f"data.fold={fold!r}: pass one from 0 to {folds - 1} with data.folds={folds}."
                if folds
                else f"data.fold={fold!r} needs data.folds, the number of folds."
            )


def default_cache_dir() -> Path:
    """Return the user's cache folder for this project."""
    return Path(platformdirs.user_cache_dir("fashion"))
