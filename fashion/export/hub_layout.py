"""A network as timm and Transformers load it: `config.json` and `model.safetensors`."""

import io
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save
from torch import nn

from fashion.bundles.manifest import HUB_CONFIG, HUB_WEIGHTS
from fashion.export.graph import Part
from fashion.labelling.photos import Photo
from fashion.models.backbone import normalise, pretrained_cfg
from fashion.models.heads import names_of_heads

CROPS = {"squash": "squash", "pad": "border"}  # timm's words for what our fits do
BATCH = 16


def why_not(parts: Sequence[Part]) -> str | None:
    """Return why timm's layout can't hold a bundle's networks, in words; None where it can."""
    if len(parts) > 1:
        return "timm's layout holds one network, and this bundle averages several"
    if parts[0].heads.attributes:
        return "timm's layout holds the classes of one label, and this bundle tells attributes, too"
    layers = [_last_layers(parts[0].network, head) for head in _heads(parts[0])]
    if not layers or any(len(names) != 1 for names in layers):
        return "its network has no single last layer, which could take the temperature"
    return None


def write_layout(
    part: Part, folder: Path, preprocessing: Mapping[str, Any], license_id: str | None
) -> None:
    """Write both files. The head's weights are divided by the temperature.

    Args:
        part: The network.
        folder: Where they go.
        preprocessing: Of its photos.
        license_id: As the user has given it.
    """
    config = _config(part, preprocessing, license_id)
    text = json.dumps(config, indent=1, ensure_ascii=False) + "\n"
    (folder / HUB_CONFIG).write_text(text, encoding="utf-8")
    contiguous = torch.contiguous_format
    state = {
        key: value.clone(memory_format=contiguous)
        for key, value in part.network.state_dict().items()
    }
    for head in _heads(part):
        for name in _last_layers(part.network, head):
            for kind in ("weight", "bias"):
                if f"{name}.{kind}" in state:
                    state[f"{name}.{kind}"] = state[f"{name}.{kind}"] / part.temperature
    (folder / HUB_WEIGHTS).write_bytes(save(state, metadata={"format": "pt"}))


class HubNetwork:
    """The network of a folder, as timm loads it.

    Args:
        folder: With both files.
    """

    def __init__(self, folder: Path) -> None:
        with TemporaryDirectory() as place:
            link = Path(place, "hub")  # timm cuts a path at ? and #
            link.symlink_to(folder.absolute())
            network: Any = timm.create_model(f"local-dir:{link}", pretrained=True).eval()
        config: Any = timm.data.resolve_model_data_config(network)  # type: ignore[no-untyped-call]
        self._network = network
        self._mean, self._std = (
            torch.tensor(config[key]).reshape(1, 3, 1, 1) for key in ("mean", "std")
        )
        self._transform = timm.data.create_transform(**config, is_training=False)

    def of_squares(self, squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return probabilities `(B, K)` for photos as this project decodes them."""
        photos = torch.from_numpy(squares).permute(0, 3, 1, 2)
        return self._probabilities(normalise(photos, self._mean, self._std))

    def of_files(self, contents: Sequence[bytes]) -> NDArray[np.float32]:
        """Return probabilities `(B, K)` for photos as timm's own transform decodes them.

        Those of one that it can't decode are NaN.
        """
        inputs = [self._input(content) for content in contents]
        decoded = [each for each in inputs if each is not None]
        rows = iter(self._probabilities(torch.stack(decoded)) if decoded else ())
        nothing = np.full(self._network.num_classes, np.nan, np.float32)
        return np.stack([nothing if each is None else next(rows) for each in inputs])

    def _input(self, content: bytes) -> torch.Tensor | None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's advice on palettes
            try:
                tensor: torch.Tensor = self._transform(
                    Image.open(io.BytesIO(content)).convert("RGB")
                )
            except (OSError, ValueError):  # of a photo a pixel wide nothing is left, for one
                return None
        return tensor

    def _probabilities(self, inputs: torch.Tensor) -> NDArray[np.float32]:
        with torch.inference_mode():
            probabilities: NDArray[np.float32] = self._network(inputs).softmax(dim=1).numpy()
        return probabilities


def timm_s_way(
    network: HubNetwork, photos: Sequence[Photo], ours: NDArray[np.float32]
) -> dict[str, Any]:
    """Measure how far timm's own transform leads to what this project's decoder does.

    Args:
        network: The folder's.
        photos: N that can be decoded.
        ours: Their probabilities by the bundle, `(N, K)`.

    Returns:
        `photos`; `same_label`, the share of them that get the same one; and `max_difference`, the
        largest of a probability.
    """
    theirs = np.concatenate(
        [network.of_files([photo.read() for photo in some]) for some in _batches(photos)]
    )
    decoded = ~np.isnan(theirs).any(axis=1)
    same = decoded & (theirs.argmax(axis=1) == ours.argmax(axis=1))
    differences = np.abs(theirs - ours)[decoded]
    return {
        "photos": len(photos),
        "same_label": round(float(same.mean()), 4),
        "max_difference": float(differences.max()) if len(differences) else None,
    }


def _batches(photos: Sequence[Photo]) -> Iterator[Sequence[Photo]]:
    return (photos[first : first + BATCH] for first in range(0, len(photos), BATCH))


def _config(part: Part, preprocessing: Mapping[str, Any], license_id: str | None) -> dict[str, Any]:
    """Return what `config.json` has; which keys timm and Transformers read is theirs to say.

    `num_classes` must not be among `model_args`, or Transformers passes it twice.
    """
    cfg, side, num_classes = (
        pretrained_cfg(part.backbone),
        preprocessing["input_size"],
        len(part.class_names),
    )
    size = {"img_size": side} if cfg.fixed_input_size else {}
    network: Any = part.network
    return {
        "architecture": part.backbone.partition(".")[0],
        "num_classes": num_classes,
        "num_features": network.num_features,
        "label_names": list(part.class_names),
        "model_args": {"in_chans": 3, **size},
        "pretrained_cfg": {
            "tag": "fashion",
            "custom_load": False,
            "input_size": [3, side, side],
            "fixed_input_size": cfg.fixed_input_size,
            "interpolation": preprocessing["interpolation"],
            "crop_pct": 1.0,
            "crop_mode": CROPS[preprocessing["fit"]],
            "mean": part.mean.flatten().tolist(),
            "std": part.std.flatten().tolist(),
            "num_classes": num_classes,
            "pool_size": None,
            "first_conv": cfg.first_conv,
            "classifier": cfg.classifier,
            **({"license": license_id} if license_id else {}),
        },
    }


def _heads(part: Part) -> tuple[str, ...]:
    return names_of_heads(part.network)


def _last_layers(network: nn.Module, head: str) -> list[str]:
    """Return the names of a head's layers with weights to divide."""
    return [
        name
        for name, module in network.named_modules()
        if f"{name}.".startswith(f"{head}.") and isinstance(module, (nn.Linear, nn.Conv2d))
    ]
