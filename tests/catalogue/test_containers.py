import zipfile

import pytest

from fashion.catalogue.archives import Archive
from fashion.catalogue.containers import Folder
from fashion.catalogue.listing import is_photo

FILES = ("b.txt", "a.jpg", "c/a.jpg", "c/e/a.jpg", "d/a.jpg", ".git/a.jpg", "c/__MACOSX/a.jpg")


@pytest.fixture(params=["folder", "zip"])
def files(request, tmp_path):
    """The same files in a folder and in a zip, whose content is their own name."""
    folder = tmp_path / "folder"
    with zipfile.ZipFile(tmp_path / "files.zip", "w") as archive:
        for name in FILES:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(name)
            archive.writestr(name, name)
    return Folder(folder) if request.param == "folder" else Archive(tmp_path / "files.zip")


def relative(files, names):
    return sorted(name.removeprefix(files.prefix(files.top)) for name in names)


def test_files_are_listed_but_hidden_ones_and_those_of_skipped_folders(files):
    assert relative(files, files.names()) == ["a.jpg", "b.txt", "c/a.jpg", "c/e/a.jpg", "d/a.jpg"]
    assert relative(files, files.names(skipped=("c",))) == ["a.jpg", "b.txt", "d/a.jpg"]


def test_the_files_right_in_a_folder_are_listed(files):
    assert relative(files, files.names_in(files.top)) == ["a.jpg", "b.txt"]
    assert relative(files, files.names_in(files.top / "c")) == ["c/a.jpg"]
    assert files.names_in(files.top / "nowhere") == []


def test_a_file_is_read_by_the_name_that_is_listed(files):
    for name in files.names():
        assert files.holds(name)
        assert name.endswith(files.read(name).decode())
    assert not files.holds(str(files.top / "c"))
    assert not files.holds(str(files.top / "nowhere"))


def test_only_files_of_the_same_content_have_the_same_digest(files):
    digests = {files.digest(name) for name in files.names()}
    assert len(digests) == 5
    assert files.digest(str(files.top / "b.txt")) in digests


def test_a_zips_names_are_sorted(tmp_path):
    with zipfile.ZipFile(tmp_path / "files.zip", "w") as archive:
        for name in ("b.jpg", "a/c.jpg", "./a.jpg"):
            archive.writestr(name, "")
    assert list(Archive(tmp_path / "files.zip").names()) == ["a.jpg", "a/c.jpg", "b.jpg"]


@pytest.mark.parametrize("content", [b"", b"no zip"])
def test_what_is_no_zip_is_refused(tmp_path, content):
    (tmp_path / "files.zip").write_bytes(content)
    with pytest.raises(ValueError, match="File is not a zip file"):
        Archive(tmp_path / "files.zip")


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("a.jpg", True), ("A.JPEG", True), ("a.b.webp", True), ("jpg", False), ("a.jpg.part", False)],
)
def test_a_photo_is_told_by_its_ending(name, is_one):
    assert is_photo(name) == is_one
