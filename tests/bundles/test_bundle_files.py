"""A bundle is read whole or told in a sentence, wherever it comes from."""

import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest

from fashion.bundles.bundle_files import BundleFiles
from fashion.bundles.manifest import GRAPH, NAME, bundle_id


def change(bundle, **parts):
    """Write other values into a manifest; None takes a key out."""
    told = json.loads((bundle / NAME).read_bytes())
    told |= parts
    for key in [key for key, value in parts.items() if value is None]:
        del told[key]
    (bundle / NAME).write_text(json.dumps(told))


def zipped(bundle, path, top=""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(bundle.rglob("*")):
            archive.write(file, f"{top}{file.relative_to(bundle)}")
    return path


@pytest.mark.parametrize("top", ["", "brightness/", "a/b/"])
def test_a_zip_is_read_as_the_folder_is(top, bundle, tmp_path):
    folder, archive = BundleFiles(bundle), BundleFiles(zipped(bundle, tmp_path / "b.zip", top))
    assert archive.manifest == folder.manifest
    assert archive.id == folder.id == bundle_id((bundle / NAME).read_bytes())
    assert archive.names() == folder.names()
    for name in folder.manifest.files:
        assert archive.read(name) == (bundle / name).read_bytes()


def test_what_is_written_is_read_again(draft, bundle):
    manifest = BundleFiles(bundle).manifest
    assert manifest.classes == ("Bright", "Dark, or =so", "Grey")
    assert manifest.calibration.threshold(0.85) == 0.7
    assert manifest.facts == {"training": {"versions": {"pillow": "11.0.0"}}}
    assert {*manifest.files} == {*draft.files}


def test_keys_of_later_releases_are_passed_over_and_later_schemas_refused(bundle):
    change(bundle, tomorrow=[1, 2])
    assert BundleFiles(bundle).manifest.facts["tomorrow"] == [1, 2]
    change(bundle, schema=3)
    with pytest.raises(ValueError, match=r"has schema 3, and this version of fashion reads .* 2;"):
        BundleFiles(bundle)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"schema": None}, "that of no bundle; fashion export makes one"),
        ({"schema": "1"}, "schema='1' in bundle.json must be a whole number"),
        ({"schema": True}, "schema=True in"),
        ({"classes": None}, "lacks 'classes'"),
        ({"classes": ["a"]}, "classes has 1 names"),
        ({"classes": ["a", "a"]}, "classes has 2 names, 1 of them different"),
        ({"classes": ["a", 2]}, "classes is no list of names"),
        ({"classes": "ab"}, "classes is no list of names"),
        ({"name": " "}, "name=' ' is no name"),
        ({"preprocessing": []}, "is damaged"),
        ({"preprocessing": {"input_size": 8, "fit": "crop", "interpolation": "bicubic"}}, "'crop'"),
        ({"preprocessing": {"input_size": 10**9, "fit": "pad", "interpolation": "box"}}, "4096"),
        ({"preprocessing": {"input_size": 8, "fit": "pad", "interpolation": "NEW"}}, "'NEW' must"),
        ({"calibration": {"temperature": "1", "photos": 1, "curve": []}}, "temperature '1'"),
        ({"calibration": {"temperature": 1, "photos": 1, "curve": [[0.1, 0.2]]}}, "three numbers"),
        ({"calibration": {"temperature": 1, "photos": 1, "curve": [[0.1, 2, 1]]}}, "precision 2"),
        ({"files": {GRAPH: {"sha256": "0" * 64}}}, "'bytes'|is damaged|lacks"),
        ({"files": {GRAPH: {"sha256": "0" * 64, "bytes": 2**40}}}, "must be from 0 to"),
        ({"files": {GRAPH: {"sha256": "../../x", "bytes": 1}}}, "is no SHA-256"),
        ({"files": {}}, "files lacks onnx/model.onnx"),
    ],
)
def test_a_wrong_manifest_is_told_in_a_sentence(parts, message, bundle):
    change(bundle, **parts)
    with pytest.raises(ValueError, match=message) as raised:
        BundleFiles(bundle)
    assert str(raised.value).startswith(f"bundle={str(bundle)!r}")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a//b", "C:/x", "a\\b", "a/./b", NAME])
def test_a_path_out_of_the_bundle_is_refused(name, bundle):
    files = json.loads((bundle / NAME).read_bytes())["files"]
    change(bundle, files={**files, name: {"sha256": "0" * 64, "bytes": 1}})
    with pytest.raises(ValueError, match="no path inside a bundle"):
        BundleFiles(bundle)


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"[]", b"\xff\xfe", b"null"])
def test_what_is_no_manifest_is_told(content, bundle):
    (bundle / NAME).write_bytes(content)
    with pytest.raises(ValueError, match=r"bundle\.json is (no JSON|that of no bundle)"):
        BundleFiles(bundle)


def test_no_bundle_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist; pass a bundle"):
        BundleFiles(tmp_path / "none")
    with pytest.raises(ValueError, match=r"is no bundle, for it has no bundle\.json"):
        BundleFiles(tmp_path)
    (tmp_path / "x.zip").write_bytes(b"no zip")
    with pytest.raises(ValueError, match="neither a folder nor a complete zip"):
        BundleFiles(tmp_path / "x.zip")
    with zipfile.ZipFile(tmp_path / "y.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    with pytest.raises(ValueError, match="is no bundle, for it has no"):
        BundleFiles(tmp_path / "y.zip")


@pytest.mark.parametrize("damage", ["shorter", "longer", "changed", "missing", "a folder", "link"])
def test_a_file_that_is_not_as_listed_is_refused(damage, bundle, tmp_path):
    path = bundle / GRAPH
    content = path.read_bytes()
    if damage == "shorter":
        path.write_bytes(content[:-1])
    elif damage == "longer":
        path.write_bytes(content + b"x")
    elif damage == "changed":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        path.unlink()
        if damage == "a folder":
            path.mkdir()
        elif damage == "link":  # out of the bundle, to the very content
            (tmp_path / "outside.onnx").write_bytes(content)
            path.symlink_to(tmp_path / "outside.onnx")
    files = BundleFiles(bundle)
    with pytest.raises(ValueError, match=r"isn't the file|more than the|incomplete: it has no"):
        files.read(GRAPH)


def test_a_file_that_is_not_listed_is_not_read(bundle):
    (bundle / "more.txt").write_text("more")
    files = BundleFiles(bundle)
    assert "more.txt" in files.names()
    with pytest.raises(ValueError, match=r"doesn't list more\.txt"):
        files.read("more.txt")


def test_a_zip_unpacks_no_more_than_is_listed(bundle, tmp_path):
    """A file of many zeros is read as far as the manifest lets it, not to its end."""
    shutil.copytree(bundle, tmp_path / "copy")
    with (tmp_path / "copy" / GRAPH).open("wb") as file:
        os.truncate(file.fileno(), 2**28)
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in (NAME, GRAPH):
            archive.write(tmp_path / "copy" / name, name)
    assert (tmp_path / "b.zip").stat().st_size < 2**20
    files = BundleFiles(tmp_path / "b.zip")
    with pytest.raises(ValueError, match="has more than the"):
        files.read(GRAPH)


def test_home_is_written_out(bundle, monkeypatch):
    monkeypatch.setenv("HOME", str(bundle.parent))
    assert BundleFiles(Path("~") / bundle.name).manifest.name == "brightness"
