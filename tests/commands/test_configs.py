import inspect
from pathlib import Path

import pytest
import timm
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_object
from lightning import Trainer
from omegaconf import DictConfig, ListConfig, OmegaConf

import train
from fashion.commands.train import prepare
from fashion.metrics.study import load_study
from fashion.models.backbone import pretrained_cfg
from fashion.training.run_folder import RunFolder

CONF = Path(train.__file__).parent / "conf"
STUDY = load_study()["models"]
MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
TRAINERS = sorted(path.stem for path in (CONF / "trainer").glob("*.yaml"))
SOURCES = sorted(path.stem for path in (CONF / "data").glob("*.yaml"))


def composed(*overrides):
    """Compose conf/ as the command line would, with every interpolation resolved."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", list(overrides), return_hydra_config=True)
    config.hydra.runtime.output_dir = "out"
    HydraConfig.instance().set_config(config)
    config = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    OmegaConf.resolve(config)
    return config


def targets(node):
    """Find every node below that names a call."""
    if isinstance(node, DictConfig):
        if "_target_" in node:
            yield node
        for key in node:
            yield from targets(node[key])
    elif isinstance(node, ListConfig):
        for item in node:
            yield from targets(item)


def test_the_options_are_the_six_models_and_no_others():
    assert set(MODELS) == {*STUDY, "timm", "base"}
    assert len(STUDY) == 6
    assert TRAINERS == ["debug", "default", "tpu"]
    assert SOURCES == ["fashion", "sample"]


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("model", MODELS)
def test_every_model_composes_with_every_trainer_and_binds_to_what_it_calls(model, trainer):
    backbone = ["model.backbone=test_resnet"] if model in ("timm", "base") else []
    config = composed(f"model={model}", f"trainer={trainer}", *backbone)
    assert config.model_name == model
    nodes = list(targets(config))
    assert {node._target_ for node in nodes} >= {"lightning.Trainer", "torch.optim.AdamW"}
    for node in nodes:
        given = {key: None for key in node if not key.startswith("_")}
        inspect.signature(get_object(node._target_)).bind_partial(**given)


@pytest.mark.parametrize("data", SOURCES)
def test_every_data_option_sets_every_data_setting(data):
    node = composed(f"data={data}").data
    parameters = inspect.signature(get_object(node._target_)).parameters
    assert {key for key in node if not key.startswith("_")} == parameters.keys()


def test_the_model_options_set_every_argument_of_the_classifier_but_those_of_the_data():
    node = composed().model
    parameters = inspect.signature(get_object(node._target_)).parameters
    ours = {key for key in node if not key.startswith("_")}
    assert ours == parameters.keys() - {"class_names", "attributes", "seed"}


@pytest.mark.parametrize("model", STUDY)
def test_the_study_s_models_have_published_weights_and_the_study_s_input_size(model):
    config = composed(f"model={model}").model
    assert config.backbone in timm.list_pretrained(f"{config.backbone.partition('.')[0]}.*")
    assert "." in config.backbone
    assert pretrained_cfg(config.backbone).has_weights
    assert config.input_size == STUDY[model]["input_size"]
    assert len(config.unfreeze) > 0


@pytest.mark.parametrize("model", STUDY)
def test_a_model_option_states_three_keys_and_where_they_come_from(model):
    text = (CONF / "model" / f"{model}.yaml").read_text()
    assert text.startswith("# ")
    own = OmegaConf.create(text)
    assert set(own) == {"defaults", "backbone", "input_size", "unfreeze"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_name", "resnet50"),
        ("model.optimizer._target_", "torch.optim.AdamW"),
        ("model.optimizer.lr", 1e-4),
        ("model.optimizer.weight_decay", 0.004),
        ("model.label_smoothing", 0.1),
        ("model.dropout", 0.3),
        ("model.pretrained", True),
        ("model.weights", None),
        ("data.root", "data/fashion-product-images"),
        ("data.label_column", "articleType"),
        ("data.min_images", 100),
        ("data.malformed_rows", "skip"),
        ("data.fit", "squash"),
        ("data.split_seed", 0),
        ("data.batch_size", 64),
        ("data.rotation", 10),
        ("trainer.max_epochs", 30),
        ("callbacks.early_stopping.patience", 6),
        ("callbacks.early_stopping.monitor", "val/macro_auprc"),
        ("callbacks.early_stopping.mode", "max"),
        ("callbacks.best.monitor", "val/macro_auprc"),
        ("callbacks.best.mode", "max"),
        ("seed", 0),
    ],
)
def test_the_defaults_are_the_study_s(key, value):
    assert OmegaConf.select(composed(), key, throw_on_missing=True) == value


def test_a_sweep_is_over_the_six_models():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", return_hydra_config=True)
    assert set(config.hydra.sweeper.params.model.split(",")) == set(STUDY)


def test_the_trainer_repeats_none_of_lightning_s_defaults():
    node = OmegaConf.to_container(OmegaConf.load(CONF / "trainer" / "default.yaml"))
    parameters = inspect.signature(Trainer).parameters
    for key, value in node.items():
        repeats = key in parameters and value == parameters[key].default
        assert not repeats or key in ("accelerator", "devices", "strategy"), key


def test_any_timm_network_needs_its_name():
    with pytest.raises(ValueError, match=r"model\.backbone is not set"):
        prepare(composed("model=timm"))


def test_the_tpu_option_computes_in_bfloat16_over_float32_weights():
    config = composed("trainer=tpu")
    assert (config.trainer.accelerator, config.trainer.precision) == ("tpu", "bf16-mixed")


def test_the_callbacks_write_where_a_run_s_folder_has_its_checkpoints():
    callbacks, folder = composed().callbacks, RunFolder(Path("out"))
    for callback, path in ((callbacks.best, folder.best), (callbacks.last, folder.last)):
        assert Path(callback.dirpath, f"{callback.filename}.ckpt") == path
