"""Label photos from the command line; see `USAGE`."""

import sys

from fashion.labelling.label_files import label_files

USAGE = (
    "usage: fashion predict ckpt_path=FILE [ckpt_path=FILE ...] PHOTOS... "
    "[output=predictions.csv] [batch_size=64] [precision=0.98]\n"
    "PHOTOS are photo files, folders (searched through) and zips. With several checkpoints the "
    "mean of their probabilities is taken. precision adds a column that says which labels are sure "
    "enough to be right that often."
)
SETTINGS = ("ckpt_path", "output", "batch_size", "precision")


def main() -> None:
    """Label photos from the command line."""
    settings: dict[str, str] = {}
    ckpt_paths: list[str] = []
    paths: list[str] = []
    for argument in sys.argv[1:]:
        key, _, value = argument.partition("=")
        if key == "ckpt_path" and value:
            ckpt_paths.append(value)
        elif key in SETTINGS and value:
            settings[key] = value
        else:
            paths.append(argument)
    if not paths or not ckpt_paths or {"-h", "--help"} & set(paths):
        sys.exit(USAGE)
    output = settings.get("output", "predictions.csv")
    try:
        precision = _precision(settings.get("precision"))
        batch_size = _batch_size(settings.get("batch_size", "64"))
        counts = label_files(paths, ckpt_paths, output, batch_size=batch_size, precision=precision)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    refused = "" if precision is None else f"{counts['refused']} refused, "
    sys.stdout.write(
        f"{counts['labelled']} photos labelled, {refused}{counts['unreadable']} unreadable: "
        f"{output}\n"
    )


def _batch_size(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(f"batch_size={text!r} must be a whole number of 1 or more.")
    return int(text)


def _precision(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        raise ValueError(f"precision={text!r} must be above 0 and at most 1.") from None


if __name__ == "__main__":
    main()
