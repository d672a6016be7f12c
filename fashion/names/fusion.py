"""What photo and name say, joined: late, by two weights of what each has decided by itself."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fashion.metrics.scaling import log_softmax, logits_of

MOST = 20.0  # of either weight


@dataclass(frozen=True)
class Fusion:
    """`log p` of both is that of the photo and that of the name, weighted, and made to sum to 1.

    Attributes:
        photo: The weight of the photo's calibrated log-probabilities, above 0.
        name: That of the name's, 0 or more.

    Raises:
        ValueError: A weight is out of range.
    """

    photo: float
    name: float

    def __post_init__(self) -> None:
        """Refuse weights that turn what was said around."""
        for key, low in (("photo", 1 / MOST), ("name", 0)):
            weight = getattr(self, key)
            if not isinstance(weight, float) or not low <= weight <= MOST:
                raise ValueError(f"the {key}'s weight is {weight!r}; expected {low} to {MOST}.")

    def join(
        self, of_photo: NDArray[np.float32], of_name: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Return probabilities `(N, K)` by photo and name.

        Args:
            of_photo: Calibrated probabilities, `(N, K)`.
            of_name: Log-probabilities, `(N, K)`; a row of NaN is that of a photo without a name,
                whose probabilities stay what they are.
        """
        joined = np.array(of_photo, np.float32)
        named = ~np.isnan(of_name).any(axis=1)
        if named.any():
            logits = self.photo * logits_of(of_photo[named]) + self.name * of_name[named]
            joined[named] = np.exp(log_softmax(logits))
        return joined
