import pytest

from fashion.commands.configuration import compose_words
from fashion.commands.train import prepare
from fashion.models import checkpoints
from fashion.training.averaging import TRAINED
from fashion.training.run_folder import RunFolder

EPOCHS = 3


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def fit(tiny_root, cache_dir):
    """Returns fit(folder, *callbacks, words, resume) -> history, saved weights and last ones.

    The same in one process, where the place of an interruption is exact.
    """

    def fit(folder, *callbacks, words=(), resume=False):
        overrides = [
            f"data.root={tiny_root}",
            f"data.cache_dir={cache_dir}",
            f"output_dir={folder}",
            f"ckpt_path={'last' if resume else 'null'}",
            "model_name=timm",
            "data.min_images=20",
            "data.batch_size=8",
            "data.num_workers=0",
            "model=timm",
            "model.backbone=test_resnet",
            "model.pretrained=false",
            "model.input_size=32",
            "model.optimizer.lr=1e-3",
            "trainer.accelerator=cpu",
            f"trainer.max_epochs={EPOCHS}",
            "trainer.enable_progress_bar=false",
            "trainer.logger=false",
            "trainer.enable_model_summary=false",
        ]
        cfg = compose_words([*overrides, *words])
        ckpt_path, record, trainer, datamodule, classifier = prepare(cfg)
        trainer.callbacks[:0] = callbacks
        trainer.fit(classifier, datamodule, ckpt_path=ckpt_path, weights_only=True)
        last = checkpoints.read(RunFolder(folder).last)
        weights = {**last["state_dict"], **last.get(TRAINED, {})}
        return record.history.drop(columns="seconds"), weights, classifier.state_dict()

    return fit
