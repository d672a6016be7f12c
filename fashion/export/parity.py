"""The gate: a folder becomes a bundle only if it labels photos as its checkpoints do."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashion.attributes import Heads
from fashion.bundles.verify import TOLERANCE
from fashion.catalogue.images import decode_image, decode_or_say_why
from fashion.export.fresh_process import BATCH, LABELS
from fashion.export.hub_layout import HubNetwork, timm_s_way
from fashion.export.parity_photos import ParityPhotos
from fashion.labelling.labeller import Labeller, Model
from fashion.labelling.photos import Photo
from fashion.wording import first_of, many

NEAR = 2e-4  # apart, two likeliest may change places within the tolerance
Outcome = NDArray[np.float32] | str  # a photo's probabilities `(K,)`, or what is wrong with it


@dataclass(frozen=True)
class Agreement:
    """How two ways of labelling the same photos agree.

    Attributes:
        max_difference: The largest of a probability.
        same_label: How many photos get the same one.
        near: How many get another one where the two likeliest are closer than `NEAR`.
        unreadable: How many neither can read.
        faults: What differs by more than it may, a line a photo.
    """

    max_difference: float
    same_label: int
    near: int
    unreadable: int
    faults: list[str]


@dataclass(frozen=True)
class Proof:
    """What the gate has seen.

    Attributes:
        facts: For `bundle.json` and the card.
        selftest: For the self-test's `expected.json`, an entry for each odd photo.
    """

    facts: dict[str, Any]
    selftest: list[dict[str, Any]]


def prove(bundle: Path, models: Sequence[Model], photos: ParityPhotos, *, has_hub: bool) -> Proof:
    """Label photos by a bundle, in a process of its own, and by its checkpoints, and compare.

    Args:
        bundle: Its folder, whose `bundle.json` names the graph at least.
        models: Of the checkpoints, computed in float32 on the host.
        photos: What is labelled.
        has_hub: Whether timm's layout is there, which is then held to the same.

    Raises:
        ValueError: They don't agree, or the bundle can't be used.
    """
    with TemporaryDirectory() as place:
        kept = _copies([*photos.chosen, *photos.odd], Path(place))
        num_chosen = len(kept) - len(photos.odd)
        theirs = _labelled_apart(bundle, Path(place))
        ours = list(Labeller(models).label(kept, BATCH))
        agreement = compare([photo.name for photo in kept], ours, theirs, models[0].heads)
        _check(agreement, len(kept), "the graph")
        squares = [_square(photo, models[0]) for photo in kept]
        facts = {
            "photos": num_chosen,
            "source": photos.source,
            "odd_photos": len(photos.odd),
            "unreadable": agreement.unreadable,
            "max_difference": agreement.max_difference,
            "same_label": agreement.same_label,
            "near_ties": agreement.near,
        }
        if has_hub:
            heads = models[0].heads
            facts["timm"] = _prove_hub(bundle, kept, squares, ours, num_chosen, heads)
        odd = zip(photos.odd, squares[num_chosen:], ours[num_chosen:], strict=True)
        return Proof(facts, [_expected(*each) for each in odd])


def compare(
    names: Sequence[str], ours: Sequence[Outcome], theirs: Sequence[Outcome], heads: Heads
) -> Agreement:
    """Compare what two ways of labelling say of photos, of the same classes.

    A label and all attributes are together one label here.
    """
    largest, same, near, unreadable, faults = 0.0, 0, 0, 0, []
    for name, one, other in zip(names, ours, theirs, strict=True):
        if isinstance(one, str) or isinstance(other, str):
            if isinstance(one, str) and isinstance(other, str):
                unreadable += 1
            else:
                faults.append(f"{name} is readable for one of them alone")
            continue
        difference = float(np.abs(one - other).max())
        largest = max(largest, difference)
        others = _others(one, other, heads)
        if not difference <= TOLERANCE:  # it may be NaN
            faults.append(f"{name} has a probability that differs by {difference:.1e}")
        elif not others:
            same += 1
        elif max(others) < NEAR:
            near += 1
        else:
            faults.append(f"{name} gets another label")
    return Agreement(largest, same, near, unreadable, faults)


def _others(one: NDArray[np.float32], other: NDArray[np.float32], heads: Heads) -> list[float]:
    """Return, of each head that gets another label, how far apart the two likeliest are."""
    pairs = zip(heads.outputs(one[None]), heads.outputs(other[None]), strict=True)
    return [
        float(np.diff(np.sort(mine[0])[-2:])[0])
        for mine, theirs in pairs
        if mine.argmax() != theirs.argmax()
    ]


def _check(agreement: Agreement, num_photos: int, what: str) -> None:
    if agreement.faults:
        raise ValueError(
            f"No bundle is written, for {what} doesn't label as ckpt_path does: of "
            f"{many(num_photos, 'photo')} {len(agreement.faults):,} differ "
            f"({first_of(agreement.faults, 3)}). Label by fashion predict ckpt_path=… instead."
        )


def _copies(photos: Sequence[Photo], place: Path) -> list[Photo]:
    """Copy photos into a folder, as `fresh_process` reads them; files that can't be read are not.

    A zip may have damaged members, of which there is nothing to compare.
    """
    kept: list[Photo] = []
    for photo in photos:
        path = place / str(len(kept))
        try:
            path.write_bytes(photo.read())
        except (OSError, ValueError):
            continue
        kept.append(Photo(photo.name, path.read_bytes))
    return kept


def _labelled_apart(bundle: Path, place: Path) -> list[Outcome]:
    """Label the files of a folder in a process without what the bundle was made with."""
    words = ["-m", "fashion.export.fresh_process", str(bundle), str(place)]
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1] if lines else f"it ended with {done.returncode}"
        raise ValueError(f"No bundle is written, for a process of its own can't use it: {reason}")
    with np.load(place / LABELS, allow_pickle=False) as labels:
        errors, probabilities = labels["errors"], labels["probabilities"]
    return [str(error) or row for error, row in zip(errors, probabilities, strict=True)]


def _square(photo: Photo, model: Model) -> NDArray[np.uint8] | str:
    return decode_or_say_why(partial(decode_image, photo.read(), **model.preprocessing))


def _prove_hub(
    folder: Path,
    photos: Sequence[Photo],
    squares: Sequence[NDArray[np.uint8] | str],
    ours: Sequence[Outcome],
    num_chosen: int,
    heads: Heads,
) -> dict[str, Any]:
    """Compare timm's network on our pixels, and measure what its own decoding changes."""
    network = HubNetwork(folder)
    readable = [place for place, square in enumerate(squares) if not isinstance(square, str)]
    theirs = _in_batches(network, [squares[place] for place in readable])
    names = [photos[place].name for place in readable]
    own = [ours[place] for place in readable]
    agreement = compare(names, own, theirs, heads)
    _check(agreement, len(readable), "the network in timm's layout")
    facts: dict[str, Any] = {"max_difference_on_same_pixels": agreement.max_difference}
    for kind, places in (
        ("own_decoding", [place for place in readable if place < num_chosen]),
        ("own_decoding_of_odd", [place for place in readable if place >= num_chosen]),
    ):
        if places:
            expected = np.stack([np.asarray(ours[place]) for place in places])
            facts[kind] = timm_s_way(network, [photos[place] for place in places], expected)
    return facts


def _in_batches(network: HubNetwork, squares: Sequence[Any]) -> list[Outcome]:
    def rows() -> Iterator[NDArray[np.float32]]:
        for first in range(0, len(squares), BATCH):
            yield from network.of_squares(np.stack(squares[first : first + BATCH]))

    return list(rows())


def _expected(photo: Photo, square: NDArray[np.uint8] | str, outcome: Outcome) -> dict[str, Any]:
    if isinstance(square, str) or isinstance(outcome, str):
        return {"photo": photo.name, "error": "unreadable"}
    return {
        "photo": photo.name,
        "pixels_sha256": hashlib.sha256(square.tobytes()).hexdigest(),
        "probabilities": [round(each, 8) for each in outcome.tolist()],
    }
