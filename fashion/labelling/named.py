"""Names beside photos that are labelled: read from a CSV, joined to what the photos say."""

import csv
import hashlib
import io
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashion.names.name_model import NameModel
from fashion.tables import mark_text
from fashion.wording import did_you_mean, many

COLUMNS = ("photo", "name")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NamesFile:
    """The names of photos.

    Attributes:
        subject: The setting that names the file, and its value, for messages.
        names: By the photo, as `fashion predict` writes it.
        sha256: Of the file, in hexadecimal digits.
    """

    subject: str
    names: Mapping[str, str]
    sha256: str

    @classmethod
    def read(cls, path: str | Path) -> "NamesFile":
        """Read a CSV with the columns `photo` and `name`, and perhaps others.

        Raises:
            FileNotFoundError: It isn't there.
            ValueError: It lacks a column, names a photo twice in two ways, or is no CSV.
        """
        path = Path(path).expanduser()
        subject = f"names={str(path)!r}"
        if not path.is_file():
            raise FileNotFoundError(
                f"{subject} is no file; pass a CSV with the columns photo,name."
            )
        content = path.read_bytes()
        text = content.decode("utf-8-sig", "surrogateescape")
        rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        try:
            header = list(rows.fieldnames or ())
            for column in COLUMNS:
                if column not in header:
                    hint = did_you_mean(column, header, quoted=True)
                    raise ValueError(
                        f"{subject} has no column {column!r}{hint}; its columns are "
                        f"{', '.join(header)}. Pass a CSV with the columns photo,name."
                    )
            names: dict[str, str] = {}
            for row in rows:
                photo, name = (row[column] or "" for column in COLUMNS)
                if names.setdefault(photo, name) != name:
                    raise ValueError(
                        f"{subject} gives {photo!r} the names {names[photo]!r} and {name!r}; name "
                        "each photo once."
                    )
        except csv.Error as error:
            raise ValueError(f"{subject}, line {rows.line_num}: {error}.") from error
        return cls(subject, names, hashlib.sha256(content).hexdigest())

    def of(self, photo: str) -> str:
        """Return the name of a photo, empty where it has none."""
        return self.names.get(photo) or self.names.get(str(mark_text(photo)), "")

    def check(self, photos: Sequence[str]) -> None:
        """Say how many of these photos have a name.

        Raises:
            ValueError: None has.
        """
        named = sum(bool(self.of(photo)) for photo in photos)
        self.tell(named, len(photos), next(iter(photos), ""))

    def tell(self, named: int, photos: int, example: str) -> None:
        """Say that so many of some photos have a name.

        Raises:
            ValueError: None has; they are called such as `example`.
        """
        if not named:
            raise ValueError(
                f"{self.subject} names none of the {many(photos, 'photo')}; write them as "
                f"fashion predict does, such as {example}."
            )
        log.warning("%s names %s of %s.", self.subject, f"{named:,}", many(photos, "photo"))


def one_model(models: Sequence[Any], what: str) -> NameModel:
    """Return the model of names beside the only one of photos.

    Raises:
        ValueError: There are several, or it has none.
    """
    if len(models) > 1:
        raise ValueError(f"{what} is for one model; pass one ckpt_path.")
    names: NameModel | None = models[0].names
    if names is None:
        raise ValueError(
            f"{what}: the model knows no names. Train it with data.text_column=<the column of "
            "names>, or run fashion evaluate ckpt_path=… data.text_column=… once, which adds them."
        )
    return names


def joiner(model: NameModel, file: NamesFile) -> Callable[[str, Any], tuple[Any, bool]]:
    """Return what makes, of a photo and what it says, what photo and name say, and if both do.

    What was said of attributes, behind the K probabilities of the label, stays as it is.
    """
    k = len(model.bias)

    def join(photo: str, outcome: NDArray[np.float32] | str) -> tuple[Any, bool]:
        name = file.of(photo)
        if isinstance(outcome, str) or not name:
            return outcome, False
        joined, used = model.join(outcome[None, :k], [name])
        return np.concatenate([joined[0], outcome[k:]]), bool(used[0])

    return join
