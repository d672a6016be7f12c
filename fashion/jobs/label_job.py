"""Begin a job, go on with one, or say that it is finished."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fashion.bundles.bundle_files import BundleFiles
from fashion.files import size_text
from fashion.jobs import manifest
from fashion.jobs.deaths import Deaths
from fashion.jobs.ending import failed_rows, finished, write_ending
from fashion.jobs.folder import Job, JobFolder
from fashion.jobs.inputs import list_places, tables_with_names
from fashion.jobs.local_engine import Progress, label_locally, share_cores
from fashion.jobs.orders import Order, Task
from fashion.jobs.results import Results
from fashion.jobs.settings import Effort, JobSettings
from fashion.labelling.bundle_models import open_bundle
from fashion.labelling.named import NamesFile, one_model
from fashion.labelling.photos import Place
from fashion.wording import many

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Change:
    """What is done to a job that is there.

    Attributes:
        update: Photos that the input has gained are appended.
        retry_failed: Photos that couldn't be read are tried again.
    """

    update: bool = False
    retry_failed: bool = False


def label_job(
    bundle: str | Path,
    output: str | Path,
    paths: Sequence[str],
    asked: JobSettings,
    effort: Effort | None = None,
    change: Change | None = None,
    names: NamesFile | None = None,
) -> tuple[dict[str, Any], bool]:
    """Label a job's photos, or those that are left of it.

    Args:
        bundle: Of `fashion export`, whose id the settings have.
        output: The folder of the job; made where it isn't there.
        paths: Where the photos are, see `fashion.jobs.inputs.list_places`; photos are called by
            these, as they are told here.
        asked: What decides the results.
        effort: How it is done.
        change: What is done to a job that is there.
        names: Products' names beside the photos, whose SHA-256 the settings have.

    Returns:
        The summary, see `fashion.jobs.ending.write_ending`, and whether it was finished before.

    Raises:
        FileNotFoundError: A path isn't there, or there is no photo.
        OSError: The folder can't be written.
        ValueError: Something that was asked for is wrong, or the folder is another job's.
    """
    effort, change = effort or Effort(), change or Change()
    folder = JobFolder(Path(output).expanduser())
    with folder.alone():
        job = folder.read()
        if job is None:
            job = _begin(folder, bundle, paths, asked, names)
        else:
            folder.check(job, asked, grows=change.update)
            if change.update:
                job = _grow(folder, paths, replace(job, settings=asked), names)
        tasks = _tasks(folder, job, retry_failed=change.retry_failed)
        if not tasks and (summary := finished(folder, job)):
            return summary, True
        folder.summary.unlink(missing_ok=True)
        speed = _label(folder, job, tasks, Path(bundle), effort)
        return write_ending(folder, job, speed), False


def _begin(
    folder: JobFolder,
    bundle: str | Path,
    paths: Sequence[str],
    asked: JobSettings,
    names: NamesFile | None,
) -> Job:
    """Make a job: prove that the bundle labels, and list the photos."""
    files = BundleFiles(bundle)
    model = open_bundle(files, int8=asked.int8, dtype=asked.dtype)
    threshold = None if asked.precision is None else model.threshold(asked.precision)
    job = Job(asked, model.heads.class_names, threshold, attributes=model.heads.attributes)
    tables = tables_with_names(paths)
    if tables and not names and model.names is None:
        log.warning("%s reads no names; those in %s are left.", files.subject, ", ".join(tables))
    elif tables or names:
        name_model = one_model([model], names.subject if names else tables[0])
        named = None if asked.precision is None else name_model.threshold(asked.precision)
        job = replace(job, reads_names=True, named_threshold=named)
    del model
    return _extend(folder, job, _listed(paths, asked, names), "listed")


def _grow(folder: JobFolder, paths: Sequence[str], job: Job, names: NamesFile | None) -> Job:
    """Append what isn't in the manifest yet."""
    known = {place for reader in folder.readers(job) for place in reader.files()}
    listed = _listed(paths, job.settings, names)
    new = (each for each in listed if manifest.raw_place(each) not in known)
    return _extend(folder, job, new, "appended")


def _extend(folder: JobFolder, job: Job, places: Iterator[Place], said: str) -> Job:
    path = manifest.part_path(folder.path, len(job.parts))
    part = manifest.write_part(path, job.rows, places)
    if part.rows:
        job = replace(job, parts=(*job.parts, part))
    else:
        path.unlink()
    if not job.rows:
        raise FileNotFoundError(f"There is no photo in input={', '.join(job.settings.input)}.")
    folder.write(job)
    log.warning("%s %s.", many(part.rows, "photo"), said)
    return job


def _listed(paths: Sequence[str], asked: JobSettings, names: NamesFile | None) -> Iterator[Place]:
    """Yield the places of photos, and say how many of them a file names."""
    places = list_places(paths, asked.zip_encoding)
    bar = tqdm(places, "Listing", unit="photo", disable=None)
    if names is None:
        yield from bar
        return
    number, named, example = 0, 0, ""
    for place in bar:
        product = names.of(place.name)
        number, named, example = number + 1, named + bool(product), place.name
        yield place._replace(product=product or place.product)
    names.tell(named, number, example)


def _tasks(folder: JobFolder, job: Job, *, retry_failed: bool) -> list[Task]:
    """Return what is left to do."""
    shards = job.shards()
    undone = folder.undone(shards)
    tasks = [Task(shard) for shard in undone]
    if retry_failed:
        Deaths(folder.deaths).forget()
        left = {*undone}
        results = Results(job)
        failed = failed_rows(folder, results, [shard for shard in shards if shard not in left])
        tasks += [Task(shard, tuple(rows)) for shard, rows in failed.items()]
    return tasks


def _label(
    folder: JobFolder, job: Job, tasks: Sequence[Task], bundle: Path, effort: Effort
) -> dict[str, float]:
    """Do the tasks, and return how fast that was."""
    number = sum(task.number for task in tasks)
    before = job.rows - number
    if before:
        log.warning("%s of %s were labelled before.", f"{before:,}", many(job.rows, "photo"))
    if job.settings.probabilities and not before:
        size = job.rows * len(job.classes) * 2
        log.warning("All probabilities take up to %s in %s.", size_text(size), folder.results)
    order = Order(
        *(folder.path.absolute(), job, bundle.expanduser().absolute()),
        threads=share_cores(effort.workers)[1],
    )
    began = time.monotonic()
    with tqdm(desc="Labelling", total=job.rows, initial=before, unit="photo", disable=None) as bar:
        _engine(effort)(order, tasks, effort, lambda done: _show(bar, before + done))
    seconds = time.monotonic() - began
    return {
        "photos": number,
        "seconds": round(seconds, 1),
        "photos_per_second": round(number / seconds, 1) if number else 0.0,
    }


def _engine(effort: Effort) -> Callable[[Order, Sequence[Task], Effort, Progress], None]:
    """Return what does tasks."""
    if effort.engine == "local":
        return label_locally
    from fashion.jobs.ray_engine import label_with_ray

    return label_with_ray


def _show(bar: Any, done: int) -> None:  # noqa: ANN401 - tqdm's
    bar.update(done - bar.n)


def absolute(paths: Sequence[str]) -> tuple[str, ...]:
    """Return paths as a job keeps them, whichever folder its command is typed in."""
    return tuple(os.path.abspath(path) for path in paths)
