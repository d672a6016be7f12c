import os
import random
import unicodedata

import pytest

from fashion.catalogue import photo_finder
from fashion.catalogue.root import open_root
from fashion.catalogue.table import load_catalogue

JPEG = b"\xff\xd8\xff\xe0"


def write(folder, *names, content=JPEG):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def shop(folder, cells, photos=("images/0.jpg", "images/1.jpg")):
    write(folder, *photos)
    rows = "".join(f'{i},{"AB"[i % 2]},"{cell}"\n' for i, cell in enumerate(cells))
    (folder / "styles.csv").write_text("id,articleType,file\n" + rows, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "form",
    [
        "images/{}.jpg", "/images/{}.jpg", "images\\{}.jpg", "./{}.jpg", "{}.JPG", "{}",
        "{}.jpg?v=17", "Images/{}.Jpg", "https://cdn.example/s/{}.jpg", "https://cdn.example/images/{}.jpg?w=3#x",
        "C:\\photos\\{}.jpg", "%7B{}%7D.jpg", "{0}.jpg, other.jpg", "{0}.jpg;{0}.jpg", " {}.jpg ",
    ],
)  # fmt: skip
def test_a_photo_is_found_as_shops_write_it(tmp_path, form):
    photos = [f"images/{{{i}}}.jpg" if "%7B" in form else f"images/{i}.jpg" for i in (0, 1)]
    root = open_root(shop(tmp_path, [form.format(0), form.format(1)], photos))
    table = load_catalogue(root, min_images=1, image_column="file").table
    assert [os.path.basename(photo) for photo in table["photo"]] == [
        os.path.basename(photo) for photo in photos
    ]


def test_the_first_of_several_photos_is_taken_and_told(tmp_path):
    cells = ["0.jpg, 1.jpg", "1.jpg|0.jpg", "a, b.jpg"]
    root = open_root(shop(tmp_path, cells, ("images/0.jpg", "images/1.jpg", "images/a, b.jpg")))
    catalogue = load_catalogue(root, min_images=1, image_column="file")
    assert [os.path.basename(p) for p in catalogue.table["photo"]] == ["0.jpg", "1.jpg", "a, b.jpg"]
    note = "2 cells of data.image_column='file' name several photos; the first of each is taken."
    assert note in catalogue.notes


@pytest.mark.parametrize("cell", ["../0.jpg", "images/../../0.jpg", "/etc/passwd", "..\\0.jpg", ""])
def test_a_path_that_leads_elsewhere_finds_nothing(tmp_path, cell):
    write(tmp_path, "0.jpg")
    assert open_root(shop(tmp_path / "shop", [cell])).find(cell) is None


def test_the_very_name_comes_before_one_in_another_case(tmp_path):
    root = open_root(shop(tmp_path, [""], ("images/a.jpg", "images/A.jpg", "images/b.png")))
    found = [root.find(name) for name in ("a.jpg", "A.jpg", "B.PNG", "a.JPG")]
    assert [os.path.basename(name) for name in found] == ["a.jpg", "A.jpg", "b.png", "A.jpg"]


def test_accents_are_found_in_either_form(tmp_path):
    name = unicodedata.normalize("NFD", "été")
    root = open_root(shop(tmp_path, [""], (f"images/{name}.jpg",)))
    assert os.path.basename(root.find("été.jpg")) == f"{name}.jpg"
    assert os.path.basename(root.photos["été"]) == f"{name}.jpg"


def test_a_column_of_addresses_is_told_to_be_fetched_first(tmp_path):
    root = open_root(shop(tmp_path, [f"https://cdn.example/s/{name}.jpg" for name in "xy"]))
    with pytest.raises(ValueError, match=r"'https:.*/s/x\.jpg' of line 2 was looked") as e:
        load_catalogue(root, min_images=1, image_column="file")
    assert "as 's/x.jpg' or 'x.jpg', beside the table and in images/; photos on the" in str(e.value)


def test_what_was_looked_for_stands_in_the_audit(tmp_path):
    root = open_root(shop(tmp_path, ["0.jpg", "1.jpg", "none.jpg"]))
    dropped = load_catalogue(root, min_images=1, image_column="file").dropped
    assert dropped[["reason", "detail"]].to_numpy().tolist() == [["no image", "none.jpg"]]


@pytest.mark.parametrize(
    ("photos", "asked"),
    [
        (("Images/0.jpg",), None),
        (("fotos/0.jpg", "docs/readme.txt"), None),
        (("0.jpg", "docs/readme.txt"), None),
        (("big/0.jpg", "small/0.jpg"), "small"),
        (("a/b/0.jpg", "images/x.jpg"), "a/b"),
    ],
)
def test_the_photos_folder_is_found_or_named(tmp_path, photos, asked):
    root = open_root(shop(tmp_path, [], photos), photo_folder=asked)
    assert root.photos["0"] == str(tmp_path / photos[-1 if asked == "small" else 0])


def test_a_photos_folder_that_isnt_there_is_told(tmp_path):
    shop(tmp_path, [])
    for asked in ("fotos", "../x"):
        with pytest.raises(FileNotFoundError, match=r"data\.photo_folder='.*there are images\."):
            open_root(tmp_path, photo_folder=asked)


def test_photos_are_told_by_content_where_no_ending_tells(tmp_path):
    write(tmp_path, "images/0", "images/1.large", "images/2.jpg?v=17", "images/3.jfif")
    write(tmp_path, "images/4", "images/5.txt", content=b"no photo")
    (tmp_path / "images" / "5.txt").write_bytes(JPEG)
    (tmp_path / "styles.csv").write_text("id,articleType\n0,A\n")
    assert sorted(open_root(tmp_path).photos) == ["0", "1.large", "2", "3"]


def test_classes_behind_links_are_read_and_circles_are_not(tmp_path):
    write(tmp_path / "disk", "Jeans/1.jpg")
    write(tmp_path / "shop", "Bags/1.jpg")
    (tmp_path / "shop" / "Jeans").symlink_to(tmp_path / "disk" / "Jeans")
    (tmp_path / "shop" / "Bags" / "round").symlink_to(tmp_path / "shop")
    (tmp_path / "shop" / "Bags" / "gone.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "shop" / ".hidden").touch()
    os.mkfifo(tmp_path / "shop" / "pipe")
    root = open_root(tmp_path / "shop")
    assert list(root.photos) == ["Bags/1.jpg", "Jeans/1.jpg"]
    assert [note.split(",")[0] for note in root.listing_notes] == [
        "1 file or folder is passed over: hidden or a system's",
        "1 file or folder is passed over: neither files nor folders",
        "1 file or folder is passed over: broken links",
        "1 file or folder is passed over: links to a folder that is listed already",
    ]


def test_names_of_no_encoding_become_text(tmp_path):
    write(tmp_path, os.fsdecode(b"Caf\xe9/1.jpg"), "Bags/1.jpg")
    root = open_root(tmp_path)
    assert list(root.photos) == ["Bags/1.jpg", "Caf\\xe9/1.jpg"]
    assert root.read(root.photos["Caf\\xe9/1.jpg"]) == JPEG


def test_a_photo_that_cant_be_read_now_is_told_with_its_name(tmp_path):
    root = open_root(shop(tmp_path, [""]))
    (tmp_path / "images" / "0.jpg").unlink()
    with pytest.raises(OSError, match=r"images/0\.jpg' can't be read now \(No such file"):
        root.read(root.photos["0"])


def test_a_plain_path_has_one_reading():
    draw, plain = random.Random(0), 0
    for _ in range(20_000):
        letters = draw.choices("ab./\\?#%: \0", [9, 9, 3, 3, *[1] * 7], k=draw.randrange(1, 8))
        text = "".join(letters)
        if photo_finder.is_plain(text):
            plain += 1
            assert [*dict.fromkeys(photo_finder._readings(text))] == [text]
    assert plain > 1000
