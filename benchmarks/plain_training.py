"""Times training steps of the plain timm and Lightning loop, the peer written in an afternoon.

It shares the project's settings (`conf/model`) and none of its code: frozen parameters merely have
no gradient; BatchNorm, memory format and precision are as timm and Lightning leave them. Every step
takes the same batch, which lies in memory.
"""

import argparse
import re
from typing import Any

import timm
import torch
from lightning import LightningModule, Trainer, seed_everything
from steps import (
    NUM_CLASSES,
    SILENT,
    StepClock,
    check_positive,
    load_settings,
    print_line,
    step_options,
)
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader


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


def count_trainable(network: nn.Module) -> int:
    """Count a timm network's trainable parameters, those of its head left out."""
    total = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return total - sum(p.numel() for p in network.get_classifier().parameters())


def make_batch(batch_size: int, input_size: int) -> tuple[Tensor, Tensor]:
    """Return normalised images `(B, 3, S, S)` float32 and targets `(B,)`."""
    images = torch.randn(batch_size, 3, input_size, input_size)
    return images, torch.randint(NUM_CLASSES, (batch_size,))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Build the model, time it and return the figures."""
    settings = load_settings(options.model)
    input_size = options.input_size or settings["input_size"]
    classifier, clock = PlainClassifier(settings), StepClock()
    batches = [make_batch(options.batch_size, input_size)] * (options.warmup + options.steps)
    trainer = Trainer(**SILENT, precision=options.precision, max_epochs=1, callbacks=[clock])
    trainer.fit(classifier, DataLoader(batches, batch_size=None))
    return {
        "input_size": input_size,
        "trainable_parameters": count_trainable(classifier.network),
        **clock.figures(options),
    }


def main() -> None:
    """Measure and print the figures as one line of JSON."""
    parser = step_options(__doc__.splitlines()[0], "32-true")
    options = parser.parse_args()
    check_positive(parser, options)
    torch.set_num_threads(options.threads)
    seed_everything(0)
    print_line("plain", options, measure(options))


if __name__ == "__main__":
    main()
