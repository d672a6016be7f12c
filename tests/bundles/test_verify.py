"""A bundle that is whole passes; what differs is told apart."""

import json
import shutil

import numpy as np
import pytest

from fashion.bundles import verify as verify_module
from fashion.bundles.bundle_files import BundleFiles
from fashion.bundles.manifest import EXPECTED, GRAPH, HUB_CONFIG
from fashion.bundles.verify import verify
from fashion.commands.main import run


def printed(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        run("verify", list(words))
    return ended.value.code, capsys.readouterr().out


def test_a_whole_bundle_passes(bundle, capsys):
    code, text = printed(capsys, f"bundle={bundle}")
    assert code == 0
    assert f"brightness, id {BundleFiles(bundle).id}\n" in text
    assert "6 files, 0.0 MB, are as listed." in text
    assert "On 3 photos with the pixels of export, ONNX Runtime" in text
    assert "other pixels" not in text
    assert text.endswith("It labels here.\n")


def test_a_zip_passes_too(bundle, tmp_path, capsys):
    archive = shutil.make_archive(str(tmp_path / "b"), "zip", bundle.parent, bundle.name)
    assert printed(capsys, f"bundle={archive}")[0] == 0


def test_files_that_are_not_as_listed_are_all_named(bundle, capsys):
    (bundle / GRAPH).unlink()
    (bundle / EXPECTED).write_text("[]")
    (bundle / "notes.txt").write_text("mine")
    code, text = printed(capsys, f"bundle={bundle}")
    assert code == 1
    assert f"!! bundle={str(bundle)!r} is incomplete: it has no {GRAPH}" in text
    assert f"{EXPECTED} isn't the file that bundle.json lists" in text
    assert "not looked at: notes.txt" in text
    assert "as listed" not in text


def test_classes_of_another_order_are_told(draft, graph, tmp_path):
    swapped = ("Grey", "Dark, or =so", "Bright")
    draft.files[GRAPH] = graph(classes=swapped).SerializeToString()
    draft.files[HUB_CONFIG] = json.dumps({"label_names": swapped}).encode()
    verdict = verify(BundleFiles(draft.write(tmp_path / "swapped")))
    assert verdict.faults == [
        f"{name} has other classes than bundle.json, or in another order."
        for name in (GRAPH, HUB_CONFIG)
    ]


def test_another_network_is_told_apart_from_other_pixels(draft, graph, tmp_path):
    weights = np.float32([[1, -1, 0.1]] * 3) / 128
    draft.files[GRAPH] = graph(weights).SerializeToString()
    verdict = verify(BundleFiles(draft.write(tmp_path / "changed")))
    assert len(verdict.faults) == 1
    assert "On 3 photos with the pixels of export" in verdict.faults[0]
    assert "differs by more than it may" in verdict.faults[0]


def test_other_pixels_are_no_fault(draft, tmp_path):
    tests = json.loads(draft.files[EXPECTED])
    tests[0]["pixels_sha256"] = "0" * 64
    tests[0]["probabilities"] = [1.0, 0.0, 0.0]
    draft.files[EXPECTED] = json.dumps(tests).encode()
    verdict = verify(BundleFiles(draft.write(tmp_path / "other")))
    assert verdict.faults == []
    assert "On 2 photos with the pixels of export" in verdict.lines[1]
    assert "1 photo decodes to other pixels here (Pillow" in verdict.lines[2]
    assert "at export 11.0.0)" in verdict.lines[2]


def test_a_decoder_that_reads_more_or_less_is_told(bundle, monkeypatch):
    def decode(content, **way):
        if len(content) == 50:  # the one that is cut
            return np.zeros((8, 8, 3), np.uint8)
        raise ValueError("not here")

    monkeypatch.setattr(verify_module, "decode_image", decode)
    faults = verify(BundleFiles(bundle)).faults
    assert "1-light.png can't be read here: not here." in faults
    assert "4-cut.png is read here, and was refused at export." in faults
    assert any("isn't tested" in fault for fault in faults)
