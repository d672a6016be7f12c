"""What people agreed on for each photo of a review folder, and where they disagree."""

from collections.abc import Iterator
from typing import NamedTuple

from fashion.review.decisions import Said, agreed, standing
from fashion.review.review_store import ReviewStore


class Outcome(NamedTuple):
    """What was decided on a photo.

    Attributes:
        sha256: Of its file.
        name: As it was sent, one of several.
        by_person: The decision of each person that stands, one at least.
    """

    sha256: str
    name: str
    by_person: dict[str, Said]

    @property
    def agreed(self) -> Said | None:
        """What all of them say; None where they disagree."""
        return agreed(self.by_person)

    def describe(self) -> str:
        """Return who says what, in words."""
        said = (
            f"{person}: {each.label or each.kind.replace('_', ' ')}"
            for person, each in sorted(self.by_person.items())
        )
        return f"{self.name} ({self.sha256[:12]}…) {', '.join(said)}"


def outcomes(store: ReviewStore) -> Iterator[Outcome]:
    """Yield the photos that somebody has decided on, in the order of their SHA-256."""
    said = store.decisions()
    query = (
        "SELECT sha256, (SELECT min(name) FROM names WHERE names.sha256 = photos.sha256) "
        "FROM photos WHERE decided = 1 ORDER BY sha256"
    )
    for sha256, name in store.rows(query):
        yield Outcome(sha256, name, standing(said[sha256]))
