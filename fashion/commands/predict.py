"""`fashion predict`: labels of photos."""

import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fashion.labelling.predict import (
    find_photos,
    find_threshold,
    load_labellers,
    predict_photos,
    write_predictions,
)


def run(settings: dict[str, Any], paths: list[str]) -> None:
    """Label the photos at some paths."""
    output = Path(settings.get("output", "predictions.csv"))
    photos = find_photos(paths)
    batch_size = _batch_size(settings.get("batch_size", "64"))
    if not output.parent.is_dir():
        raise FileNotFoundError(f"output={str(output)!r}: there is no folder {output.parent}.")
    labellers = load_labellers(settings["ckpt_path"])
    precision = settings.get("precision")
    threshold = None if precision is None else find_threshold(labellers, precision)
    rows = predict_photos(labellers, photos, batch_size)
    bar = tqdm(rows, total=len(photos), desc="Labelling", unit="photo", disable=None)
    class_names = labellers[0].classifier.class_names
    counts = write_predictions(output, class_names, iter(bar), threshold)
    refused = "" if threshold is None else f"{counts['refused']} refused, "
    sys.stdout.write(
        f"{counts['labelled']} photos labelled, {refused}{counts['unreadable']} unreadable: "
        f"{output}\n"
    )


def _batch_size(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"batch_size={text!r} must be a whole number, 1 or more.")
    return int(text)
