import io

import numpy as np
import pytest
from PIL import Image

from fashion.attributes import Heads
from fashion.labelling.labeller import Labeller
from fashion.labelling.photos import Photo

GREYS = (10, 80, 150, 220)


class Brightness:
    """A model that is the surer of `bright` the brighter a photo is; it notes what it is given."""

    def __init__(self, class_names=("bright", "dark"), input_size=8):
        self.class_names = list(class_names)
        self.heads = Heads.of(class_names)
        self.preprocessing = {"input_size": input_size, "fit": "squash", "interpolation": "bicubic"}
        self.batches = []

    def probabilities(self, photos):
        self.batches.append(photos.shape)
        bright = photos.mean(axis=(1, 2, 3), dtype=np.float64) / 255
        columns = {"bright": bright, "dark": 1 - bright}
        return np.stack([columns[name] for name in self.class_names], axis=1).astype(np.float32)

    def threshold(self, precision):
        return 0.9 * precision


def photo(grey, reads):
    content = io.BytesIO()
    Image.new("RGB", (20, 30), (grey,) * 3).save(content, "PNG")

    def read():
        reads.append(grey)
        return content.getvalue()

    return Photo(f"{grey}.png", read)


@pytest.fixture
def reads():
    """The grey of each photo that was read, in a list that grows."""
    return []


def unreadable():
    raise OSError("the disk is gone")


def test_each_photo_gets_its_own_probabilities_in_batches(reads):
    model = Brightness()
    photos = [photo(grey, reads) for grey in GREYS]
    photos.insert(1, Photo("x.png", unreadable))
    photos.insert(3, Photo("y.png", lambda: b""))
    outcomes = list(Labeller([model]).label(photos, batch_size=3))
    assert outcomes[1] == "the disk is gone"
    assert outcomes[3] == "empty file"
    bright = [outcome[0] for outcome in outcomes if not isinstance(outcome, str)]
    assert bright == pytest.approx([grey / 255 for grey in GREYS], abs=1e-6)
    assert model.batches == [(2, 8, 8, 3), (2, 8, 8, 3)]


def test_a_batch_of_unreadable_photos_reaches_no_model():
    model = Brightness()
    assert list(Labeller([model]).label([Photo("x", lambda: b"")], 1)) == ["empty file"]
    assert model.batches == []


def test_models_are_averaged_in_the_first_one_s_order_and_photos_read_once(reads):
    models = [Brightness(), Brightness(("dark", "bright")), Brightness(input_size=4)]
    labeller = Labeller(models)
    assert labeller.class_names == ["bright", "dark"]
    outcomes = list(labeller.label([photo(grey, reads) for grey in GREYS], batch_size=4))
    for grey, outcome in zip(GREYS, outcomes, strict=True):
        assert outcome == pytest.approx([grey / 255, 1 - grey / 255], abs=1e-6)
    assert sorted(reads) == list(GREYS)
    assert [model.batches for model in models] == [[(4, 8, 8, 3)], [(4, 8, 8, 3)], [(4, 4, 4, 3)]]


def test_a_threshold_is_that_of_the_only_model():
    labeller = Labeller([Brightness()])
    assert labeller.threshold(1.0) == 0.9
    with pytest.raises(ValueError, match=r"precision=0\.9 needs the threshold of one model"):
        Labeller([*labeller.models, Brightness()]).threshold(0.9)
