import json

import pytest

from fashion.models import checkpoints
from fashion.training.resume import (
    MAY_DIFFER_BETWEEN_SEEDS,
    MAY_DIFFER_TO_RESUME,
    MAY_DIFFER_TO_SKIP,
    check_resumable,
    describe_changes,
    find_checkpoint,
)
from fashion.training.run_folder import RunFolder


def test_ckpt_path_names_a_checkpoint_or_is_an_error(tmp_path):
    assert find_checkpoint(None, tmp_path) is None
    with pytest.raises(
        FileNotFoundError, match=r"ckpt_path='last': there is no checkpoint .*last\.ckpt"
    ):
        find_checkpoint("last", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"ckpt_path='nowhere\.ckpt'"):
        find_checkpoint("nowhere.ckpt", tmp_path)
    (RunFolder(tmp_path).last).parent.mkdir()
    (RunFolder(tmp_path).last).touch()
    assert find_checkpoint("last", tmp_path) == RunFolder(tmp_path).last
    with pytest.raises(FileExistsError, match=r"already holds a run\. Pass ckpt_path=last"):
        find_checkpoint(None, tmp_path)
    (tmp_path / "other.ckpt").touch()
    with pytest.raises(FileExistsError, match=r"already holds a run"):
        find_checkpoint(str(tmp_path / "other.ckpt"), tmp_path)


def test_changed_settings_are_named_on_resume(run_dir, caplog):
    config = checkpoints.read(RunFolder(run_dir).last)["run"]["config"]
    check_resumable(RunFolder(run_dir).last, config)
    assert caplog.text == ""
    elsewhere = {"accelerator": "tpu", "devices": 1, "strategy": "ddp"}
    check_resumable(
        RunFolder(run_dir).last, {**config, "trainer": {**config["trainer"], **elsewhere}}
    )
    assert caplog.text == ""
    other = {**config, "trainer": {**config["trainer"], "max_epochs": 9}}
    check_resumable(RunFolder(run_dir).last, other)
    assert "trainer.max_epochs (2 -> 9)" in caplog.text
    other = {**config, "model": {**config["model"], "backbone": "resnet50"}}
    with pytest.raises(ValueError, match=r"model\.backbone \('test_resnet' -> 'resnet50'\)"):
        check_resumable(RunFolder(run_dir).last, other)


EVERYWHERE = {
    *("ckpt_path", "output_dir", "sweep_name", "robustness_photos", "callbacks.best.dirpath"),
    *("data.num_workers", "data.cache_dir", "data.views_on_device", "trainer.default_root_dir"),
    *("trainer.log_every_n_steps", "trainer.logger.0._target_", "trainer.logger.0.name"),
    *("trainer.logger.0.save_dir", "trainer.logger.0.version", "trainer.logger.1.name"),
    *("trainer.logger.1.save_dir", "trainer.logger.1.version"),
    *(
        f"callbacks.last.{key}"
        for key in ("_target_", "dirpath", "enable_version_counter", "filename")
    ),
    *("callbacks.last.save_on_train_epoch_end", "trainer.logger.1._target_"),
    *(f"trainer.enable_{what}" for what in ("progress_bar", "model_summary", "autolog_hparams")),
}
DEVICES = {
    "model.compile",
    *(f"trainer.{key}" for key in ("accelerator", "devices", "num_nodes", "strategy")),
}
MAY_DIFFER = {
    "to resume": (
        MAY_DIFFER_TO_RESUME,
        EVERYWHERE
        | DEVICES
        | {
            f"data.{key}"
            for key in ("root", "delimiter", "encoding", "photo_folder", "zip_encoding")
        }
        | {f"data.{key}" for key in ("exclude", "relabel", "rename", "more")}
        | {"data.text_column", "data.text_mask"}
        | {"model.pretrained", "model.weights", "data.count_twins"},
    ),
    "to skip": (MAY_DIFFER_TO_SKIP, EVERYWHERE | DEVICES),
    "between seeds": (MAY_DIFFER_BETWEEN_SEEDS, EVERYWHERE | {"seed", "data.count_twins"}),
}


def leaves(tree, prefix=""):
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in items:
        if isinstance(value, dict) or (
            isinstance(value, list) and any(isinstance(item, dict) for item in value)
        ):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def changed(config, key):
    """Return a copy of a configuration in which one setting has another value."""
    copy = json.loads(json.dumps(config))
    *parents, last = key.split(".")
    node = copy
    for parent in parents:
        node = node[int(parent)] if isinstance(node, list) else node[parent]
    node[last] = "something else"
    return copy


@pytest.mark.parametrize("question", MAY_DIFFER)
def test_every_setting_counts_but_those_that_are_named(question, run_dir):
    may_differ, expected = MAY_DIFFER[question]
    config = checkpoints.read(RunFolder(run_dir).last)["run"]["config"]
    keys = [key for key in leaves(config) if not key.endswith(("._convert_", "._partial_"))]
    assert len(keys) > 60
    free = {key for key in keys if not describe_changes(config, changed(config, key), may_differ)}
    assert free == expected & set(keys)


def test_names_of_own_functions_and_keys_that_a_release_adds_are_no_difference(run_dir):
    config = checkpoints.read(RunFolder(run_dir).last)["run"]["config"]
    before = json.loads(json.dumps(config))
    before["data"]["_target_"] = "fashion.data.FashionDataModule"
    before["model"]["_target_"] = "fashion.classifier.ProductClassifier"
    before["trainer"]["plugins"][0]["_target_"] = "fashion.run.AtomicCheckpointIO"
    before["trainer"] |= {"num_nodes": 1, "gradient_clip_val": None}  # Lightning's own defaults
    del before["callbacks"]["averaging"], before["data"]["sampler"], before["model"]["compile"]
    before["data"] |= {"views_mirrored": False, "backbone": "test_resnet", "seed": 0}
    before["model"] |= {"fit": "squash", "seed": 0}
    assert describe_changes(before, config, ()) == {}
    before["callbacks"]["averaging"] = {"decay": 0.9}
    assert list(describe_changes(before, config, ())) == ["callbacks.averaging.decay"]


@pytest.mark.parametrize("gone", ["best", "last", "early_stopping"])
def test_a_callback_that_is_switched_off_is_a_difference(gone, run_dir):
    config = checkpoints.read(RunFolder(run_dir).last)["run"]["config"]
    without = json.loads(json.dumps(config))
    del without["callbacks"][gone]
    switched_off = {**config, "callbacks": {**config["callbacks"], gone: None}}
    for other in (without, switched_off):
        keys = list(describe_changes(config, other, ()))
        assert f"callbacks.{gone}._target_" in keys


def test_a_run_that_mirrored_its_maps_is_not_gone_on_with(run_dir, tmp_path):
    checkpoint = checkpoints.read(RunFolder(run_dir).last)
    checkpoint["run"]["config"]["data"]["views_mirrored"] = True
    with (tmp_path / "last.ckpt").open("wb") as file:
        checkpoints.write(checkpoint, file)
    with pytest.raises(ValueError, match=r"data\.views_mirrored=True, and stored maps are no"):
        check_resumable(tmp_path / "last.ckpt", checkpoint["run"]["config"])


def test_fewer_epochs_than_are_done_are_refused_in_a_sentence(run_dir):
    last = RunFolder(run_dir).last
    config = checkpoints.read(last)["run"]["config"]
    with pytest.raises(
        ValueError, match=r"trainer\.max_epochs=1: .* has 2 epochs behind it\. Pass"
    ):
        check_resumable(last, {**config, "trainer": {**config["trainer"], "max_epochs": 1}})
    check_resumable(last, config)
