"""The models of checkpoints, computed by PyTorch; the one module here that imports it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fashion.attributes import Heads
from fashion.cores import limit_threads
from fashion.metrics.scaling import Calibration
from fashion.models import checkpoints
from fashion.models.network import PhotoClassifier


class CheckpointModel:
    """A run's model, ready to label.

    Args:
        checkpoint: As `fashion.models.checkpoints.read` returns it.
        device: Where it is computed; None is `labelling_device`.

    Raises:
        ValueError: Its weights or its calibration are damaged.

    Attributes:
        class_names: This and the next two: see `fashion.labelling.labeller.Model`.
        heads: See above.
        preprocessing: See above.
        calibration: None where the checkpoint keeps none.
    """

    def __init__(self, checkpoint: Mapping[str, Any], device: torch.device | None = None) -> None:
        limit_threads()
        self._network = PhotoClassifier.restore(checkpoint).to(device or labelling_device())
        self.class_names: Sequence[str] = self._network.class_names
        self.preprocessing: dict[str, Any] = checkpoint["preprocessing"]
        self.heads = self._network.heads
        self.calibration = load_calibration(checkpoint)
        others = load_attribute_calibrations(checkpoint)
        self._calibrations = [self.calibration, *map(others.get, self.heads.attributes)]

    def probabilities(self, photos: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return probabilities `(B, W)` for `photos`; see `fashion.labelling.labeller.Model`."""
        batch = torch.from_numpy(photos).permute(0, 3, 1, 2).to(self._network.mean.device)
        with torch.inference_mode():
            logits = self.heads.outputs(self._network(batch).float())
            parts = [of_head.softmax(dim=1).cpu().numpy() for of_head in logits]
        calibrated = [
            calibration.calibrate(part) if calibration else part
            for part, calibration in zip(parts, self._calibrations, strict=True)
        ]
        return calibrated[0] if len(calibrated) == 1 else np.concatenate(calibrated, axis=1)

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
    labels = [sorted(heads_of(checkpoint).labels) for checkpoint in opened]
    for path, names in zip(ckpt_paths, labels, strict=True):
        if names != labels[0]:
            raise ValueError(
                f"ckpt_path={str(path)!r} tells other classes apart than "
                f"ckpt_path={str(ckpt_paths[0])!r}; pass checkpoints of the same classes."
            )
    return opened


def heads_of(checkpoint: Mapping[str, Any]) -> Heads:
    """Return what a checkpoint's model tells apart."""
    settings = checkpoint["hyper_parameters"]
    return Heads.of(settings["class_names"], settings.get("attributes"))


def load_calibration(checkpoint: Mapping[str, Any]) -> Calibration | None:
    """Return the calibration that a checkpoint keeps, if it keeps one.

    Raises:
        ValueError: What it keeps is none.
    """
    state = checkpoint.get("calibration")
    return None if state is None else Calibration.from_state(state)


def load_attribute_calibrations(checkpoint: Mapping[str, Any]) -> dict[str, Calibration]:
    """Return the calibrations of attributes that a checkpoint keeps, by their names.

    Raises:
        ValueError: One is none.
    """
    states = checkpoint.get("attribute_calibrations", {})
    return {name: Calibration.from_state(state) for name, state in states.items()}


def labelling_device() -> torch.device:
    """Return where photos are labelled: on the GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
