"""A run whose numbers are none any more ends in a sentence and leaves its good checkpoints."""

import json

import pytest
import torch
from hydra.errors import CompactHydraException
from lightning import Callback

from fashion.commands import train as train_command
from fashion.commands.configuration import compose_words
from fashion.models import checkpoints
from fashion.training.run_folder import RunFolder


class Spoil(Callback):
    """Makes a weight infinite or not a number in the second epoch, at one place or another."""

    def __init__(self, place, value=float("nan")):
        self.place, self.value = place, value

    def spoil(self, place, trainer, module):
        if place == self.place and trainer.current_epoch == 1:
            with torch.no_grad():
                next(p for p in module.parameters() if p.requires_grad).flatten()[0] = self.value

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if batch_idx == 2:
            self.spoil("batch", trainer, module)

    def on_validation_start(self, trainer, module):
        self.spoil("validation", trainer, module)

    def on_train_epoch_end(self, trainer, module):
        self.spoil("saving", trainer, module)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if self.place == "stopping" and trainer.current_epoch == 1 and batch_idx == 2:
            self.place = "now"
            self.spoil("now", trainer, module)
            trainer._signal_connector.received_sigterm = True


WORDS = ["model.unfreeze=[]", "data.batch_size=24"]


def assert_first_epoch_s(folder):
    for path in (RunFolder(folder).best, RunFolder(folder).last):
        checkpoint = checkpoints.read(path)
        assert checkpoint["epoch"] == 0
        assert all(value.isfinite().all() for value in checkpoint["state_dict"].values())


@pytest.mark.parametrize(
    ("place", "steps", "what"),
    [
        ("batch", 1, r"after step 7, the loss$"),
        ("batch", 99, r"after step 8, the loss$"),  # of an epoch's last step, at the latest
        ("validation", 99, r"the model's logits$"),
        ("saving", 99, r"In epoch 1, after step 8, backbone\.fc\."),
    ],
)
def test_a_diverged_run_stops_before_it_writes_a_checkpoint(place, steps, what, fit, tmp_path):
    words = [*WORDS, f"trainer.log_every_n_steps={steps}"]
    with pytest.raises(FloatingPointError, match=what):
        fit(tmp_path, Spoil(place, float("inf" if place == "saving" else "nan")), words=words)
    assert_first_epoch_s(tmp_path)


def test_a_diverged_run_that_is_asked_to_stop_keeps_its_last_good_checkpoint(fit, tmp_path, caplog):
    with pytest.raises(SystemExit):
        fit(tmp_path, Spoil("stopping"), words=WORDS)
    assert_first_epoch_s(tmp_path)
    assert f"The last good checkpoint is {RunFolder(tmp_path).last}" in caplog.text


def test_the_command_ends_in_a_sentence_with_the_way_out(run_dir, tmp_path):
    config = json.loads((RunFolder(run_dir).report("test") / "summary.json").read_text())["config"]
    words = [
        *(f"data.{key}={config['data'][key]}" for key in ("root", "cache_dir", "min_images")),
        *("model=timm", "model.backbone=test_resnet", "model.pretrained=false"),
        *("model.input_size=48", "model.unfreeze=all", "trainer.accelerator=cpu"),
        *("trainer.logger=false", "trainer.enable_progress_bar=false", "data.num_workers=0"),
        *(f"output_dir={tmp_path}", "model_name=timm", "model.optimizer.lr=1e30"),
        *("data.batch_size=16", "trainer.log_every_n_steps=1"),
    ]
    with pytest.raises(
        CompactHydraException,
        match=r"^In epoch 0, after step \d, the loss had values that are no finite numbers: "
        r"training has diverged\. No checkpoint had been written; start anew with a smaller "
        r"model\.optimizer\.lr than 1e\+30\.$",
    ):
        train_command.main(compose_words(words))
    assert not RunFolder(tmp_path).last.exists()
