"""What a model tells apart: a photo's label, and the values of its attributes.

The outputs of all heads stand side by side in one array, those of the label first; which of them
are whose is said here alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MISSING = -1  # the target of a photo that has no value


@dataclass(frozen=True)
class Heads:
    """The heads of a model, which are H, with W outputs together.

    Attributes:
        class_names: The K classes of the label, in the order of their outputs.
        attributes: The values of each attribute, by the name of its column; none for a model that
            tells the label alone.
    """

    class_names: tuple[str, ...]
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, class_names: Sequence[str], attributes: Mapping[str, Sequence[str]] | None = None
    ) -> "Heads":
        """Return the heads of some names, in sequences of any kind."""
        others = {str(name): tuple(values) for name, values in (attributes or {}).items()}
        return cls(tuple(class_names), others)

    @property
    def names(self) -> tuple[tuple[str, ...], ...]:
        """What each head tells apart, the label's first."""
        return (self.class_names, *self.attributes.values())

    @property
    def width(self) -> int:
        """W."""
        return sum(map(len, self.names))

    def outputs(self, together: Any) -> list[Any]:  # noqa: ANN401 - an array or a tensor
        """Return the outputs of each head, views of `(N, W)`; a single head's are all of it."""
        if not self.attributes:
            return [together]
        parts, start = [], 0
        for names in self.names:
            parts.append(together[:, start : start + len(names)])
            start += len(names)
        return parts

    def targets(self, together: Any) -> list[Any]:  # noqa: ANN401
        """Return the targets of each head, each `(N,)`, of `(N, H)`, or `(N,)` of one head."""
        if not self.attributes:
            return [together]
        return [together[:, place] for place in range(len(self.names))]

    @property
    def labels(self) -> list[tuple[str, str]]:
        """What each output stands for: the attribute, empty for the label, and its value."""
        columns = zip(("", *self.attributes), self.names, strict=True)
        return [(attribute, name) for attribute, names in columns for name in names]

    def values(self, probabilities: Any) -> list[tuple[str, float]]:  # noqa: ANN401
        """Return the likeliest value of each attribute and its probability, by `(W,)` of all."""
        own = zip(self.names[1:], self.outputs(probabilities[None])[1:], strict=True)
        return [(names[part.argmax()], float(part.max())) for names, part in own]

    def plain(self) -> dict[str, list[str]]:
        """Return the attributes in lists, as files keep them."""
        return {name: list(values) for name, values in self.attributes.items()}
