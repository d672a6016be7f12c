import zipfile

import numpy as np
import pytest

from fashion.labelling.photos import find_photos


def test_the_photos_of_a_folder_come_in_the_order_of_their_paths(tmp_path):
    for name in ("b/2.jpg", "b/1.png", "a.webp", "c.JPG", "b/x/0.tif", "notes.txt", ".trash/d.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    photos = find_photos([tmp_path])
    expected = ["a.webp", "b/1.png", "b/2.jpg", "b/x/0.tif", "c.JPG"]
    assert [photo.name for photo in photos] == [str(tmp_path / name) for name in expected]
    assert [photo.read() for photo in photos] == [name.encode() for name in expected]


def test_paths_keep_the_order_in_which_they_are_given(tmp_path):
    archive, single = tmp_path / "a.zip", tmp_path / "z.jpg"
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("2.jpg", "1.jpg", "__MACOSX/1.jpg", "text.txt"):
            file.writestr(name, name)
    single.write_text("z")
    photos = find_photos([single, str(archive)])
    assert [photo.name for photo in photos] == [
        str(single),
        f"{archive}/1.jpg",
        f"{archive}/2.jpg",
    ]
    assert [photo.read() for photo in photos] == [b"z", b"1.jpg", b"2.jpg"]


def test_nothing_to_label_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere' does not exist"):
        find_photos([str(tmp_path / "nowhere")])
    with pytest.raises(FileNotFoundError, match=r"There is no photo"):
        find_photos([str(tmp_path)])
    broken = tmp_path / "x.zip"
    broken.write_bytes(b"PK broken")
    with pytest.raises(ValueError, match=r"x\.zip' is neither a folder nor a complete zip file"):
        find_photos([str(broken)])


def test_photos_come_in_the_order_of_their_names(tmp_path):
    names = [f"{folder}/{number:02}.jpg" for folder in ("", "a", "b") for number in range(12)]
    for name in np.random.default_rng(0).permutation(names):  # in which a folder may list them
        path = tmp_path / name.removeprefix("/")
        path.parent.mkdir(exist_ok=True)
        path.touch()
    photos = [photo.name for photo in find_photos([str(tmp_path)])]
    assert photos == [str(tmp_path / name.removeprefix("/")) for name in names]
