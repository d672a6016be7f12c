"""Label photos with one model or several, whatever computes their probabilities."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fashion.attributes import Heads
from fashion.catalogue.images import decode_image, decode_or_say_why
from fashion.cores import usable_cores
from fashion.labelling.photos import Photo
from fashion.metrics.scaling import mean_probabilities

Decoded = list[NDArray[np.uint8]]  # a photo in each of the ways that the models want it


class Model(Protocol):
    """What tells the classes of decoded photos.

    Attributes:
        class_names: The K labels in the order of their probabilities.
        heads: These, and the attributes that it tells beside them.
        preprocessing: Arguments of `fashion.catalogue.images.decode_image`.
    """

    @property
    def class_names(self) -> Sequence[str]:
        """See above."""

    @property
    def heads(self) -> Heads:
        """See above."""

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """See above."""

    def probabilities(self, photos: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return probabilities `(B, W)` of all heads for `photos` `(B, H, W, 3)`, `B >= 1`.

        They are calibrated where that is known.
        """

    def threshold(self, precision: float) -> float:
        """Return the confidence that a label needs to be right as often as is wanted.

        Raises:
            ValueError: The precision is not in (0, 1] or out of reach, or nothing is known of it.
        """


class Labeller:
    """One model, or several of the same classes whose probabilities are averaged.

    Args:
        models: One at least.

    Attributes:
        class_names: Those of the first model, in its order.
        heads: The same of its attributes.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        self.models = models
        self.class_names = list(models[0].class_names)
        self.heads = models[0].heads
        # Each way of decoding once.
        self._ways: list[Mapping[str, Any]] = []
        for model in models:
            if model.preprocessing not in self._ways:
                self._ways.append(model.preprocessing)

    def label(
        self, photos: Sequence[Photo], batch_size: int, first: int = 0
    ) -> Iterator[NDArray[Any] | str]:
        """Yield each photo's probabilities, or what is wrong with it, from the `first` one on.

        The probabilities, `(W,)` float32, are the mean over the models, in the order of
        `heads`. While a batch is computed, the next is decoded.
        """
        with ThreadPoolExecutor(usable_cores()) as pool:
            ahead = pool.map(self._decode, photos[first : first + batch_size])
            for start in range(first + batch_size, len(photos) + batch_size, batch_size):
                decoded = list(ahead)
                ahead = pool.map(self._decode, photos[start : start + batch_size])
                readable = [images for images in decoded if not isinstance(images, str)]
                labelled = iter(self._mean_probabilities(readable) if readable else ())
                for images in decoded:
                    yield images if isinstance(images, str) else next(labelled)

    def threshold(self, precision: float) -> float:
        """Return the confidence that a label needs to be right as often as is wanted.

        Raises:
            ValueError: As `Model.threshold`, or there are several models.
        """
        if len(self.models) > 1:
            raise ValueError(
                f"precision={precision} needs the threshold of one model; pass one ckpt_path."
            )
        return self.models[0].threshold(precision)

    def _decode(self, photo: Photo) -> Decoded | str:
        try:
            content = photo.read()
        except (OSError, ValueError) as error:
            return str(error)
        images: Decoded = []
        for way in self._ways:
            image = decode_or_say_why(partial(decode_image, content, **way))
            if isinstance(image, str):
                return image
            images.append(image)
        return images

    def _mean_probabilities(self, photos: Sequence[Decoded]) -> NDArray[np.float32]:
        parts = []
        for model in self.models:
            way = self._ways.index(model.preprocessing)
            probabilities = model.probabilities(np.stack([images[way] for images in photos]))
            columns = {label: column for column, label in enumerate(model.heads.labels)}
            parts.append(probabilities[:, [columns[label] for label in self.heads.labels]])
        return mean_probabilities(parts)
