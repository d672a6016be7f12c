"""Names on which a bundle is proved: none, ordinary ones, and what nobody would call a product."""

from collections.abc import Mapping, Sequence
from typing import Any

from fashion.names.masking import Mask

ORDINARY = ("Puma Men Navy Blue", "Women Black Printed", "Boys Red Striped Cotton", "grey unisex")
HOSTILE = (
    "",
    " \t\r\n",
    "'--'; DROP TABLE names;--",
    "=cmd|'/c calc'!A0",
    "\x00\x01 nul \x7f",
    "\ud800 lone \udfff surrogates",
    "\u202e reversed \u200b zero \u00ad width",
    "\uff26\uff35\uff2c\uff2c width, Café, İstanbul, ΑΣ",
    "日本語 のシャツ 한국어 рубашка शर्ट",
    "\U0001f455\U0001f45f \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "men " * 2_000,
    "x" * 50_000,
    "é" * 999 + " blue",
)
MOST_TOLD = 40


def parity_names(mask: Mask, record: object) -> list[str]:
    """Return names of all kinds, in an order.

    Args:
        mask: Of the model; the words that it takes out are among them.
        record: What the checkpoint says of its names, whose words are known to tell classes.
    """
    tied = record.get("tied", []) if isinstance(record, Mapping) else []
    known = [str(row[0]) for row in tied[:MOST_TOLD]]
    labels = list(mask.labels[:MOST_TOLD])
    together = [" ".join(pair) for pair in zip(known, [*labels, *known], strict=False)]
    return [*ORDINARY, *HOSTILE, *known, *labels, *together]


def name_for(names: Sequence[str], place: int) -> str:
    """Return the name of the photo at a place: each in turn, from the first again."""
    return names[place % len(names)] if names else ""


def named_outcome(model: Any, outcome: Any, name: str) -> Any:  # noqa: ANN401 - or what is wrong
    """Return what photo and name say, or what is wrong with the photo."""
    if isinstance(outcome, str):
        return outcome
    k = len(model.bias)
    return model.join(outcome[None, :k], [name])[0][0]
