"""The report on a run: its model predicts a split, is looked at, and written about."""

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import pandas as pd
from lightning import Trainer

from fashion.data.datamodule import FashionDataModule
from fashion.devices.xla import compilation_facts
from fashion.metrics.calibration import fit_calibration
from fashion.metrics.predictions import Predictions
from fashion.metrics.scaling import Calibration
from fashion.reports.error_analysis import analyse_errors
from fashion.reports.parts import Parts
from fashion.reports.report import write_report
from fashion.training.classifier import ProductClassifier
from fashion.training.facts import run_facts
from fashion.training.inference import predict_split
from fashion.training.plugins import store_calibration
from fashion.training.run_folder import RunFolder

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # on the disk, in a quota, under a limit


def check_robustness_photos(number: object) -> None:
    """Refuse what is no number of photos."""
    is_number = isinstance(number, int) and not isinstance(number, bool) and number >= 0
    if number is not None and not is_number:
        raise ValueError(
            f"robustness_photos={number!r} must be a whole number, 0 or more, or null for as many "
            "as the size of the split allows."
        )


def report_on(
    trainer: Trainer,
    classifier: ProductClassifier,
    datamodule: FashionDataModule,
    *,
    config: dict[str, Any],
    history: pd.DataFrame,
    split: str,
    output_dir: Path,
    ckpt_path: Path | None,
    is_loaded: bool = False,
    calibration: Calibration | None = None,
    of_attributes: Mapping[str, Calibration] | None = None,
    robustness_photos: int | None = None,
    trained_ids: frozenset[str] | None = None,
) -> dict[str, Any]:
    """Predict a split, save the predictions, then look at the model's errors and write the report.

    They are `predictions.npz` and `report/`; for another split than `test` both names end in
    `-<split>`. Once the predictions are saved, a part that fails is left out and named in the
    report. With several processes each predicts its share and the first one writes.

    Args:
        trainer: As in `fashion.training.inference.predict_split`.
        classifier: The model.
        datamodule: Its catalogue, after `setup`.
        config: The run's configuration.
        history: The run's epochs.
        split: `train`, `val`, `test` or `all`.
        output_dir: The run's folder, or another; made when missing.
        ckpt_path: The model's checkpoint; None: there is none.
        is_loaded: Whether its weights are in the model already.
        calibration: Of the model, if it is known; else it is fitted on the validation split, for a
            report on the test split, and kept in the checkpoint if that lies in `output_dir`.
        of_attributes: The same of each attribute, by its name.
        robustness_photos: See `fashion.reports.error_analysis.analyse_errors`.
        trained_ids: Of the photos that the model was trained on, if the split may hold some.

    Returns:
        The summary as `fashion.reports.report.write_report` returns it.

    Raises:
        OSError: The disk is full; what was written before is whole.
    """
    folder, parts = RunFolder(output_dir), Parts(lambda: trainer.received_sigterm)
    to_load, fitted, of_attributes = None if is_loaded else ckpt_path, None, of_attributes or {}
    with _naming_a_full_disk(output_dir):
        output_dir.mkdir(parents=True, exist_ok=True)
        if calibration is None and split == "test":
            validated = predict_split(trainer, classifier, datamodule, "val", to_load)
            calibration = fitted = parts.make("calibration", lambda: _fit(validated), None)
            of_attributes = _fit_attributes(validated, parts)
            to_load = None
            _save(trainer, _at(calibration, of_attributes, validated), folder.predictions("val"))
        predicted = predict_split(trainer, classifier, datamodule, split, to_load)
        predictions = _at(calibration, of_attributes, predicted)
        _save(trainer, predictions, folder.predictions(split))
        if fitted and _is_of_this_run(ckpt_path, output_dir) and trainer.is_global_zero:
            states = {name: each.state() for name, each in of_attributes.items()}
            keep = partial(store_calibration, ckpt_path, fitted.state(), states)
            parts.make("calibration in the checkpoint", keep, None)
        analysis = analyse_errors(
            trainer,
            classifier,
            datamodule,
            predictions,
            split,
            calibration=calibration,
            robustness_photos=robustness_photos,
            parts=parts,
        )
        if not trainer.is_global_zero:
            return {}
        if trained_ids is not None:
            known = np.isin(predictions.image_ids, sorted(trained_ids))
            analysis = replace(analysis, trained_on=known)
        run = run_facts(config, history, ckpt_path, datamodule, classifier)
        run |= {"split": split, **compilation_facts(trainer)}
        return write_report(predictions, run, history, folder.report(split), analysis, parts)


@contextmanager
def _naming_a_full_disk(output_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise OSError(
            f"output_dir={str(output_dir)!r} can't take the whole report ({error.strerror}); what "
            "was there before is unharmed. Make room, then run fashion evaluate ckpt_path=<the "
            "run's checkpoints/best.ckpt>."
        ) from error


def _fit(validated: Predictions) -> Calibration:
    return fit_calibration(validated.probabilities, validated.targets)


def _fit_attributes(validated: Predictions, parts: Parts) -> dict[str, Calibration]:
    fitted = {
        name: parts.make(f"calibration of {name}", partial(_fit, each), None)
        for name, each in validated.attributes.items()
    }
    return {name: calibration for name, calibration in fitted.items() if calibration}


def _at(
    calibration: Calibration | None,
    of_attributes: Mapping[str, Calibration],
    predictions: Predictions,
) -> Predictions:
    """Give predictions the temperatures that are known of their model."""
    attributes = {
        name: _at(of_attributes.get(name), {}, each)
        for name, each in predictions.attributes.items()
    }
    temperature = calibration.temperature if calibration else None
    return replace(predictions, temperature=temperature, attributes=attributes)


def _save(trainer: Trainer, predictions: Predictions, path: Path) -> None:
    if trainer.is_global_zero:
        predictions.save(path)


def _is_of_this_run(ckpt_path: Path | None, output_dir: Path) -> TypeGuard[Path]:
    """Return whether there is a checkpoint to write to: a run that is only read stays as it is."""
    return ckpt_path is not None and ckpt_path.resolve().is_relative_to(output_dir.resolve())
