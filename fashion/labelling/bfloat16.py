"""A network in bfloat16 on the processor: folded, compiled, its head in float32."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fashion.cores import limit_threads
from fashion.models.backbone import set_trainable
from fashion.models.cut import NoCutError, find_cut
from fashion.models.cut_network import CutNetwork, can_compile

BATCH = 16  # photos, the last ones filled up, since the compiler makes code for one number of them
CPU = torch.device("cpu")


class Bfloat16Network:
    """A network that computes all but its head in bfloat16.

    Args:
        network: A timm network with its weights, which is changed in place.
        mean: Of the photos that it expects, `(1, 3, 1, 1)` in [0, 1].
        std: As `mean`.
        input_size: Side of its photos, in pixels.

    Raises:
        ValueError: Its head can't be parted from the rest.
    """

    def __init__(self, network: nn.Module, mean: Tensor, std: Tensor, input_size: int) -> None:
        limit_threads()
        set_trainable(network.eval(), [])  # the head alone
        try:
            cut = find_cut(network, input_size)
        except NoCutError as error:
            raise ValueError(
                f"bfloat16: the network can't be compiled, as {error}. Leave bfloat16 out."
            ) from error
        self._sides = CutNetwork(network, cut, mean, std)
        self._sides.prepare(CPU, torch.bfloat16, compiled=can_compile(CPU, torch.bfloat16))
        self._head = cut.tail(network, training=False)

    def probabilities(self, photos: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return probabilities `(B, K)` for `photos` `(B, H, W, 3)`, `B >= 1`."""
        parts = [self._of_batch(photos[n : n + BATCH]) for n in range(0, len(photos), BATCH)]
        return np.concatenate(parts)

    def _of_batch(self, photos: NDArray[np.uint8]) -> NDArray[Any]:
        filled = np.zeros((BATCH, *photos.shape[1:]), np.uint8)
        filled[: len(photos)] = photos
        with torch.inference_mode():
            features = self._sides.frozen(torch.from_numpy(filled).permute(0, 3, 1, 2))
            logits = self._head(*(part.float() for part in features))
            probabilities: NDArray[np.float32] = logits.softmax(dim=1).numpy()
        return probabilities[: len(photos)]
