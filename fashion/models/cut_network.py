"""The two sides of a cut network as a run computes them, each at its fastest.

The frozen side is a copy without gradients, in the type that the run computes in; the trainable
side is made of the network's own layers. In bfloat16 the frozen side's BatchNorms are folded. In
float32 they aren't: folding rounds otherwise, a ReLU near zero may flip by that, and training would
no longer be that of the whole network to the last digits. Compiling keeps them.
"""

import logging
import shutil
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, fx, nn
from torch._inductor import config as inductor_config

from fashion.models.backbone import normalise
from fashion.models.cut import Cut
from fashion.models.heads import without_autocast

PIXELS_A_THREAD = 2**17  # of photos computed at once on a CPU
MIN_PHOTOS_TO_COMPILE = 20_000  # fewer than these gain less time than the compiler takes
log = logging.getLogger(__name__)


class CutNetwork:
    """Frozen and trainable side of a network; `prepare` comes before any use.

    Args:
        network: Stays as it is and is trained in place.
        cut: Where it is cut.
        mean: Of the photos that it expects, `(1, 3, 1, 1)` in [0, 1].
        std: As `mean`.
    """

    def __init__(self, network: nn.Module, cut: Cut, mean: Tensor, std: Tensor) -> None:
        self.network = network
        self.cut = cut
        self.mean, self.std = mean, std
        self.dtype = torch.float32
        self._made_of: tuple[object, ...] = ()
        self._compiled = False
        self._frozen: Callable[..., tuple[Tensor, ...]]
        self._tails: dict[bool, Callable[..., Tensor]]

    def prepare(
        self,
        device: torch.device,
        dtype: torch.dtype,
        *,
        compiled: bool = False,
        compiled_tail: bool = False,
    ) -> None:
        """Follow the network to where it is now and to the weights that it has now.

        Args:
            device: Where both sides run.
            dtype: That the frozen side computes in.
            compiled: Compile the frozen side with PyTorch's inductor; once compiled it stays so.
            compiled_tail: Compile the training of the other side, in bfloat16 alone: in float32 it
                is that of the whole network to the last digits.
        """
        self._tails = {mode: self.cut.tail(self.network, training=mode) for mode in (True, False)}
        if compiled_tail and dtype.itemsize < 4:
            self._tails[True] = _compile_tail(self._tails[True])
        made_of = (self.cut.digest(self.network), device, dtype)
        if made_of == self._made_of and (self._compiled or not compiled):
            return
        fold = dtype.itemsize < 4
        layers = self.cut.frozen(self.network, dtype, fold=fold)
        side = _FrozenSide(layers, self.mean, self.std, dtype).to(device)
        self._frozen = _compile(side, freeze=fold) if compiled else side
        self.dtype, self._made_of, self._compiled = dtype, made_of, compiled

    def key(self) -> str:
        """Return what decides `frozen` beside the photos: weights, cut, input, precision."""
        inputs = f"{self.mean.tolist()} {self.std.tolist()}"
        return f"{self.cut.digest(self.network)} {inputs} {self.dtype}"

    def frozen(self, photos: Tensor) -> tuple[Tensor, ...]:
        """Return what crosses the cut for uint8 `photos` `(B, 3, H, W)`."""
        # One state for all callers, or each would have the side compiled anew.
        with torch.inference_mode(False), torch.no_grad(), without_autocast(photos.device):
            parts = torch.split(photos, _photos_at_once(photos, self.dtype))
            return _joined([self._frozen(part) for part in parts])

    def trainable(self, features: Sequence[Tensor], *, training: bool) -> Tensor:
        """Return logits `(B, K)`."""
        logits: Tensor = self._tails[training](*(part.to(self.dtype) for part in features))
        return logits


class _FrozenSide(nn.Module):
    """The frozen layers with what turns photos into their input, so that both are compiled."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, layers: fx.GraphModule, mean: Tensor, std: Tensor, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.layers = layers
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.dtype = dtype

    def forward(self, photos: Tensor) -> tuple[Tensor, ...]:
        images = normalise(photos, self.mean, self.std)
        images = images.to(self.dtype, memory_format=torch.channels_last)
        features: tuple[Tensor, ...] = self.layers(images)
        return features


def can_compile(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether compiling a frozen side is possible there and known to be faster."""
    on_cpu = device.type == "cpu" and dtype in (torch.float32, torch.bfloat16)
    return on_cpu and any(map(shutil.which, ("c++", "g++", "clang++")))


def _photos_at_once(photos: Tensor, dtype: torch.dtype) -> int:
    """Return how many photos to compute at once in `dtype`, a divisor of how many there are.

    On a CPU the activations of a few large photos stay in its caches, where a batch's don't: one a
    thread in float32 and two in bfloat16, measured at 224 to 331 px. It is never one alone if it
    can be two: for one PyTorch may take kernels that round otherwise.
    """
    if photos.device.type != "cpu":
        return len(photos)
    pixels = photos.shape[2] * photos.shape[3]
    a_thread = max(4 // dtype.itemsize, PIXELS_A_THREAD // pixels)
    most = min(len(photos), max(2, torch.get_num_threads() * a_thread))
    return max(number for number in range(1, most + 1) if len(photos) % number == 0)


def _joined(parts: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    if len(parts) == 1:
        return parts[0]
    return tuple(torch.cat(pieces) for pieces in zip(*parts, strict=True))


def _compile(side: nn.Module, *, freeze: bool) -> Callable[..., tuple[Tensor, ...]]:
    """Compile a frozen side.

    Args:
        side: Stays as it is.
        freeze: Make its weights constants, laid out for the processor once and joined with what
            follows a convolution, BatchNorms included.
    """
    log.info("The frozen side is compiled with its first batch, which takes up to a few minutes")
    compiled = torch.compile(side, dynamic=False)

    def frozen(photos: Tensor) -> tuple[Tensor, ...]:
        # As an option of `torch.compile` it comes too late: the graph's capture heeds it, too.
        with inductor_config.patch(freezing=freeze):
            features: tuple[Tensor, ...] = compiled(photos)
        return features

    return frozen


def _compile_tail(tail: Callable[..., Tensor]) -> Callable[..., Tensor]:
    compiled = torch.compile(tail, dynamic=False)

    def trained(*features: Tensor) -> Tensor:
        # Dropout draws what it would without the compiler.
        with inductor_config.patch(fallback_random=True):
            logits: Tensor = compiled(*features)
        return logits

    return trained
