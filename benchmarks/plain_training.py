"""Times training steps of the plain timm and Lightning loop, the peer written in an afternoon.

It shares the project's settings (`conf/model`) and none of its code: frozen parameters merely have
no gradient; BatchNorm, memory format and precision are as timm and Lightning leave them. Every step
takes the same batch, which lies in memory.
"""

import argparse
import itertools
import json
import os
import platform
import re
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import lightning
import timm
import torch
import yaml
from lightning import Callback, LightningModule, Trainer, seed_everything
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from fashion.study import load_study

CONF = Path(__file__).parents[1] / "conf" / "model"
STUDY = load_study()
MODELS = list(STUDY["models"])
NUM_CLASSES = len(STUDY["class_names"])


class PlainClassifier(LightningModule):
    """A timm network, partly without gradients; `settings` are those of `conf/model`."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        self.settings = settings
        self.network = timm.create_model(
            settings["backbone"], num_classes=NUM_CLASSES, drop_rate=settings["dropout"]
        )
        self.network.requires_grad_(False)
        self.network.get_classifier().requires_grad_(True)
        for name, parameter in self.network.named_parameters():
            if any(re.search(pattern, name) for pattern in settings["unfreeze"]):
                parameter.requires_grad_(True)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the smoothed cross-entropy."""
        images, targets = batch
        smoothing = self.settings["label_smoothing"]
        return F.cross_entropy(self.network(images), targets, label_smoothing=smoothing)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW over what trains."""
        parameters = [p for p in self.parameters() if p.requires_grad]
        settings = self.settings["optimizer"]
        return torch.optim.AdamW(
            parameters, lr=settings["lr"], weight_decay=settings["weight_decay"]
        )


class StepClock(Callback):
    """Reads the clock at the start of `fit` and after every step."""

    def __init__(self) -> None:
        self.readings: list[float] = []

    def on_train_start(self, *args: Any) -> None:
        """Start."""
        self.readings.append(time.perf_counter())

    def on_train_batch_end(self, *args: Any) -> None:
        """End a step."""
        self.readings.append(time.perf_counter())

    def seconds(self) -> list[float]:
        """Return the seconds of each step, its batch's delivery included."""
        return [end - start for start, end in itertools.pairwise(self.readings)]


def load_settings(model: str) -> dict[str, Any]:
    """Return `conf/model/base.yaml` with what `model` changes of it, nothing interpolated."""
    files = (CONF / "base.yaml", CONF / f"{model}.yaml")
    base, own = (yaml.safe_load(file.read_text(encoding="utf-8")) for file in files)
    return base | own


def count_trainable(network: nn.Module) -> int:
    """Count a timm network's trainable parameters, those of its head left out."""
    total = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return total - sum(p.numel() for p in network.get_classifier().parameters())


def make_batch(batch_size: int, input_size: int) -> tuple[Tensor, Tensor]:
    """Return normalised images `(B, 3, S, S)` float32 and targets `(B,)`."""
    images = torch.randn(batch_size, 3, input_size, input_size)
    return images, torch.randint(NUM_CLASSES, (batch_size,))


def time_steps(
    classifier: PlainClassifier, batch: tuple[Tensor, Tensor], options: argparse.Namespace
) -> list[float]:
    """Return the seconds of each training step, warm-up included."""
    clock = StepClock()
    trainer = Trainer(
        accelerator="cpu",
        precision=options.precision,
        max_epochs=1,
        callbacks=[clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    batches = [batch] * (options.warmup + options.steps)
    trainer.fit(classifier, DataLoader(batches, batch_size=None))
    return clock.seconds()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Build the model, time it and return the figures."""
    settings = load_settings(options.model)
    input_size = options.input_size or settings["input_size"]
    classifier = PlainClassifier(settings)
    seconds = time_steps(classifier, make_batch(options.batch_size, input_size), options)
    timed = seconds[options.warmup :]
    return {
        "peer": "plain",
        "model": options.model,
        "input_size": input_size,
        "precision": options.precision,
        "batch_size": options.batch_size,
        "threads": options.threads,
        "images_per_second": round(options.batch_size / statistics.median(timed), 3),
        "all_seconds": [round(second, 4) for second in timed],
        "compile_seconds": round(seconds[0], 3),
        "trainable_parameters": count_trainable(classifier.network),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "lightning": lightning.__version__,
            "timm": timm.__version__,
        },
    }


def parse() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, default="resnet50", help="default: %(default)s")
    parser.add_argument("--precision", default="32-true", help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--input-size", type=int, help="default: the study's")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=10, help="timed; default: %(default)s")
    parser.add_argument("--warmup", type=int, default=3, help="not timed; default: %(default)s")
    options = parser.parse_args()
    if min(options.steps, options.warmup) < 1:
        parser.error("--steps and --warmup must be 1 at least")
    return options


def main() -> None:
    """Measure and print the figures as one line of JSON."""
    options = parse()
    torch.set_num_threads(options.threads)
    seed_everything(0)
    sys.stdout.write(json.dumps(measure(options)) + "\n")


if __name__ == "__main__":
    main()
