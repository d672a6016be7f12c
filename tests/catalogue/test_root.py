import os
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest

from fashion.catalogue.images import decode_image
from fashion.catalogue.root import PUBLISHED, open_root
from fashion.catalogue.table import load_catalogue
from fashion.defaults import default_settings

HEADER = "id,articleType\n"


def zip_folder(folder, path, prefix=""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, prefix + str(file.relative_to(folder)))
    return path


def zip_entries(path, **entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def damage(path, entry):
    """Flip bytes in the middle of one entry's content."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(entry)
    content = bytearray(path.read_bytes())
    middle = info.header_offset + 30 + len(entry) + info.compress_size // 2
    for place in range(middle - 4, middle + 4):
        content[place] ^= 0xFF
    path.write_bytes(content)


def contents(root):
    return {id_: root.read(photo) for id_, photo in root.photos.items()}


def test_a_folder_and_its_zip_give_the_same_catalogue(tiny_root, tmp_path):
    folder, archive = open_root(tiny_root), open_root(zip_folder(tiny_root, tmp_path / "tiny.zip"))
    tables = [load_catalogue(root, min_images=10) for root in (folder, archive)]
    assert tables[0].rows_in_file == tables[1].rows_in_file == 124
    for rows in ("table", "dropped"):  # their photos have the names of where they lie
        pd.testing.assert_frame_equal(
            *(getattr(table, rows).drop(columns="photo") for table in tables)
        )
    assert len(contents(folder)) == 123
    assert contents(folder) == contents(archive)


@pytest.mark.parametrize("nest", ["fashion-dataset", "a/b"])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_nested_catalogue_is_found(tiny_root, tmp_path, nest, zipped):
    if zipped:
        path = zip_folder(tiny_root, tmp_path / "nested.zip", f"{nest}/")
    else:
        path = tmp_path / "outer"
        shutil.copytree(tiny_root, path / nest)
    assert contents(open_root(path)) == contents(open_root(tiny_root))


@pytest.mark.parametrize("zipped", [False, True])
def test_the_repeated_catalogue_of_the_small_set_is_read_once(tiny_root, tmp_path, zipped):
    path = tmp_path / "published"
    shutil.copytree(tiny_root, path)
    shutil.copytree(tiny_root, path / "myntradataset")
    root = open_root(zip_folder(path, tmp_path / "published.zip") if zipped else path)
    assert "myntradataset" not in root.csv_name
    assert not [photo for photo in root.photos.values() if "myntradataset" in photo]
    assert contents(root) == contents(open_root(tiny_root))


@pytest.mark.parametrize("zipped", [False, True])
def test_two_different_tables_are_refused(tiny_root, tmp_path, zipped):
    path = tmp_path / "two"
    shutil.copytree(tiny_root, path)
    shutil.copytree(tiny_root, path / "other")
    with open(path / "other" / "styles.csv", "a") as file:
        file.write("1,Men\n")
    path = zip_folder(path, tmp_path / "two.zip") if zipped else path
    message = rf"data\.root='{path}' holds 2 styles\.csv that differ: .*styles\.csv, .*other/styles"
    with pytest.raises(ValueError, match=message):
        open_root(path)


@pytest.mark.parametrize("zipped", [False, True])
def test_a_table_among_the_photos_hidden_or_of_macos_is_no_catalogue(tmp_path, zipped):
    for folder in ("images", "styles", "__MACOSX", ".", ".hidden", "a/__MACOSX"):
        (tmp_path / "set" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / folder / "styles.csv").write_text(f"{HEADER}{folder}")
    path = zip_folder(tmp_path / "set", tmp_path / "set.zip") if zipped else tmp_path / "set"
    assert open_root(path).csv_name == ("styles.csv" if zipped else str(path / "styles.csv"))


def test_a_zip_that_writes_the_folder_it_was_made_in_is_read(tiny_root, tmp_path):
    names = [str(path.relative_to(tiny_root)) for path in tiny_root.rglob("*") if path.is_file()]
    entries = {f"./{name}": (tiny_root / name).read_bytes() for name in names}
    root = open_root(zip_entries(tmp_path / "dot.zip", **entries))
    assert contents(root) == contents(open_root(tiny_root))
    assert root.find("1000.jpg") == root.photos["1000"]


def test_the_published_catalogue_is_told_where_to_come_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist") as caught:
        open_root(PUBLISHED)
    assert default_settings()["data"]["root"] == PUBLISHED
    for word in (
        f"data.root='{PUBLISHED}'",
        "pip install -e '.[kaggle]'",
        "paramaggarwal/fashion-product-images-small, about 0.6 GB",
        "paramaggarwal/fashion-product-images-dataset, 15 to 25 GB",
        "data=sample",
    ):
        assert word in str(caught.value)


def test_another_missing_root_is_named_beside_what_is_there(tmp_path):
    (tmp_path / "archive.zip").write_bytes(b"")
    with pytest.raises(FileNotFoundError) as caught:
        open_root(tmp_path / "archiv.zip")
    assert str(caught.value) == (
        f"data.root='{tmp_path}/archiv.zip' does not exist. Is it '{tmp_path}/archive.zip'?"
    )
    with pytest.raises(FileNotFoundError, match=rf"There is no folder '{tmp_path}/no' either\."):
        open_root(tmp_path / "no" / "where")


def test_a_folder_without_table_points_at_the_zip_in_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no styles\.csv, nor .* Pass the folder or zip"):
        open_root(tmp_path)
    zip_entries(tmp_path / "archive.zip", **{"styles.csv": HEADER})
    hint = rf"data\.root='{tmp_path}' holds no styles\.csv.*pass data\.root={tmp_path}/archive\.zip"
    with pytest.raises(FileNotFoundError, match=hint):
        open_root(tmp_path)


def test_a_zip_without_table_is_refused(tmp_path):
    path = zip_entries(tmp_path / "photos.zip", **{"images/1.jpg": b""})
    with pytest.raises(FileNotFoundError, match=rf"data\.root='{path}' holds no styles\.csv"):
        open_root(path)


@pytest.mark.parametrize(
    "content", [lambda whole: whole[: len(whole) // 2], lambda _: b"no zip", lambda _: b""]
)
def test_a_truncated_zip_and_a_file_that_is_no_zip_are_refused(tiny_root, tmp_path, content):
    path = zip_folder(tiny_root, tmp_path / "tiny.zip")
    path.write_bytes(content(path.read_bytes()))
    message = rf"data\.root='{path}' is neither a folder nor a complete zip file"
    with pytest.raises(ValueError, match=message):
        open_root(path)


@pytest.mark.parametrize(
    "name", ["../out.jpg", "images/../../out.jpg", "/out.jpg", "a\\..\\..\\out.jpg", "C:\\out.jpg"]
)
def test_a_zip_entry_that_leaves_the_archive_is_refused(tmp_path, name):
    path = zip_entries(tmp_path / "unsafe.zip", **{"styles.csv": HEADER, name: b""})
    with pytest.raises(ValueError, match=rf"data\.root='{path}' holds the entry .*out\.jpg'"):
        open_root(path)


def test_a_damaged_zip_entry_is_an_error_of_that_photo_alone(tmp_path):
    noise = np.random.default_rng(0).bytes(2_000).hex()
    names = ("styles.csv", "images/1.jpg", "images/2.jpg")
    path = zip_entries(tmp_path / "damaged.zip", **dict.fromkeys(names, noise))
    damage(path, "images/1.jpg")
    root = open_root(path)
    with pytest.raises(ValueError, match="damaged zip entry"):
        root.read(root.photos["1"])
    assert root.read(root.photos["2"]) == noise.encode()


def test_every_way_a_deflated_entry_breaks_is_a_value_error(tmp_path):
    noise = np.random.default_rng(0).bytes(200).hex()
    whole = zip_entries(tmp_path / "whole.zip", **{"styles.csv": HEADER, "images/1.jpg": noise})
    content = whole.read_bytes()
    start = content.index(b"images/1.jpg") + len("images/1.jpg")
    for place in range(start, start + 200):
        path = tmp_path / "broken.zip"
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        root = open_root(path)
        with pytest.raises(ValueError, match="damaged zip entry"):
            root.read(root.photos["1"])


def test_a_table_that_is_packed_too_well_is_refused_before_it_is_read(tmp_path):
    cell = "x" * 2**21
    path = zip_entries(tmp_path / "bomb.zip", **{"styles.csv": f"{HEADER}1,{cell}\n"})
    message = (
        r"bomb\.zip': styles\.csv can't be read \(its 2,\d+,\d+ bytes are packed into 2,\d+, mo"
    )
    with pytest.raises(ValueError, match=message):
        load_catalogue(open_root(path))
    small = zip_entries(tmp_path / "small.zip", **{"styles.csv": f"{HEADER}1,{cell[: 2**19]}\n"})
    with open_root(small).open("styles.csv") as file:
        assert len(file.read()) == len(HEADER) + 2 + 2**19 + 1


def test_a_damaged_table_in_a_zip_is_named(tmp_path):
    rows = "".join(f"{i},{'Shirts' if i % 2 else 'Jeans'}\n" for i in range(500))
    path = zip_entries(tmp_path / "damaged.zip", **{"styles.csv": HEADER + rows})
    damage(path, "styles.csv")
    with pytest.raises(ValueError, match=rf"data\.root='{path}': styles\.csv can't be read \(dam"):
        load_catalogue(open_root(path))


def test_an_oversized_file_is_not_read(tiny_root, tmp_path, monkeypatch):
    monkeypatch.setattr("fashion.catalogue.archives.MAX_FILE_BYTES", 100)
    for root in (open_root(tiny_root), open_root(zip_folder(tiny_root, tmp_path / "tiny.zip"))):
        with pytest.raises(ValueError, match="larger than"):
            root.read(root.photos["1000"])


def test_of_two_endings_with_one_id_jpg_is_the_photo(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "styles.csv").write_text(HEADER)
    for name in ("1.jpeg", "1.jpg", "1.png", "2.PNG", "3.txt", "4.jpg.part"):
        (tmp_path / "images" / name).write_text(name)
    assert contents(open_root(tmp_path)) == {"1": b"1.jpg", "2": b"2.PNG"}


def test_a_photos_stamp_changes_with_its_content(tiny_root, tmp_path):
    path = tmp_path / "tiny"
    shutil.copytree(tiny_root, path)
    photo = open_root(path).photos["1000"]

    def stamps():
        archive = open_root(zip_folder(path, tmp_path / "tiny.zip"))
        return open_root(path).stamp(photo), archive.stamp(archive.photos["1000"])

    before = stamps()
    content = bytearray((path / "images" / "1000.jpg").read_bytes())
    content[-3] ^= 1
    (path / "images" / "1000.jpg").write_bytes(content)
    os.utime(photo, ns=(10**18, 10**18))
    assert [old != new for old, new in zip(before, stamps(), strict=True)] == [True, True]


def test_a_home_folder_is_expanded(tiny_root, monkeypatch):
    monkeypatch.setenv("HOME", str(tiny_root.parent))
    assert open_root(f"~/{tiny_root.name}").path == tiny_root


def test_the_real_folder_and_zip_give_the_same_photos(real_root, tmp_path):
    root = open_root(real_root)
    path = tmp_path / "part"
    (path / "images").mkdir(parents=True)
    (path / "styles.csv").write_bytes(root.read(root.csv_name))
    chosen = sorted(root.photos)[::450]
    for id_ in chosen:
        (path / "images" / f"{id_}.jpg").write_bytes(root.read(root.photos[id_]))
    part = open_root(path)
    assert sorted(part.photos) == chosen
    table = load_catalogue(part, min_images=1).table
    assert 90 < len(table) <= len(chosen)
    for id_, photo in zip(table["id"], table["photo"], strict=True):
        decoded = [
            decode_image(content, 32, "pad", "bilinear")
            for content in (part.read(photo), root.read(root.photos[id_]))
        ]
        np.testing.assert_array_equal(*decoded)


def write_folders(folder):
    for name in ("Shoes/a.jpg", "Shoes/b.PNG", "Hats/a.jpg", "train/Hats/c.jpg", "notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("table", ["styles.csv", None])
def test_folders_of_photos_are_classes_where_there_is_no_table(tmp_path, zipped, table):
    path = write_folders(tmp_path / "shop")
    root = open_root(zip_folder(path, tmp_path / "shop.zip") if zipped else path, table)
    photos = ["Hats/a.jpg", "Shoes/a.jpg", "Shoes/b.PNG", "train/Hats/c.jpg"]
    assert contents(root) == {photo: photo.encode() for photo in photos}
    assert root.csv_name is None
    loaded = load_catalogue(root, min_images=1)
    assert loaded.table["label"].tolist() == ["Hats", "Shoes", "Shoes", "Hats"]
    assert loaded.describe() == "4 rows in the folders = 4 kept in 2 classes + 0 dropped (none)"


@pytest.mark.parametrize("zipped", [False, True])
def test_a_table_of_another_name_has_to_be_named(tmp_path, zipped):
    path = write_folders(tmp_path / "shop")
    (path / "products.csv").write_text("sku,kind,file\n1,Hat,Hats/a.jpg\n")
    path = zip_folder(path, tmp_path / "shop.zip") if zipped else path
    message = r"holds no styles\.csv, but products\.csv. Pass data\.table=products\.csv, or data\.t"
    with pytest.raises(FileNotFoundError, match=message):
        open_root(path)
    assert open_root(path, "products.csv").table_name == "products.csv"
    assert open_root(path, None).csv_name is None


def test_the_path_of_a_table_is_answered_with_the_words_to_type(tmp_path):
    path = write_folders(tmp_path / "shop")
    for name in (*map("{}.csv".format, "abcdef"), "products.csv"):
        (path / name).write_text("sku,kind,file\n1,Hat,Hats/a.jpg\n")
    with pytest.raises(ValueError, match=r"data\.root='[^']*shop' data\.table='products\.csv'"):
        open_root(path / "products.csv")
    for table in (str(path / "products.csv"), "product.csv"):
        message = r"but a\.csv, .*, e\.csv, …\. Pass data\.table=products\.csv"
        with pytest.raises(FileNotFoundError, match=message):
            open_root(path, table)


@pytest.mark.parametrize("zipped", [False, True])
def test_photos_are_found_by_the_paths_in_a_column(tmp_path, zipped):
    path = write_folders(tmp_path / "shop")
    (path / "images").mkdir()
    (path / "images" / "own.jpg").write_text("own")
    (tmp_path / "secret.jpg").write_text("secret")
    rows = {
        "1": "Hats/a.jpg", "2": "Shoes/b.PNG", "3": "own.jpg", "4": "../secret.jpg",
        "5": str(tmp_path / "secret.jpg"), "6": "Hats", "7": "", "8": "Hats/none.jpg",
    }  # fmt: skip
    lines = "".join(
        f"{sku},{'Hat' if sku in '14' else 'Shoe'},{file}\n" for sku, file in rows.items()
    )
    (path / "products.csv").write_text("sku,kind,file\n" + lines)
    root = open_root(zip_folder(path, tmp_path / "shop.zip") if zipped else path, "products.csv")
    loaded = load_catalogue(root, "kind", 1, id_column="sku", image_column="file")
    assert [root.read(photo) for photo in loaded.table["photo"]] == [
        b"Hats/a.jpg", b"Shoes/b.PNG", b"own",
    ]  # fmt: skip
    assert loaded.dropped["id"].tolist() == ["4", "5", "6", "7", "8"]
    assert set(loaded.dropped["reason"]) == {"no image"}
    unnamed = load_catalogue(root, "kind", 1, id_column=None, image_column="file")
    assert unnamed.table["id"].tolist() == list(rows.values())[:3]


def test_a_key_changes_with_a_photo_and_with_nothing_else(tiny_root, tmp_path):
    copy = shutil.copytree(tiny_root, tmp_path / "copy")
    before = open_root(copy)
    names = [before.photos[id_] for id_ in ("1000", "1001", "1002")]
    keys = before.keys(names)
    assert (keys.shape, keys.dtype) == ((3,), "V16")
    assert len({key.tobytes() for key in keys}) == 3
    moved = open_root(copy.rename(tmp_path / "moved"))
    names = [moved.photos[id_] for id_ in ("1000", "1001", "1002")]
    assert (moved.keys(names) == keys).all()
    (tmp_path / "moved" / "images" / "1001.jpg").write_bytes(b"other")
    assert (moved.keys(names) == keys).tolist() == [True, False, True]
    assert moved.keys([]).shape == (0,)
