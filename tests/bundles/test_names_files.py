"""The model of names in a bundle: its files, and what is refused of them."""

import json

import numpy as np
import pytest

from fashion.bundles.bundle_files import BundleFiles
from fashion.bundles.manifest import NAME, Manifest, read_manifest
from fashion.bundles.names_files import read_names
from fashion.bundles.verify import verify

HEADER = b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999,), }"
HUGE = b"\x93NUMPY\x01\x00\x76\x00" + HEADER.ljust(117) + b"\n"


def test_a_bundles_model_of_names_says_what_it_said(named_bundle, name_model):
    names = ["Casio", "Puma blue", "", "Watch", "\ud800", "nike " * 1_000]
    of_photos = np.random.default_rng(0).dirichlet([1, 1, 1], len(names)).astype(np.float32)
    found = read_names(BundleFiles(named_bundle))
    for before, after in zip(
        name_model.join(of_photos, names), found.join(of_photos, names), strict=True
    ):
        np.testing.assert_array_equal(before, after)
    assert found.threshold(0.98) == 0.95


def test_a_bundle_without_names_has_none(bundle):
    assert read_names(BundleFiles(bundle)) is None


def test_a_bundle_with_names_verifies(named_bundle):
    assert verify(BundleFiles(named_bundle)).faults == []


def test_its_manifest_is_written_as_it_is_read(named_bundle):
    content = (named_bundle / NAME).read_bytes()
    manifest = read_manifest(content, "bundle='x'")
    assert isinstance(manifest, Manifest)
    assert manifest.to_json() == content


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"mask": {"kind": "all", "labels": [], "synonyms": [], "tied": []}}, "'all'"),
        ({"mask": {}}, "mask"),
        ({"fusion": {"photo": 1.0}}, "lacks 'name'"),
        ({"fusion": {"photo": 1.0, "name": 99.0}}, "name's weight"),
        ({"calibration": {"temperature": 1.0, "photos": -1, "curve": []}}, "photos"),
        ([], "damaged|lacks"),
    ],
)
def test_a_damaged_manifest_of_names_is_refused(named_bundle, change, reason):
    told = json.loads((named_bundle / NAME).read_bytes())
    told["names"] = [1] if change == [] else {**told["names"], **change}
    with pytest.raises(ValueError, match=reason):
        read_manifest(json.dumps(told).encode(), "bundle='x'")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY\x01\x00",
        HUGE,
        b"no array",
    ],
)
def test_an_array_that_is_another_is_refused(draft, named_bundle, tmp_path, content):
    manifest = BundleFiles(named_bundle).manifest
    for path in (named_bundle / "names").iterdir():
        draft.files[f"names/{path.name}"] = path.read_bytes()
    draft.files["names/bias.npy"] = content
    draft.options["names"] = manifest.names
    files = BundleFiles(draft.write(tmp_path / "bundle"))
    with pytest.raises(ValueError, match=r"names/bias\.npy is damaged"):
        read_names(files)
