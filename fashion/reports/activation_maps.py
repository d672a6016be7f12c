"""Where a network looks: class-activation maps of photos."""

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
import numpy as np
from captum.attr import LayerGradCam
from numpy.typing import NDArray
from timm.layers import SelectAdaptivePool2d
from torch import Tensor, nn
from torch.nn import functional as F

from fashion.training.classifier import ProductClassifier

COLOUR_MAP = "inferno"
GREYED = 0.6  # how much of a photo's colour goes, so that the map's can be told from it
MAX_OPACITY = 0.7


def can_map(classifier: ProductClassifier) -> bool:
    """Return whether a network has maps to show.

    It needs one global pooling of maps `(B, C, h, w)` in front of its head, as timm's convolutional
    networks have. Vision transformers have tokens instead, and some hybrids, such as Swin, keep
    their channels last.
    """
    return _pooling(classifier.backbone) is not None


def class_activation_maps(
    classifier: ProductClassifier, photos: Tensor, targets: Tensor
) -> NDArray[np.float32]:
    """Return how much each place of the photos speaks for a class, by Grad-CAM.

    The last maps in front of the network's pooling are added up, each with the mean gradient of the
    class's logit as its weight, and what speaks against the class is left out. They are a few
    places wide and high, and stretched over the photo. The classifier is left as it is, also its
    gradients.

    Args:
        classifier: On any device; computes as in evaluation, with gradients where they are needed.
        photos: `(B, 3, H, W)` uint8, on its device.
        targets: `(B,)` int64, the class asked about for each photo.

    Returns:
        `(B, H, W)` in [0, 1], 1 where the photo's own map is strongest; zeros where nothing
        speaks for the class.

    Raises:
        ValueError: The network has no such maps; see `can_map`.

    References:
        Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks, 2017.
    """
    pooling = _pooling(classifier.backbone)
    if pooling is None:
        name = classifier.hparams["backbone"]
        raise ValueError(
            f"model.backbone={name!r} pools no maps, so there are none to show; ask can_map first."
        )
    with _evaluating(classifier):
        maps = LayerGradCam(classifier, pooling).attribute(
            photos, targets, attribute_to_layer_input=True, relu_attributions=True
        )
    maps = F.interpolate(maps.detach().float(), photos.shape[2:], mode="bilinear")[:, 0]
    strongest = maps.amax(dim=(1, 2), keepdim=True)
    scaled: NDArray[np.float32] = (maps / strongest.where(strongest > 0, 1)).cpu().numpy()
    return scaled


def overlay(photo: NDArray[np.uint8], strength: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a photo, greyed a little, under its map, which covers it the more the stronger it is.

    Args:
        photo: `(H, W, 3)`.
        strength: `(H, W)` in [0, 1], as `class_activation_maps` returns it.
    """
    grey = photo.mean(axis=2, keepdims=True)
    faded = (1 - GREYED) * photo + GREYED * grey
    colours = 255 * mpl.colormaps[COLOUR_MAP](strength)[:, :, :3]
    opacity = MAX_OPACITY * strength[:, :, None]
    mixed: NDArray[np.uint8] = ((1 - opacity) * faded + opacity * colours).round().astype(np.uint8)
    return mixed


def _pooling(network: nn.Module) -> nn.Module | None:
    """Return the network's only pooling of `(B, C, h, w)`, or None where there is no such one."""
    poolings = [each for each in network.modules() if isinstance(each, SelectAdaptivePool2d)]
    channels_first = getattr(network, "output_fmt", "NCHW") == "NCHW"
    return poolings[0] if len(poolings) == 1 and channels_first and poolings[0].pool_type else None


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Put every module into evaluation mode, and back into its own afterwards."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
