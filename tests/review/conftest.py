import hashlib
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from PIL import Image

from fashion.review.decisions import Decision
from fashion.review.review_store import ReviewStore

LATER = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "review"


@pytest.fixture
def store(folder):
    """A folder whose blind share is all sure photos."""
    store = ReviewStore(folder, blind=1.0)
    yield store
    store.close()


@pytest.fixture
def jpeg() -> Callable[..., bytes]:
    """Returns jpeg(number, size), a photo unlike those of other numbers."""

    def make(number: int, size: tuple[int, int] = (60, 80)) -> bytes:
        file = io.BytesIO()
        colour = (number * 37 % 256, number * 91 % 256, number * 151 % 256)
        Image.new("RGB", size, colour).save(file, "JPEG", comment=f"number {number}")
        return file.getvalue()

    return make


@pytest.fixture
def offer(jpeg):
    """Returns offer(store, number, label, sure=…), which offers a photo and returns its SHA-256."""

    def offered(store, number, label="Tops", confidence=0.6, **values):
        content = values.pop("content", None) or jpeg(number)
        sha256 = hashlib.sha256(content).hexdigest()
        defaults = {"name": f"{number}.jpg", "size": (60, 80), "sure": False, "model": "sha256:one"}
        labels = [(label, confidence), ("Shirts", (1 - confidence) / 2)]
        values = {**defaults, "labels": labels, "threshold": 0.9, **values}
        store.offer(content, sha256=sha256, **values)
        return sha256

    return offered


@pytest.fixture
def decide():
    """Returns decide(store, sha256, label, …), at a time after all before."""
    times = iter(range(10**9))

    def decided(store, sha256, label=None, person="anna", kind="corrected", **values):
        at = (LATER + timedelta(seconds=next(times))).isoformat()
        return store.decide(person, [Decision(sha256, kind, label, at)], **values)

    return decided
