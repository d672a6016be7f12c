"""Decisions of people on photos: checked, and which of them stand."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

LABELLED = ("accepted", "corrected")  # kinds with a label
KINDS = (*LABELLED, "no_class", "left_out", "undone")
MOST_LETTERS = 200  # of a person's name


@dataclass(frozen=True)
class Decision:
    """What a person says of a photo.

    Attributes:
        sha256: The photo's.
        kind: `accepted` and `corrected` have a label; with `no_class` no class fits, with
            `left_out` it is to be trained on under none, and `undone` takes back the person's
            decision before.
        label: The class, or None.
        at: When, UTC, in ISO 8601 with microseconds.

    Raises:
        ValueError: The kind is unknown, or it has a label too few or too many.
    """

    sha256: str
    kind: str
    label: str | None
    at: str

    def __post_init__(self) -> None:
        """Check it."""
        if self.kind not in KINDS:
            raise ValueError(f"kind={self.kind!r} is unknown; pass {', '.join(KINDS)}.")
        if self.kind in LABELLED and not self.label:
            raise ValueError(f"kind={self.kind!r} needs a label; pass one of the classes.")
        if self.kind not in LABELLED and self.label is not None:
            raise ValueError(
                f"kind={self.kind!r} takes no label, but label={self.label!r}; pass null."
            )
        object.__setattr__(self, "at", utc(self.at))


class Said(NamedTuple):
    """A decision that is stored.

    Attributes:
        person: Who.
        kind: As in `Decision`.
        label: As in `Decision`.
        at: As in `Decision`.
        stored: When it came here, by this machine's clock.
        blind: Whether no label was suggested.
    """

    person: str
    kind: str
    label: str | None
    at: str
    stored: str
    blind: bool


def utc(at: str) -> str:
    """Return a time in UTC, written so that times sort as texts do.

    Raises:
        ValueError: It is no time in ISO 8601, or has no zone.
    """
    try:
        time = datetime.fromisoformat(at)
        if time.tzinfo is None:
            raise ValueError
        return time.astimezone(UTC).isoformat(timespec="microseconds")
    except (ValueError, TypeError, OverflowError):
        raise ValueError(
            f"at={at!r} must be a time in ISO 8601 with its zone, such as 2026-11-28T09:30:00Z."
        ) from None


def check_person(person: str) -> str:
    """Return a person's name without outer space.

    Raises:
        ValueError: It is empty or too long.
    """
    name = person.strip()
    if not name or len(name) > MOST_LETTERS:
        raise ValueError(
            f"person={person[:40]!r} must be a name of 1 to {MOST_LETTERS} letters; decisions are "
            "kept with it."
        )
    return name


def standing(said: Iterable[Said]) -> dict[str, Said]:
    """Return the decision of each person on one photo that stands.

    The last of a person counts; `undone` takes one back, so that the one before it counts again.

    Args:
        said: In the order of time.
    """
    by_person: dict[str, list[Said]] = {}
    for each in said:
        before = by_person.setdefault(each.person, [])
        if each.kind != "undone":
            before.append(each)
        elif before:
            before.pop()
    return {person: stack[-1] for person, stack in by_person.items() if stack}


def agreed(by_person: dict[str, Said]) -> Said | None:
    """Return the decision of all who have decided on a photo, the latest of equal ones.

    Returns:
        None where they disagree, or nobody has decided.
    """
    if len({_meaning(each) for each in by_person.values()}) != 1:
        return None
    return max(by_person.values(), key=lambda each: each.at)


def _meaning(said: Said) -> str:
    return said.label or said.kind
