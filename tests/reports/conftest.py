import pytest
from lightning import Trainer

from fashion.data.datamodule import FashionDataModule
from fashion.data.settings import DataSettings
from fashion.models import checkpoints
from fashion.training.classifier import ProductClassifier


@pytest.fixture(scope="session")
def load_parts():
    """Returns load(run_dir, *callbacks, **data): a trainer, a run's model and its catalogue."""

    def load(run_dir, *callbacks, **data):
        checkpoint = checkpoints.read(run_dir / "checkpoints" / "best.ckpt")
        config, preprocessing = checkpoint["run"]["config"], checkpoint["preprocessing"]
        datamodule = FashionDataModule(
            DataSettings.from_config({**config["data"], **data}),
            input_size=preprocessing["input_size"],
            interpolation=preprocessing["interpolation"],
            seed=config["seed"],
        )
        quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
        trainer = Trainer(
            accelerator="cpu",
            callbacks=list(callbacks),
            use_distributed_sampler=False,
            enable_model_summary=False,
            **quiet,
        )
        datamodule.trainer = trainer
        datamodule.setup()
        return trainer, ProductClassifier.restore(checkpoint), datamodule

    return load
