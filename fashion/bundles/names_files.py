"""The model of names that a bundle may hold: arrays of NumPy's, and words in `bundle.json`."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashion.bundles.bundle_files import BundleFiles
from fashion.names.features import PLACES
from fashion.names.name_model import ARRAYS, NameModel

FOLDER = "names"


def file_of(array: str) -> str:
    """Return the name of an array's file in a bundle."""
    return f"{FOLDER}/{array}.npy"


def write_names(model: NameModel, folder: Path) -> None:
    """Write the arrays of a model into a bundle's folder."""
    (folder / FOLDER).mkdir()
    for name in ARRAYS:
        with (folder / file_of(name)).open("wb") as file:
            np.lib.format.write_array(
                file, np.ascontiguousarray(getattr(model, name)), (1, 0), allow_pickle=False
            )


def read_names(files: BundleFiles) -> NameModel | None:
    """Return the model of names of a bundle, None where it has none.

    Raises:
        ValueError: Its files are damaged, or of other classes.
    """
    facts, k = files.manifest.names, len(files.manifest.classes)
    if facts is None:
        return None
    shapes = {"rarity": (PLACES,), "weights": (PLACES, k), "bias": (k,)}
    arrays: dict[str, Any] = {}
    for name, dtype in ARRAYS.items():
        content = files.read(file_of(name))
        try:
            arrays[name] = _array(content, np.dtype(dtype), shapes[name])
        except (ValueError, SyntaxError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"{files.subject}: {file_of(name)} is damaged ({reason}).") from error
    try:
        return NameModel(facts.mask, **arrays, fusion=facts.fusion, calibration=facts.calibration)
    except ValueError as error:
        raise ValueError(f"{files.subject}: {FOLDER}/ is damaged: {error}") from error


def _array(content: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return an array whose header says what is expected, before room is made for it."""
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("its version is another")
    found_shape, is_fortran, found = np.lib.format.read_array_header_1_0(file)
    if (found_shape, is_fortran, found) != (shape, False, dtype):
        raise ValueError(f"it has {found} of shape {found_shape}, not {dtype} of {shape}")
    return np.frombuffer(content, dtype, offset=file.tell()).reshape(shape)
