"""A bundle's network in timm's layout, computed by PyTorch: on a GPU, or in bfloat16."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from safetensors.torch import load
from torch import Tensor, nn

from fashion.bundles.bundle_files import BundleFiles
from fashion.bundles.manifest import HUB_CONFIG, HUB_WEIGHTS
from fashion.labelling.bfloat16 import Bfloat16Network
from fashion.metrics.scaling import scale
from fashion.models.backbone import normalise

ARGUMENTS = ("global_pool", "img_size")  # of timm's, some of which would read other files


class HubModel:
    """A bundle's model, ready to label on a device.

    Args:
        files: The bundle's, `config.json` and `model.safetensors` among them.
        device: Where it is computed.

    Raises:
        ValueError: These two are no network of the bundle's classes.

    Attributes:
        class_names: This and the next two: see `fashion.labelling.labeller.Model`.
        heads: See above.
        preprocessing: See above.
    """

    def __init__(self, files: BundleFiles, device: torch.device) -> None:
        self.class_names: Sequence[str] = files.manifest.classes
        self.heads = files.manifest.heads
        self.preprocessing: Mapping[str, Any] = files.manifest.preprocessing
        self._calibration = files.manifest.calibration
        network, mean, std = read_network(files)
        self._network = network.eval().to(device)
        # The layout the photos come in; the type stub of Module.to lacks the argument.
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._mean, self._std = mean.to(device), std.to(device)

    def probabilities(self, photos: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return probabilities `(B, K)` for `photos`; see `fashion.labelling.labeller.Model`."""
        batch = torch.from_numpy(photos).permute(0, 3, 1, 2).to(self._mean.device)
        with torch.inference_mode():
            logits = self._network(normalise(batch, self._mean, self._std))
            probabilities: NDArray[np.float32] = logits.float().softmax(dim=1).cpu().numpy()
        return probabilities

    def threshold(self, precision: float) -> float:
        """Return the confidence that a label needs; see `fashion.labelling.labeller.Model`."""
        return self._calibration.threshold(precision)


class Bfloat16Model:
    """A bundle's model in bfloat16, ready to label on the processor.

    Args:
        files: As `HubModel`.

    Raises:
        ValueError: It wasn't tried in bfloat16, or see `HubModel`.

    Attributes:
        class_names: This and the next two: see `fashion.labelling.labeller.Model`.
        heads: See above.
        preprocessing: See above.
    """

    def __init__(self, files: BundleFiles) -> None:
        manifest = files.manifest
        if manifest.bfloat16 is None:
            raise ValueError(
                f"dtype=bfloat16: whether {files.subject} labels as well in bfloat16 isn't known; "
                "fashion export bfloat16=true finds out, or leave dtype out."
            )
        self.class_names: Sequence[str] = manifest.classes
        self.heads = manifest.heads
        self.preprocessing: Mapping[str, Any] = manifest.preprocessing
        self._calibration = manifest.bfloat16
        # The weights of the head are divided by the temperature in float32.
        self._temperature = (manifest.bfloat16.temperature or 1.0) / (
            manifest.calibration.temperature or 1.0
        )
        network, mean, std = read_network(files)
        self._network = Bfloat16Network(network, mean, std, self.preprocessing["input_size"])

    def probabilities(self, photos: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return probabilities `(B, K)` for `photos`; see `fashion.labelling.labeller.Model`."""
        return scale(self._network.probabilities(photos), self._temperature)

    def threshold(self, precision: float) -> float:
        """Return the confidence that a label needs; see `fashion.labelling.labeller.Model`."""
        return self._calibration.threshold(precision)


def read_network(files: BundleFiles) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a bundle's network, and mean and standard deviation of the photos that it expects.

    Raises:
        ValueError: `config.json` and `model.safetensors` are no network of the bundle's classes.
    """
    try:
        config = json.loads(files.read(HUB_CONFIG))
        network = timm.create_model(
            _known(config["architecture"]),
            num_classes=len(files.manifest.classes),
            **{key: value for key, value in config["model_args"].items() if key in ARGUMENTS},
        )
        network.load_state_dict(load(files.read(HUB_WEIGHTS)))
        mean, std = (
            torch.tensor(config["pretrained_cfg"][key]).reshape(1, 3, 1, 1)
            for key in ("mean", "std")
        )
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{files.subject}: {HUB_CONFIG} and {HUB_WEIGHTS} are no network of its classes "
            f"({reason})."
        ) from error
    return network, mean, std


def _known(architecture: str) -> str:
    """Return the name of a network that timm itself has, and that comes from nowhere else."""
    if not timm.is_model(architecture):
        raise KeyError(f"timm has no {architecture!r}")
    return architecture


def gpu() -> torch.device | None:
    """Return the GPU that PyTorch finds, if it finds one."""
    return torch.device("cuda") if torch.cuda.is_available() else None
