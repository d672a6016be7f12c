"""`fashion predict`: labels of photos."""

import sys
from typing import Any

from fashion.commands.words import truth
from fashion.labelling.label_files import label_files
from fashion.wording import many


def run(settings: dict[str, Any], paths: list[str]) -> None:
    """Label the photos at some paths."""
    output = settings.get("output", "predictions.csv")
    precision = precision_of(settings.get("precision"))
    try:
        counts = label_files(
            paths,
            settings.get("ckpt_path", ()),
            output,
            bundle=settings.get("bundle"),
            int8=truth("int8", settings),
            dtype=settings.get("dtype", "float32"),
            batch_size=_batch_size(settings.get("batch_size", "64")),
            precision=precision,
            zip_encoding=settings.get("zip_encoding"),
            names=settings.get("names"),
            restart=truth("restart", settings),
        )
    except KeyboardInterrupt:
        sys.exit(f"Stopped. {output}.part keeps what is labelled; type the same again to go on.")
    labelled = counts["labelled"] + counts["refused"]
    unsure = "" if precision is None else f"{counts['refused']:,} of them not sure, "
    sys.stdout.write(
        f"{many(labelled, 'photo')} labelled, {unsure}{counts['unreadable']:,} unreadable: "
        f"{output}\n"
    )
    if not labelled:
        sys.exit(1)  # a script is to notice


def _batch_size(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"batch_size={text!r} must be a whole number, 1 or more.")
    return int(text)


def precision_of(text: str | None) -> float | None:
    """Return the precision that a text spells, whose range its threshold is asked for.

    Raises:
        ValueError: It is no number.
    """
    try:
        return None if text is None else float(text)
    except ValueError:
        raise ValueError(f"precision={text!r} must be above 0 and at most 1.") from None
