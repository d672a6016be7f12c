"""The photos on which a bundle has to agree with its checkpoints."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fashion.export.facts import Source
from fashion.export.odd_photos import drawn_photos, odd_photos
from fashion.export.run_photos import catalogue_of, splits_of
from fashion.labelling.photos import Photo, find_photos

MOST = 200
SEED = 0
log = logging.getLogger(__name__)


class ParityPhotos(NamedTuple):
    """The photos, and where they are from.

    Attributes:
        chosen: `MOST` or fewer.
        odd: One of each odd kind, drawn.
        source: Where `chosen` are from, in words that follow their number.
    """

    chosen: list[Photo]
    odd: list[Photo]
    source: str


def choose_photos(
    ckpt_path: str | Path, checkpoint: Mapping[str, Any], photos: str | Path | None = None
) -> ParityPhotos:
    """Choose photos, the same ones at each call.

    They are of the validation split of the run's catalogue; of all of it where its splits aren't
    known; drawn ones where it is gone.

    Args:
        ckpt_path: The checkpoint's file.
        checkpoint: As `fashion.models.checkpoints.read` returns it.
        photos: A folder or a zip to take them from instead.

    Raises:
        FileNotFoundError: There is nothing at `photos`, or no photo.
        ValueError: The zip is damaged.
    """
    odd = [_of_memory(name, content) for name, content in odd_photos().items()]
    if photos is not None:
        found = find_photos([photos])
        return ParityPhotos(_some(found), odd, "that were given")
    try:
        catalogue = catalogue_of(checkpoint)
    except (OSError, ValueError) as error:
        log.warning("The catalogue of the checkpoint can't be read; photos are drawn: %s", error)
        drawn = drawn_photos(MOST)
        named = [_of_memory(f"drawn {place}", content) for place, content in enumerate(drawn, 1)]
        return ParityPhotos(named, odd, "that the project draws, for the catalogue isn't there")
    table = catalogue.catalogue.table.set_index("id")["photo"]
    validation = [id_ for id_ in _validation_ids(ckpt_path, checkpoint) if id_ in table.index]
    ids = validation or list(table.index)
    listed = [Photo(id_, partial(catalogue.root.read, table[id_])) for id_ in _some(ids)]
    source = "of the validation split" if validation else "of the catalogue"
    return ParityPhotos(listed, odd, source)


def _validation_ids(ckpt_path: str | Path, checkpoint: Mapping[str, Any]) -> list[str]:
    """Return the ids of the validation split; none where they aren't known."""
    table = splits_of(Source(Path(ckpt_path), checkpoint))
    return [] if table is None else list(table.index[table["split"] == "val"])


def _some(items: Sequence[Any]) -> list[Any]:
    """Return some of a sequence in its order, chosen from a fixed seed."""
    number = min(MOST, len(items))
    places = np.random.default_rng(SEED).choice(len(items), number, replace=False)
    return [items[place] for place in sorted(places.tolist())]


def _of_memory(name: str, content: bytes) -> Photo:
    return Photo(name, lambda: content)
