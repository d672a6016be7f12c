"""A model's file, the checkpoint: written, read and checked, tensors and plain values only.

A checkpoint is a mapping, of which others than Lightning know these keys:

- `format`: `FORMAT` when it was written.
- `hyper_parameters`: what its model was built from, `class_names` among them, and `attributes`
  where it tells some.
- `state_dict`: the model's weights.
- `preprocessing`: arguments of `fashion.catalogue.images.decode_image`.
- `run`: the `config` of the run and a row of figures for each of its `epochs`.
- `calibration`: what `fashion.metrics.scaling.Calibration.state` returned, once it is known.
- `attribute_calibrations`: the same of each attribute, by its name, where there are some.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch

FORMAT = 1
BEST = "checkpoints/best.ckpt"  # in a run's folder
# What each checkpoint holds, and of that what others rely on.
PARTS = {
    "hyper_parameters": {"class_names", "backbone"},
    "state_dict": set[str](),
    "preprocessing": {"input_size", "interpolation", "fit"},
    "run": set[str](),
}


def write(checkpoint: Mapping[str, Any], file: IO[bytes]) -> None:
    """Write a checkpoint into an open file, with the version of today's form."""
    torch.save({**checkpoint, "format": FORMAT}, file)


def read(path: str | Path, key: str = "ckpt_path") -> dict[str, Any]:
    """Read a checkpoint onto the host, brought to today's form.

    A tensor's values are read when they are first asked for. The file may be replaced meanwhile,
    but not be written into.

    Args:
        path: The file.
        key: The setting that names it, for messages.

    Raises:
        FileNotFoundError: No file lies there.
        ValueError: It is a folder, no checkpoint of ours, or one that a later version wrote.
    """
    if Path(path).is_dir():
        raise ValueError(
            f"{key}={str(path)!r} is a folder; pass the file checkpoints/best.ckpt of a run's "
            "folder."
        )
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"{key}={str(path)!r} does not exist; pass a run's checkpoints/best.ckpt."
        )
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # damaged files draw almost any error from the unpickler
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{key}={str(path)!r} is not a complete checkpoint ({reason[:100]}). "
            "Pass a run's checkpoints/best.ckpt or last.ckpt."
        ) from error
    if not _is_ours(checkpoint):
        raise ValueError(
            f"{key}={str(path)!r} was not written by this project. Pass a run's "
            "checkpoints/best.ckpt."
        )
    version = checkpoint.get("format", 0)
    if not isinstance(version, int) or version > FORMAT:
        raise ValueError(
            f"{key}={str(path)!r} is of format {version!r}, but this version of fashion reads "
            f"formats up to {FORMAT}. Install a later version, or pass another checkpoint."
        )
    return checkpoint if version == FORMAT else _from_before_formats(checkpoint)


def _is_ours(checkpoint: object) -> bool:
    return isinstance(checkpoint, dict) and all(
        isinstance(checkpoint.get(part), dict) and keys <= checkpoint[part].keys()
        for part, keys in PARTS.items()
    )


def _from_before_formats(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Bring to today's form what was written when files had no `format`."""
    # `fit` stood there and in `preprocessing`.
    settings = {key: value for key, value in checkpoint["hyper_parameters"].items() if key != "fit"}
    return {**checkpoint, "hyper_parameters": settings, "format": FORMAT}
