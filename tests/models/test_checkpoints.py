import io
import os
from pathlib import Path

import pytest
import torch

from fashion.models import checkpoints

CHECKPOINT = {
    "hyper_parameters": {"class_names": ["Flats", "Heels"], "backbone": "test_resnet"},
    "state_dict": {"weight": torch.arange(6.0)},
    "preprocessing": {"input_size": 32, "interpolation": "bilinear", "fit": "pad"},
    "run": {"config": {"seed": 3}},
}


def saved(path, checkpoint):
    torch.save(checkpoint, path)
    return path


def test_what_is_written_is_read_with_the_version_of_its_form(tmp_path):
    path = tmp_path / "best.ckpt"
    with path.open("wb") as file:
        checkpoints.write(CHECKPOINT, file)
    checkpoint = checkpoints.read(path)
    assert checkpoint.pop("format") == checkpoints.FORMAT == 1
    assert torch.equal(checkpoint["state_dict"]["weight"], torch.arange(6.0))
    assert {**checkpoint, "state_dict": 0} == {**CHECKPOINT, "state_dict": 0}


def test_a_file_from_before_there_were_versions_is_brought_to_todays_form(tmp_path):
    settings = {**CHECKPOINT["hyper_parameters"], "fit": "pad"}
    path = saved(tmp_path / "old.ckpt", {**CHECKPOINT, "hyper_parameters": settings})
    checkpoint = checkpoints.read(path)
    assert checkpoint["hyper_parameters"] == CHECKPOINT["hyper_parameters"]
    assert checkpoint["preprocessing"]["fit"] == "pad"
    assert checkpoint["format"] == 1


@pytest.mark.parametrize("version", [2, 10, "1", None])
def test_a_later_form_is_refused_in_one_sentence(version, tmp_path):
    path = saved(tmp_path / "late.ckpt", {**CHECKPOINT, "format": version})
    with pytest.raises(ValueError, match=rf"late\.ckpt' is of format {version!r}, but") as caught:
        checkpoints.read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", checkpoints.PARTS)
@pytest.mark.parametrize("instead", ["nothing", "text", "empty"])
def test_a_strangers_file_is_refused_in_one_sentence(part, instead, tmp_path):
    changed = {"nothing": {}, "text": {part: "text"}, "empty": {part: {}}}[instead]
    if instead == "empty" and not checkpoints.PARTS[part]:
        pytest.skip("nothing in it is relied on here")
    rest = {key: value for key, value in CHECKPOINT.items() if key != part}
    path = saved(tmp_path / "other.ckpt", {**rest, **changed})
    with pytest.raises(ValueError, match=r"other\.ckpt' was not written by this project\. Pass"):
        checkpoints.read(path)


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(2), "text"])
def test_a_file_that_holds_something_else_is_refused(content, tmp_path):
    with pytest.raises(ValueError, match="was not written by this project"):
        checkpoints.read(saved(tmp_path / "other.ckpt", content))


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(FileNotFoundError, match=r"ckpt_path='nowhere\.ckpt' does not exist"):
        checkpoints.read("nowhere.ckpt")


class Planted:
    """Creates a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_in_a_file_is_not_run(tmp_path):
    planted = Planted(tmp_path / "planted")
    path = saved(tmp_path / "best.ckpt", {**CHECKPOINT, "state_dict": planted})
    with pytest.raises(ValueError, match=r"best\.ckpt' is not a complete checkpoint"):
        checkpoints.read(path)
    assert not planted.path.exists()


def test_a_file_may_be_replaced_while_what_was_read_of_it_is_used(tmp_path):
    path = tmp_path / "best.ckpt"
    with path.open("wb") as file:
        checkpoints.write(CHECKPOINT, file)
    before = checkpoints.read(path)
    content = io.BytesIO()
    checkpoints.write({**before, "state_dict": {"weight": torch.zeros(6)}}, content)
    Path(tmp_path / "new").write_bytes(content.getvalue())
    Path(tmp_path / "new").replace(path)
    assert torch.equal(before["state_dict"]["weight"], torch.arange(6.0))
    assert torch.equal(checkpoints.read(path)["state_dict"]["weight"], torch.zeros(6))


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match=r"is a folder; pass the file checkpoints/best\.ckpt"):
        checkpoints.read(tmp_path)
