import logging
import warnings

import pytest
from lightning import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel

from fashion.commands import screen
from fashion.commands.screen import hide_advertisements


@pytest.fixture
def written(caplog):
    """Returns written(logger, text): whether a line of that logger reaches the log."""
    hide_advertisements()
    hide_advertisements()

    def write(name, text):
        caplog.clear()
        caplog.set_level(logging.INFO, name)
        logger = logging.getLogger(name)
        logger.addHandler(caplog.handler)
        logger.info(text)
        logger.removeHandler(caplog.handler)
        return text in caplog.text

    return write


LIGHTNING = "lightning.pytorch.utilities.rank_zero"


@pytest.mark.parametrize(
    ("name", "text", "reaches"),
    [
        (LIGHTNING, "💡 Tip: For seamless cloud logging, try installing [litlogger]", False),
        (LIGHTNING, "TPU available: False, using: 0 TPU cores", False),
        (LIGHTNING, "TPU available: True, using: 4 TPU cores", True),
        (LIGHTNING, "GPU available: True (cuda), used: True", True),
        (LIGHTNING, "`Trainer.fit` stopped: `max_epochs=1` reached.", True),
        ("root", "Defaulting to PJRT_DEVICE=CPU", False),
        ("fashion.data.datamodule", "Tip: look at your photos", True),
    ],
)
def test_advertisements_stay_off_the_screen_and_the_rest_does_not(name, text, reaches, written):
    assert written(name, text) == reaches


def test_advice_on_loaders_stays_off_and_other_warnings_are_seen():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        hide_advertisements()
        warnings.warn("The 'train_dataloader' does not have many workers which", stacklevel=1)
        warnings.warn("Consider setting `persistent_workers=True` in 'val'", stacklevel=1)
        warnings.warn("the photos are dark", stacklevel=1)
    assert [str(warning.message) for warning in caught] == ["the photos are dark"]


@pytest.mark.parametrize("bar", [screen._RichBar, screen._PlainBar])
def test_the_bar_counts_epochs_from_one(bar, tmp_path, capsys):
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_model_summary"), False)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=2,
        limit_train_batches=1,
        limit_val_batches=0,
        callbacks=[bar()],
        default_root_dir=tmp_path,
        **quiet,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(BoringModel())
    shown = "".join(capsys.readouterr())
    assert "Epoch 2" in shown
    assert "Epoch 0: 100%" not in shown
    assert "Epoch 0/" not in shown
