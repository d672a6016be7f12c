"""Times training steps of Keras 3 on TensorFlow, with the study's networks and trainable layers.

Runs in an environment of its own, made from `keras-requirements.txt`, and imports nothing of the
project. Every step takes the same batch, which lies in memory.
"""

import argparse
import itertools
import json
import math
import os
import platform
import resource
import statistics
import sys
import time
from typing import Any, NamedTuple

os.environ["KERAS_BACKEND"] = "tensorflow"
try:
    import keras
    import numpy as np
    import tensorflow as tf
except ImportError as error:
    sys.exit(
        f"{error.name} is not installed here; make the environment with `python -m venv DIR` and "
        "`DIR/bin/pip install -r benchmarks/keras-requirements.txt`, then run DIR/bin/python."
    )

NUM_CLASSES = 54


class Backbone(NamedTuple):
    """One network of the study.

    Attributes:
        application: Its name in `keras.applications`.
        module: The module there with its `preprocess_input`.
        input_size: Side of the input, in pixels.
        num_trainable_layers: The last N layer objects, in the order of Keras, that train.
        trainable_parameters: What they hold.
    """

    application: str
    module: str
    input_size: int
    num_trainable_layers: int
    trainable_parameters: int


BACKBONES = {
    "nasnetlarge": Backbone("NASNetLarge", "nasnet", 331, 20, 2_316_384),
    "efficientnetv2m": Backbone("EfficientNetV2M", "efficientnet_v2", 299, 10, 3_021_440),
    "xception": Backbone("Xception", "xception", 299, 15, 6_788_384),
    "inceptionv3": Backbone("InceptionV3", "inception_v3", 299, 15, 394_880),
    "resnet50": Backbone("ResNet50", "resnet50", 224, 10, 4_465_664),
    "densenet201": Backbone("DenseNet201", "densenet", 224, 20, 601_920),
}


class StepClock(keras.callbacks.Callback):
    """Reads the clock at the start and after every step of `fit` or `evaluate`."""

    def __init__(self) -> None:
        super().__init__()
        self.readings: list[float] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start the first step."""
        self.readings.append(time.perf_counter())

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """End a step."""
        self.readings.append(time.perf_counter())

    on_test_begin = on_train_begin
    on_test_batch_end = on_train_batch_end

    def seconds(self) -> list[float]:
        """Return the seconds of each step, its batch's delivery included."""
        return [end - start for start, end in itertools.pairwise(self.readings)]


def build_base(backbone: Backbone, input_size: int) -> keras.Model:
    """Build a network without its head, of which only the study's layers train.

    Raises:
        SystemExit: They don't hold as many parameters as the study's.
    """
    application = getattr(keras.applications, backbone.application)
    base = application(include_top=False, weights=None, input_shape=(input_size, input_size, 3))
    base.trainable = True
    for layer in base.layers[: -backbone.num_trainable_layers]:
        layer.trainable = False
    if count_trainable(base) != backbone.trainable_parameters:
        sys.exit(
            f"{count_trainable(base)} parameters of {backbone.application} train, "
            f"{backbone.trainable_parameters} did in the study; install "
            "benchmarks/keras-requirements.txt."
        )
    return base


def count_trainable(network: keras.Model) -> int:
    """Count a network's trainable parameters."""
    return sum(math.prod(variable.shape) for variable in network.trainable_variables)


def build_model(base: keras.Model, backbone: Backbone, *, jit: bool) -> keras.Model:
    """Put preprocessing and a head around `base` and compile it; it takes RGB in [0, 255]."""
    images = keras.Input(base.input_shape[1:])
    preprocess = getattr(keras.applications, backbone.module).preprocess_input
    # Without `training=`: frozen BatchNorms use their statistics anyway, the others learn theirs.
    features = base(preprocess(images))
    features = keras.layers.GlobalAveragePooling2D()(features)
    features = keras.layers.Dropout(0.3)(features)
    logits = keras.layers.Dense(NUM_CLASSES, dtype="float32")(features)
    model = keras.Model(images, logits)
    model.compile(
        optimizer=keras.optimizers.AdamW(1e-4, weight_decay=0.004),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        jit_compile=jit,
    )
    return model


def repeated_batch(batch_size: int, input_size: int) -> tf.data.Dataset:
    """Return one batch without end: images `(B, S, S, 3)` float32 and targets `(B, K)`."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch_size, input_size, input_size, 3)).astype(np.float32)
    targets = keras.utils.to_categorical(rng.integers(0, NUM_CLASSES, batch_size), NUM_CLASSES)
    return tf.data.Dataset.from_tensors((images, targets)).repeat()


def time_steps(
    model: keras.Model, batches: tf.data.Dataset, options: argparse.Namespace
) -> tuple[list[float], list[float]]:
    """Return the seconds of each training step and of each evaluation step, warm-up included."""
    training, evaluation = StepClock(), StepClock()
    steps = options.warmup + options.steps
    model.fit(batches, steps_per_epoch=steps, callbacks=[training], shuffle=False, verbose=0)
    if options.evaluate_steps:
        steps = options.warmup + options.evaluate_steps
        model.evaluate(batches, steps=steps, callbacks=[evaluation], verbose=0)
    return training.seconds(), evaluation.seconds()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Build the model, time it and return the figures."""
    backbone = BACKBONES[options.model]
    input_size = options.input_size or backbone.input_size
    base = build_base(backbone, input_size)
    model = build_model(base, backbone, jit=options.jit)
    batches = repeated_batch(options.batch_size, input_size)
    training, evaluation = time_steps(model, batches, options)
    timed, evaluated = training[options.warmup :], evaluation[options.warmup :]
    rate = round(options.batch_size / statistics.median(evaluated), 3) if evaluated else None
    return {
        "peer": "keras",
        "model": options.model,
        "input_size": input_size,
        "precision": options.precision,
        "jit": options.jit,
        "batch_size": options.batch_size,
        "threads": options.threads,
        "images_per_second": round(options.batch_size / statistics.median(timed), 3),
        "all_seconds": [round(seconds, 4) for seconds in timed],
        "evaluate_images_per_second": rate,
        "compile_seconds": round(training[0], 3),
        "trainable_parameters": count_trainable(base),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "versions": {
            "python": platform.python_version(),
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
            "numpy": np.__version__,
        },
    }


def parse() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", choices=BACKBONES, default="resnet50", help="default: %(default)s"
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "mixed_bfloat16"),
        default="float32",
        help="default: %(default)s",
    )
    parser.add_argument("--jit", action="store_true", help="compile with XLA")
    parser.add_argument("--batch-size", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--input-size", type=int, help="default: the study's")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=10, help="timed; default: %(default)s")
    parser.add_argument(
        "--warmup", type=int, default=3, help="not timed, the first compiles; default: %(default)s"
    )
    parser.add_argument(
        "--evaluate-steps", type=int, default=0, help="also timed; default: %(default)s"
    )
    options = parser.parse_args()
    if min(options.steps, options.warmup) < 1:
        parser.error("--steps and --warmup must be 1 at least")
    return options


def main() -> None:
    """Measure and print the figures as one line of JSON."""
    options = parse()
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    keras.mixed_precision.set_global_policy(options.precision)
    keras.utils.set_random_seed(0)
    sys.stdout.write(json.dumps(measure(options)) + "\n")


if __name__ == "__main__":
    main()
