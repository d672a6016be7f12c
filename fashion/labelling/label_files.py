"""From a bundle or checkpoints, and photos, to a CSV of labels."""

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from fashion.bundles.bundle_files import BundleFiles
from fashion.labelling.labeller import Labeller, Model
from fashion.labelling.labels_table import LabelsTable
from fashion.labelling.photos import PhotoList, find_photos
from fashion.labelling.unfinished import UnfinishedTable
from fashion.tables import mark_text
from fashion.wording import many

log = logging.getLogger(__name__)


def label_files(
    paths: Sequence[str | Path],
    ckpt_paths: Sequence[str | Path] = (),
    output: str | Path = "predictions.csv",
    *,
    bundle: str | Path | None = None,
    int8: bool = False,
    dtype: str = "float32",
    batch_size: int = 64,
    precision: float | None = None,
    zip_encoding: str | None = None,
    restart: bool = False,
) -> dict[str, int]:
    """Label photos and write `output`; see `fashion.labelling.labels_table.LabelsTable`.

    Each batch is written to `output`.part, from which the next call with the same arguments goes
    on where this one is killed.

    Args:
        paths: Photo files, folders (searched through) and zips.
        ckpt_paths: Of one model, or of several whose probabilities are averaged.
        output: The CSV.
        bundle: A folder or zip of `fashion export`, instead of checkpoints.
        int8: Label by the bundle's quantised network.
        dtype: What the bundle's other network is computed in, float32 or bfloat16.
        batch_size: Photos that are computed at once.
        zip_encoding: The code page of names in a zip that are no UTF-8.
        precision: Marks the labels that are sure enough to be right this often; None marks none.
        restart: Drop what a killed call has labelled.

    Returns:
        How many photos were `labelled`, `refused` and `unreadable`.

    Raises:
        FileNotFoundError: A path or the output's folder isn't there, or there is no photo.
        ValueError: A setting, a zip, a bundle or a checkpoint is wrong, or what a killed call has
            left is of another model, precision or photos; see `Labeller.threshold`, too.
    """
    output = Path(output)
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size={batch_size!r} must be a whole number of 1 or more.")
    if not output.name or output.is_dir():
        raise ValueError(f"output={str(output)!r} is a folder; pass the name of a CSV file.")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"output={str(output)!r}: there is no folder {output.parent}.")
    if bool(ckpt_paths) == (bundle is not None):
        raise ValueError("Pass either bundle=DIR or ckpt_path=FILE.")
    photos = find_photos(paths, zip_encoding)
    models, source = _open(ckpt_paths, bundle, int8, dtype)  # after cheap mistakes
    labeller = Labeller(models)
    threshold = None if precision is None else labeller.threshold(precision)
    table = LabelsTable(labeller.class_names, threshold, labeller.heads.attributes)
    unfinished = UnfinishedTable(output, table.columns)
    facts = {**source, "precision": precision, "photos": photos.digest()}
    with unfinished.open(facts, restart=restart):
        before, counts = _take_over(unfinished, table, photos, batch_size)
        if before:
            log.warning("%d of %s were labelled before.", before, many(len(photos), "photo"))
        outcomes = labeller.label(photos, batch_size, first=before)
        bar = tqdm(
            *(outcomes, "Labelling"), total=len(photos), initial=before, unit="photo", disable=None
        )
        labelled = zip(islice(photos.names(), before, None), bar, strict=True)
        while rows := [table.row(*each) for each in islice(labelled, batch_size)]:
            unfinished.add(rows)
            counts.update(map(table.kind, rows))
    return {kind: counts[kind] for kind in ("labelled", "refused", "unreadable")}


def _open(
    ckpt_paths: Sequence[str | Path], bundle: str | Path | None, int8: bool, dtype: str
) -> tuple[Sequence[Model], dict[str, object]]:
    """Return the models, and what they are of."""
    if bundle is not None:
        from fashion.labelling.bundle_models import open_bundle

        files = BundleFiles(bundle)
        model = open_bundle(files, int8=int8, dtype=dtype)
        return [model], {"bundle": files.id, "int8": int8, "dtype": dtype}
    if int8 or dtype != "float32":
        asked = "int8=true" if int8 else f"dtype={dtype}"
        raise ValueError(f"{asked} is for a bundle; pass bundle=DIR, which fashion export makes.")
    from fashion.labelling.checkpoint_models import open_models  # PyTorch

    digests = [_digest(Path(path)) for path in ckpt_paths]
    return open_models(ckpt_paths), {"ckpt_path": digests}


def _take_over(
    unfinished: UnfinishedTable, table: LabelsTable, photos: PhotoList, batch_size: int
) -> tuple[int, "Counter[str]"]:
    """Keep the whole batches of labels that are there; return how many, and how many of each kind.

    A batch that was cut short is computed again, for the last digits depend on what a photo is
    computed together with.
    """
    kept, end, counts, seen = 0, 0, Counter[str](), Counter[str]()
    for place, (name, row) in enumerate(zip(photos.names(), unfinished.kept(), strict=False), 1):
        if row.cells[0] != mark_text(name):
            break
        seen[table.kind(row.cells)] += 1
        if place % batch_size == 0 or place == len(photos):
            kept, end, counts = place, row.end, seen.copy()
    unfinished.go_on_from(end)
    return kept, counts


def _digest(path: Path) -> str:
    with path.expanduser().open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
