import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import __version__ as pillow

from fashion.bundles.bundle_files import BundleFiles
from fashion.bundles.graph_check import check_graph
from fashion.bundles.onnx_model import OnnxModel
from fashion.bundles.verify import verify
from fashion.catalogue.images import decode_image
from fashion.export.export import export
from fashion.export.graph import read_part, write_graph
from fashion.export.odd_photos import drawn_photos
from fashion.labelling.checkpoint_models import CheckpointModel
from fashion.labelling.labeller import Labeller
from fashion.labelling.photos import Photo
from fashion.locks import unless_used
from fashion.metrics.scaling import mean_probabilities
from fashion.models import checkpoints

NAMES = ["Flats", "Heels", "Shirts", "Socks"]


@pytest.fixture
def best(run_dir):
    return run_dir / "checkpoints" / "best.ckpt"


def squares(preprocessing, number=12):
    return np.stack([decode_image(content, **preprocessing) for content in drawn_photos(number)])


def test_a_bundle_is_whole_and_holds_what_it_lists(bundle):
    files = BundleFiles(bundle)
    listed = {*files.manifest.files}
    assert listed == {*files.names()}
    for name in listed:
        files.read(name)
    assert {name for name in listed if not name.startswith("selftest/photos/")} == {
        *("README.md", "config.json", "model.safetensors", "onnx/model.onnx"),
        "selftest/expected.json",
    }
    assert len(listed) == 5 + 29


def test_it_labels_as_its_checkpoint_does(bundle, best, tiny_root):
    paths = sorted((tiny_root / "images").iterdir())[:20]
    photos = [Photo(path.name, path.read_bytes) for path in paths]
    ours, theirs = (
        list(Labeller([model]).label(photos, 8))
        for model in (CheckpointModel(checkpoints.read(best)), OnnxModel(BundleFiles(bundle)))
    )
    np.testing.assert_allclose(np.stack(theirs), np.stack(ours), atol=1e-5)
    assert len({row.argmax() for row in ours}) > 1


def test_it_is_verified(bundle):
    verdict = verify(BundleFiles(bundle))
    assert verdict.faults == []
    assert "On 28 photos with the pixels of export" in " ".join(verdict.lines)


def test_batches_of_any_size_are_labelled_alike(bundle):
    session = onnxruntime.InferenceSession(bundle / "onnx" / "model.onnx")
    photos = squares(BundleFiles(bundle).manifest.preprocessing, 5)
    (together,) = session.run(["probabilities"], {"images": photos})
    for size in (1, 2, 5):
        (some,) = session.run(["probabilities"], {"images": photos[:size]})
        np.testing.assert_allclose(some, together[:size], atol=1e-6)


def test_the_graph_is_plain_and_names_no_place_on_this_machine(bundle):
    content = (bundle / "onnx" / "model.onnx").read_bytes()
    check_graph(content, "onnx", (None, 48, 48, 3), 3)
    model = onnx.load_model_from_string(content)
    onnx.checker.check_model(model)
    assert {each.domain for each in model.opset_import} <= {"", "ai.onnx"}
    for mark in (b"site-packages", b".py", os.getcwd().encode()):
        assert mark not in content
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}


def test_the_graph_says_what_it_is_of(bundle, best):
    model = onnx.load(bundle / "onnx" / "model.onnx")
    told = {each.key: each.value for each in model.metadata_props}
    checkpoint = checkpoints.read(best)
    assert told["fashion.schema"] == "1"
    assert told["fashion.name"] == "shop"
    assert json.loads(told["fashion.classes"]) == ["Jeans", "Shirts", "Watches"]
    assert json.loads(told["fashion.preprocessing"]) == checkpoint["preprocessing"]
    assert float(told["fashion.temperature"]) == checkpoint["calibration"]["temperature"]


def test_the_manifest_is_of_the_checkpoint_and_names_no_place_on_this_machine(bundle, best):
    manifest, checkpoint = BundleFiles(bundle).manifest, checkpoints.read(best)
    assert manifest.name == "shop"
    assert list(manifest.classes) == checkpoint["hyper_parameters"]["class_names"]
    assert manifest.preprocessing == checkpoint["preprocessing"]
    assert manifest.calibration.temperature == checkpoint["calibration"]["temperature"]
    assert manifest.calibration.photos == 12
    assert manifest.facts["license"] == {"weights": "mit"}
    assert manifest.facts["training"]["versions"]["pillow"] == pillow
    assert manifest.facts["parity"]["source"] == "of the validation split"
    for name in ("bundle.json", "README.md", "config.json"):
        text = (bundle / name).read_text(encoding="utf-8")
        assert str(best.parents[2]) not in text
        assert "/tmp" not in text


def test_little_is_told_while_it_is_written(told):
    assert told == [
        "Bringing test_resnet into ONNX.",
        "Proving it on 12 photos of the validation split and 29 odd ones.",
        "Computing the intervals of 12 test photos.",
    ]


def test_several_checkpoints_make_one_graph_with_their_mean(write_checkpoint, tmp_path):
    paths = [
        write_checkpoint(tmp_path / "a.ckpt", fit="pad", temperature=0.5),
        write_checkpoint(tmp_path / "b.ckpt", fit="pad", names=NAMES[::-1], seed=1),
    ]
    exported = export(paths, tmp_path / "two", name="both", tell=lambda _: None)
    files = BundleFiles(tmp_path / "two")
    assert (files.id, files.manifest) == (exported.id, exported.manifest)
    assert files.manifest.classes == tuple(NAMES)
    models = [CheckpointModel(checkpoints.read(path)) for path in paths]
    photos = squares(files.manifest.preprocessing)
    first, second = (model.probabilities(photos) for model in models)
    expected = mean_probabilities([first, second[:, ::-1]])
    got = OnnxModel(files).probabilities(photos)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert np.abs(got - first).max() > 0.05
    assert not {"config.json", "model.safetensors"} & {*files.names()}
    left_out = files.manifest.facts["left_out"]
    assert left_out["files"] == ["config.json", "model.safetensors"]
    assert "timm" not in files.manifest.facts["parity"]
    card = (tmp_path / "two" / "README.md").read_text(encoding="utf-8")
    assert f"would load it, are left out: {left_out['why']}" in card
    assert "With timm" not in card
    assert "None are known" in card
    assert "200 photos that the project draws, for the catalogue isn't there" in card
    assert files.manifest.calibration.temperature is None
    assert files.manifest.calibration.curve == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fit": "pad"}, r"takes photos with fit='pad', ckpt_path=.*a\.ckpt' with fit='squash'"),
        ({"size": 48}, r"b\.ckpt' takes photos with input_size=48"),
        ({"names": ["Mugs", "Plates"]}, r"b\.ckpt' tells other classes apart than"),
    ],
)
def test_checkpoints_that_do_not_go_together_are_refused_at_once(
    changes, message, write_checkpoint, tmp_path
):
    paths = [write_checkpoint(tmp_path / "a.ckpt")]
    paths.append(write_checkpoint(tmp_path / "b.ckpt", **changes))
    with pytest.raises(ValueError, match=message):
        export(paths, tmp_path / "two")
    assert {path.name for path in tmp_path.iterdir()} == {"a.ckpt", "b.ckpt"}


def test_nothing_is_left_behind_where_it_does_not_label_as_its_checkpoint(
    best, quickly, write_checkpoint, tmp_path
):
    names = ["Jeans", "Shirts", "Watches"]
    other = write_checkpoint(tmp_path / "other.ckpt", names=names, size=48, temperature=0.7)
    with pytest.raises(ValueError, match=r"No bundle is written, for the graph doesn't label as"):
        export([other], tmp_path / "shop", tell=lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["other.ckpt"]


def test_a_network_that_onnx_cannot_have_is_refused_in_one_sentence(write_checkpoint, tmp_path):
    part = read_part(checkpoints.read(write_checkpoint(tmp_path / "best.ckpt")))

    class Spectral(torch.nn.Module):
        def forward(self, photos):
            return torch.linalg.svdvals(photos.mean(dim=1))[:, :4]

    odd = replace(part, network=Spectral())
    with pytest.raises(ValueError, match="PyTorch can't bring test_resnet into ONNX: ") as raised:
        write_graph([odd], tmp_path / "x.onnx", "x", {"input_size": 32})
    assert "\n" not in str(raised.value)


def test_what_is_there_is_not_replaced_unless_that_is_asked_for(best, quickly, tmp_path):
    output = tmp_path / "shop"
    first = export([best], output, tell=lambda _: None)
    with pytest.raises(ValueError, match=r"exists; pass another, or overwrite=true if it is a b"):
        export([best], output)
    second = export([best], output, name="newer", overwrite=True, tell=lambda _: None)
    assert BundleFiles(output).id == second.id != first.id
    assert BundleFiles(output).manifest.name == "newer"
    assert [path.name for path in tmp_path.iterdir()] == ["shop"]


def test_no_other_folder_is_ever_replaced(best, bundle, tmp_path):
    output = tmp_path / "shop"
    output.mkdir()
    (output / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"output='.*' is no bundle"):
        export([best], output, overwrite=True)
    for name in ("bundle.json", "onnx/model.onnx"):
        (output / name).parent.mkdir(exist_ok=True)
        (output / name).write_bytes((bundle / name).read_bytes())
    with pytest.raises(ValueError, match=r"holds 'photo\.jpg', which isn't the bundle's and would"):
        export([best], output, overwrite=True)
    assert (output / "photo.jpg").read_bytes() == b"mine"
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "link").symlink_to(bundle)
    for name in ("file", "link"):
        with pytest.raises(ValueError, match="is no folder, which overwrite=true could replace"):
            export([best], tmp_path / name, overwrite=True)


def test_cheap_mistakes_are_told_before_anything_is_read(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"output='.*': there is no folder .*nowhere"):
        export(["missing.ckpt"], tmp_path / "nowhere" / "shop")
    with pytest.raises(FileNotFoundError, match=r"ckpt_path='missing\.ckpt' does not exist"):
        export(["missing.ckpt"], tmp_path / "shop")
    (tmp_path / "bad.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match="is not a complete checkpoint"):
        export([tmp_path / "bad.ckpt"], tmp_path / "shop")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.ckpt"]


@pytest.mark.parametrize("key", ["name", "license_id"])
def test_a_name_and_a_licence_are_a_line_of_text(key, best, tmp_path):
    with pytest.raises(ValueError, match=rf"{key[:4]}.*='a\\nb' must be a line of text"):
        export([best], tmp_path / "shop", **{key: "a\nb"})


def test_two_processes_do_not_write_one_bundle(best, quickly, tmp_path):
    claim = unless_used(tmp_path / ".shop.unfinished", ())
    with claim, pytest.raises(ValueError, match="another process is writing it"):
        export([best], tmp_path / "shop")
    assert [*tmp_path.iterdir()] == []


def test_what_a_killed_export_has_left_is_deleted(best, quickly, tmp_path):
    left = tmp_path / ".shop.unfinished" / "onnx"
    left.mkdir(parents=True)
    (left / "model.onnx").write_bytes(b"half of it")
    export([best], tmp_path / "shop", tell=lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["shop"]
    BundleFiles(tmp_path / "shop").read("onnx/model.onnx")


@pytest.mark.slow
def test_a_killed_export_leaves_no_bundle(best, quickly, tmp_path):
    program = (
        "import os, signal, sys; from fashion.export import export as module\n"
        "def end(*_, **__): os.kill(os.getpid(), signal.SIGKILL)\n"
        "module.write_graph = end\n"
        "module.export([sys.argv[1]], sys.argv[2])"
    )
    done = subprocess.run([sys.executable, "-c", program, best, tmp_path / "shop"], check=False)
    assert done.returncode == -9
    assert not (tmp_path / "shop").exists()
    assert (tmp_path / ".shop.unfinished").is_dir()
    export([best], tmp_path / "shop", tell=lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["shop"]


def test_the_command_tells_what_it_has_made(best, tmp_path, quickly, monkeypatch, capsys):
    from fashion.commands import main

    output = tmp_path / "shop"
    monkeypatch.setattr(sys, "argv", ["fashion", "export", f"ckpt_path={best}", f"output={output}"])
    main.main()
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert lines[0].startswith(f"{output}: shop, 35 files of ")
    assert lines[1] == f"id: {BundleFiles(output).id}"
    assert lines[2].startswith("test: accuracy ")
    assert "As the checkpoint on 12 photos of the validation split and 29 odd ones" in lines[3]
    assert "40 labels the same, 1 unreadable for both." in lines[3]
    assert len(told.err.splitlines()) == 3
