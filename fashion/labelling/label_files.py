"""From checkpoints and photos to a CSV of labels."""

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from fashion.labelling.labeller import Labeller
from fashion.labelling.labels_table import write_labels
from fashion.labelling.photos import find_photos


def label_files(
    paths: Sequence[str | Path],
    ckpt_paths: Sequence[str | Path],
    output: str | Path = "predictions.csv",
    *,
    batch_size: int = 64,
    precision: float | None = None,
    zip_encoding: str | None = None,
) -> dict[str, int]:
    """Label photos and write `output`; see `fashion.labelling.labels_table.write_labels`.

    Args:
        paths: Photo files, folders (searched through) and zips.
        ckpt_paths: Of one model, or of several whose probabilities are averaged.
        output: The CSV.
        batch_size: Photos that are computed at once.
        zip_encoding: The code page of names in a zip that are no UTF-8.
        precision: Marks the labels that are sure enough to be right this often; None marks none.

    Returns:
        How many photos were `labelled`, `refused` and `unreadable`.

    Raises:
        FileNotFoundError: A path or the output's folder isn't there, or there is no photo.
        ValueError: A setting, a zip or a checkpoint is wrong; see `Labeller.threshold`, too.
    """
    output = Path(output)
    photos = find_photos(paths, zip_encoding)
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size={batch_size!r} must be a whole number of 1 or more.")
    if not output.name or output.is_dir():
        raise ValueError(f"output={str(output)!r} is a folder; pass the name of a CSV file.")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"output={str(output)!r}: there is no folder {output.parent}.")
    from fashion.labelling.checkpoint_models import open_models  # PyTorch, after cheap mistakes

    labeller = Labeller(open_models(ckpt_paths))
    threshold = None if precision is None else labeller.threshold(precision)
    outcomes = labeller.label(photos, batch_size)
    bar = tqdm(outcomes, total=len(photos), desc="Labelling", unit="photo", disable=None)
    names = (photo.name for photo in photos)
    return write_labels(output, labeller.class_names, zip(names, bar, strict=True), threshold)
