"""The models of checkpoints, computed by PyTorch; the one module here that imports it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fashion.cores import limit_threads
from fashion.metrics.scaling import Calibration
from fashion.models import checkpoints
from fashion.models.network import PhotoClassifier
from fashion.names.name_model import NameModel


class CheckpointModel:
    """A run's model, ready to label.

    Args:
        checkpoint: As `fashion.models.checkpoints.read` returns it.
        device: Where it is computed; None is `labelling_device`.

    Raises:
        ValueError: Its weights or its calibration are damaged.

    Attributes:
        class_names: This and the next: see `fashion.labelling.labeller.Model`.
        preprocessing: See above.
        names: See above.
        calibration: None where the checkpoint keeps none.
    """

    def __init__(self, checkpoint: Mapping[str, Any], device: torch.device | None = None) -> None:
        limit_threads()
        self._network = PhotoClassifier.restore(checkpoint).to(device or labelling_device())
        self.class_names: Sequence[str] = self._network.class_names
        self.preprocessing: dict[str, Any] = checkpoint["preprocessing"]
        self.calibration = load_calibration(checkpoint)
        self.names = load_names(checkpoint)

    def probabilities(self, photos: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return probabilities `(B, K)` for `photos`; see `fashion.labelling.labeller.Model`."""
        batch = torch.from_numpy(photos).permute(0, 3, 1, 2).to(self._network.mean.device)
        with torch.inference_mode():
            probabilities: NDArray[np.float32] = (
                self._network(batch).float().softmax(dim=1).cpu().numpy()
            )
        return self.calibration.calibrate(probabilities) if self.calibration else probabilities

    def threshold(self, precision: float) -> float:
        """Return the confidence that a label needs; see `fashion.labelling.labeller.Model`."""
        if self.calibration is None:
            raise ValueError(
                f"precision={precision}: the checkpoint is from before there were calibrations. "
                "Run fashion evaluate ckpt_path=… once, which adds it."
            )
        return self.calibration.threshold(precision)


def open_models(ckpt_paths: Sequence[str | Path]) -> list[CheckpointModel]:
    """Load the models of checkpoints; see `read_alike`."""
    return [CheckpointModel(checkpoint) for checkpoint in read_alike(ckpt_paths)]


def read_alike(ckpt_paths: Sequence[str | Path]) -> list[dict[str, Any]]:
    """Read checkpoints of models that tell the same classes apart.

    Raises:
        FileNotFoundError: One doesn't exist.
        ValueError: One is none, or they tell different classes apart.
    """
    opened = [checkpoints.read(path) for path in ckpt_paths]
    class_names = [checkpoint["hyper_parameters"]["class_names"] for checkpoint in opened]
    for path, names in zip(ckpt_paths, class_names, strict=True):
        if sorted(names) != sorted(class_names[0]):
            raise ValueError(
                f"ckpt_path={str(path)!r} tells other classes apart than "
                f"ckpt_path={str(ckpt_paths[0])!r}; pass checkpoints of the same classes."
            )
    return opened


def load_calibration(checkpoint: Mapping[str, Any]) -> Calibration | None:
    """Return the calibration that a checkpoint keeps, if it keeps one.

    Raises:
        ValueError: What it keeps is none.
    """
    state = checkpoint.get("calibration")
    return None if state is None else Calibration.from_state(state)


def load_names(checkpoint: Mapping[str, Any]) -> NameModel | None:
    """Return the model of names that a checkpoint keeps, if it keeps one.

    Raises:
        ValueError: What it keeps is none, or of other classes.
    """
    state = checkpoint.get("names")
    if state is None:
        return None
    return NameModel.from_state(state, len(checkpoint["hyper_parameters"]["class_names"]))


def labelling_device() -> torch.device:
    """Return where photos are labelled: on the GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
