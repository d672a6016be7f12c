"""Counts what XLA compiles in the first epochs of each backbone, on virtual devices of XLA's CPU.

Every backbone trains in a process of its own on the drawn sample, from random weights, at a small
input size: the number of graphs is that of a TPU, the seconds are those of this machine.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from fashion.metrics.study import load_study

REPO = Path(__file__).parents[1]
MODELS = list(load_study()["models"])


def train(model: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train for `options.epochs` epochs and return the summary's `xla` block with `seconds`."""
    settings = [
        "data=sample",
        f"data.batch_size={options.batch_size}",
        "data.num_workers=1",
        f"model={model}",
        "model.pretrained=false",
        f"model.input_size={options.input_size}",
        "trainer.accelerator=xla",
        f"trainer.devices={'auto' if options.devices > 1 else 1}",
        f"trainer.precision={options.precision}",
        f"trainer.max_epochs={options.epochs}",
        f"trainer.limit_train_batches={options.batches}",
        f"trainer.limit_val_batches={options.batches}",
        f"trainer.limit_predict_batches={options.batches}",
        "trainer.log_every_n_steps=2",
        "trainer.enable_progress_bar=false",
        "trainer.enable_model_summary=false",
        f"hydra.run.dir={folder / model}",
    ]
    environment = {"PJRT_DEVICE": "CPU", "CPU_NUM_DEVICES": str(options.devices)}
    result = subprocess.run(
        [sys.executable, "train.py", *settings],
        cwd=REPO,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    if result.returncode:
        sys.exit(f"{model} failed:\n{result.stderr[-3000:]}")
    facts: dict[str, Any] = json.loads((folder / model / "report" / "summary.json").read_text())
    history = (folder / model / "history.csv").read_text().splitlines()
    seconds = [float(row.split(",")[-1]) for row in history[1:]]
    return facts["xla"] | {"seconds_by_epoch": seconds}


def row(model: str, facts: dict[str, Any]) -> str:
    """Return one line of the table: graphs and compile seconds of each epoch, and the totals."""
    epochs = zip(facts["graphs_by_epoch"], facts["compile_seconds_by_epoch"], strict=True)
    cells = [f"{graphs:>6} {seconds:>8.1f} s" for graphs, seconds in epochs]
    host = ", ".join(facts["fallbacks"]) or "none"
    return "  ".join([f"{model:<16}", *cells, f"{facts['graphs']:>6}", f"{host:>10}"])


def parse() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS, metavar="MODEL")
    parser.add_argument("--devices", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--batches", type=int, default=3, help="an epoch; default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=16, help="default: %(default)s")
    parser.add_argument("--input-size", type=int, default=96, help="default: %(default)s")
    parser.add_argument("--precision", default="32-true", help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    return parser.parse_args()


def main() -> None:
    """Measure, print and, with `--json`, write the figures."""
    options = parse()
    sys.stdout.write(
        f"{options.devices} virtual devices, {options.input_size} px, batches of "
        f"{options.batch_size}, {options.batches} an epoch, {options.precision}, "
        f"{os.cpu_count()} cores, torch {torch.__version__}\n"
    )
    epochs = [f"{f'epoch {number}':>17}" for number in range(1, options.epochs + 1)]
    sys.stdout.write("  ".join([f"{'':16}", *epochs, f"{'graphs':>6}", f"{'on host':>10}"]) + "\n")
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            measured[model] = train(model, options, Path(folder))
            sys.stdout.write(row(model, measured[model]) + "\n")
            sys.stdout.flush()
    if options.json:
        figures = {**vars(options), "json": None, "measured": measured}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
