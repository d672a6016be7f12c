"""`fashion label`: labels of millions of photos."""

import sys
from pathlib import Path
from typing import Any

from fashion.bundles.bundle_files import BundleFiles
from fashion.commands.predict import precision_of
from fashion.commands.words import truth
from fashion.jobs.label_job import Change, absolute, label_job
from fashion.jobs.settings import Effort, JobSettings
from fashion.labelling.named import NamesFile
from fashion.wording import many


def run(settings: dict[str, Any], files: list[str]) -> None:
    """Label photos, go on with it, or say that it is done."""
    output = settings["output"]
    names = NamesFile.read(settings["names"]) if "names" in settings else None
    asked = JobSettings(
        bundle=BundleFiles(settings["bundle"]).id,
        int8=truth("int8", settings),
        dtype=settings.get("dtype", "float32"),
        precision=precision_of(settings.get("precision")),
        batch_size=_whole("batch_size", settings, JobSettings.batch_size),
        shard=_whole("shard", settings, JobSettings.shard),
        probabilities=truth("probabilities", settings),
        zip_encoding=settings.get("zip_encoding"),
        names=None if names is None else names.sha256,
        input=absolute(settings["input"]),
    )
    effort = Effort(
        engine=settings.get("engine", "local"),
        ray_address=settings.get("ray_address"),
        workers=_whole("workers", settings, 1) if "workers" in settings else None,
        photo_s=_seconds(settings),
    )
    change = Change(update=truth("update", settings), retry_failed=truth("retry_failed", settings))
    try:
        summary, was_finished = label_job(
            *(settings["bundle"], output, settings["input"], asked, effort, change, names)
        )
    except KeyboardInterrupt:
        sys.exit(f"Stopped. {output} keeps what is labelled; type the same again to go on.")
    sys.stdout.write(_told(summary, Path(output), was_finished=was_finished))


def _told(summary: dict[str, Any], output: Path, *, was_finished: bool) -> str:
    labelled = summary["labelled"] + summary["refused"]
    unsure = ""
    if summary["job"]["precision"] is not None:
        unsure = f"{summary['refused']:,} of them not sure, "
    again = "It was finished before: " if was_finished else ""
    return (
        f"{again}{many(labelled, 'photo')} labelled, {unsure}{summary['unreadable']:,} "
        f"unreadable: {output / 'predictions.csv'}\n"
    )


def _whole(key: str, settings: dict[str, Any], default: int) -> int:
    text = settings.get(key, str(default))
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{key}={text!r} must be a whole number, 1 or more.")
    return int(text)


def _seconds(settings: dict[str, Any]) -> float:
    text = settings.get("photo_s", str(Effort.photo_s))
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"photo_s={text!r} must be a number of seconds.") from None
