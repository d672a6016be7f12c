import shutil
import struct
import unicodedata
import zipfile

import pytest

from fashion.catalogue.archives import Archive
from fashion.catalogue.root import open_archive, open_root
from fashion.catalogue.table import load_catalogue

CLASSES = ("Ténis", "Платья")


class Plain(zipfile.ZipInfo):
    """An entry whose name isn't marked as UTF-8: macOS writes it so, Windows in a code page."""

    codec = "utf-8"

    def _encodeFilenameFlags(self):  # noqa: N802
        return self.filename.encode(self.codec), self.flag_bits & ~0x800


class OfDos(Plain):
    codec = "cp866"


def zip_names(path, names, kind=zipfile.ZipInfo, content=b"", **fields):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            info = kind(name)
            for field, value in fields.items():
                setattr(info, field, value)
            archive.writestr(info, content)
    return path


def listed(path, encoding=None):
    return list(Archive(path, encoding).names())


def patch(path, field, value):
    """Write into a field of each entry's header, here and in the zip's directory."""
    content, offset = bytearray(path.read_bytes()), {"flags": 6, "method": 8}[field]
    for magic, shift in ((b"PK\3\4", 0), (b"PK\1\2", 2)):
        place = content.find(magic)
        while place >= 0:
            struct.pack_into("<H", content, place + offset + shift, value)
            place = content.find(magic, place + 1)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", [zipfile.ZipInfo, Plain])
def test_names_in_utf_8_are_read_whether_marked_or_not(tmp_path, kind):
    names = sorted(f"{name}/1.jpg" for name in CLASSES)
    assert listed(zip_names(tmp_path / "a.zip", names, kind)) == names


def test_names_of_another_code_page_are_read_where_one_is_named(tmp_path):
    path = zip_names(tmp_path / "a.zip", ["Платья/1.jpg", "plain/1.jpg"], OfDos)
    assert listed(path, "cp866") == ["plain/1.jpg", "Платья/1.jpg"]
    archive = Archive(path)
    assert len(archive.strange_names) == 1
    root = open_root(path)
    assert "1 name in the zip is" in root.listing_notes[0]
    assert "data.zip_encoding=cp866" in root.listing_notes[0]
    for encoding in ("nonsense", "ascii"):
        with pytest.raises(ValueError, match=f"names aren't in the code page '{encoding}'"):
            Archive(path, encoding)


def test_the_unicode_name_beside_a_plain_one_is_taken(tmp_path):
    name = "Платья/1.jpg".encode()
    field = struct.pack("<HHBI", 0x7075, 5 + len(name), 1, 0) + name
    path = zip_names(tmp_path / "a.zip", ["??????/1.jpg"], extra=field)
    assert listed(path) == ["Платья/1.jpg"]


def test_one_accent_written_in_two_ways_is_one_class(tmp_path):
    forms = [unicodedata.normalize(form, "Ténis") for form in ("NFC", "NFD")]
    names = [*(f"{form}/{i}.jpg" for form in forms for i in range(3)), "Bags/1.jpg"]
    table = load_catalogue(open_root(zip_names(tmp_path / "a.zip", names)), min_images=1).table
    assert table["label"].value_counts().to_dict() == {"Ténis": 6, "Bags": 1}


@pytest.mark.parametrize("form", ["./{}", "a//{}", "a\\{}", "a/./{}"])
def test_paths_are_one_however_they_are_written(tmp_path, form):
    names = [form.format(name) for name in ("x.jpg", "y.jpg")]
    path = zip_names(tmp_path / "a.zip", names, content=b"x")
    archive = Archive(path)
    assert [name.removeprefix("a/") for name in archive.names()] == ["x.jpg", "y.jpg"]
    assert [archive.read(name) for name in archive.names()] == [b"x", b"x"]


def test_folders_and_links_in_a_zip_are_no_files(tmp_path):
    path = zip_names(tmp_path / "a.zip", ["a/", "b\\", "c/x.jpg"])
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("c/link.jpg")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "x.jpg")
    archive = Archive(path)
    assert list(archive.names()) == ["c/x.jpg"]
    assert archive.passed_over == {"c/link.jpg": "links in a zip"}


def test_of_two_entries_of_a_name_the_last_counts_and_is_told(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x.jpg", b"old")
        archive.writestr("./x.jpg", b"new")
    archive = Archive(tmp_path / "a.zip")
    assert archive.read("x.jpg") == b"new"
    assert archive.passed_over == {"x.jpg": "in the zip twice; the last is taken"}


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [("flags", 1, "needs a password"), ("method", 9, "packed by the method deflate64")],
)
def test_what_cant_be_unpacked_is_told_before_it_is_read(tmp_path, field, value, told):
    path = patch(zip_names(tmp_path / "a.zip", ["a/1.jpg", "b/1.jpg"]), field, value)
    with pytest.raises(ValueError, match=rf"'a/1\.jpg' .*{told}.* Unpack the zip and"):
        open_archive(path)


@pytest.mark.parametrize(
    ("kind", "magic"),
    [("rar", b"Rar!\x1a\x07"), ("7z", b"7z\xbc\xaf\x27\x1c"), ("gzip", b"\x1f\x8b\x08")],
)
def test_another_kind_of_archive_is_told(tmp_path, kind, magic):
    (tmp_path / "a.zip").write_bytes(magic + bytes(600))
    with pytest.raises(ValueError, match=f"it is a {kind} archive: unpack it and pass the folder"):
        open_archive(tmp_path / "a.zip")


def test_a_folder_and_its_zip_list_the_same(tmp_path):
    shop = tmp_path / "shop"
    names = ("Hats/1.jpg", "Hats/._1.jpg", "Hats/.DS_Store", "Bags/2.jpg", "a/@eaDir/3.jpg")
    hidden = (".ipynb_checkpoints/1.jpg", "__MACOSX/Hats/._1.jpg", "Bags/__MACOSX/1.jpg")
    for name in (*names, *hidden, "Hats/notes.txt"):
        (shop / name).parent.mkdir(parents=True, exist_ok=True)
        (shop / name).write_bytes(b"")
    zipped = open_root(shutil.make_archive(str(tmp_path / "a"), "zip", shop))
    folder = open_root(shop)
    assert list(folder.photos) == list(zipped.photos) == ["Bags/2.jpg", "Hats/1.jpg"]
    for root in (folder, zipped):
        hidden, others = root.listing_notes
        assert hidden.startswith("6 files or folders are passed over: hidden or a system's")
        assert others.startswith("1 file or folder is passed over: no photos")
        assert "notes.txt" in others
    assert "Hats/1.jpg" in list(Archive(tmp_path / "a.zip").names())
