"""`fashion corrections`: what people decided on photos kept for review, told, read and exported."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

from fashion.review.decided_files import import_decisions
from fashion.review.exports import Known, export
from fashion.review.review_store import ReviewStore
from fashion.review.status import describe
from fashion.wording import did_you_mean, first_of, many

TAKES = {
    "status": (),
    "export": ("output", "data"),
    "import": ("person",),
    "forget": ("sha256",),
}


def run(settings: dict[str, Any], words: list[str]) -> None:
    """Do what the first word says with a review folder."""
    action, *files = words
    if action not in TAKES:
        hint = did_you_mean(action, TAKES)
        raise ValueError(f"{action!r} is unknown{hint}; pass {', '.join(TAKES)}.")
    strange = sorted(settings.keys() - {"review", *TAKES[action]})
    if strange:
        needs = ", ".join(f"{key}=" for key in ("review", *TAKES[action]))
        raise ValueError(f"{strange[0]}= is nothing to {action}; it takes {needs}.")
    if files and action != "import":
        raise ValueError(f"{action} takes no file, but there is {files[0]!r}.")
    store = ReviewStore(settings["review"], must_exist=True)
    try:
        ACTIONS[action](store, settings, files)
    finally:
        store.close()


def _status(store: ReviewStore, settings: Mapping[str, Any], files: list[str]) -> None:
    sys.stdout.writelines(f"{line}\n" for line in describe(store))


def _export(store: ReviewStore, settings: Mapping[str, Any], files: list[str]) -> None:
    if "output" not in settings:
        raise ValueError("output is missing; pass output=DIR, the folder to write.")
    find_known = None
    if "data" in settings:
        from fashion.data.known_photos import KnownPhotos  # pandas, faiss
        from fashion.data.settings import DataSettings

        known = KnownPhotos(DataSettings.from_config(settings["data"]))

        def find_known(photos: list[str]) -> Mapping[str, list[Known]]:
            found = known.find(photos, lambda sha256: store.photo(sha256) or b"")
            return {sha256: [Known(*each) for each in ids] for sha256, ids in found.items()}

    exported = export(store, settings["output"], find_known)
    sys.stdout.write(f"{settings['output']}: {exported.describe()}\n")


def _import(store: ReviewStore, settings: Mapping[str, Any], files: list[str]) -> None:
    if len(files) != 1:
        raise ValueError(f"import takes one CSV, but there are {len(files)}; type its name.")
    if "person" not in settings:
        raise ValueError("person is missing; pass person=NAME, who decided.")
    done = import_decisions(store, files[0], settings["person"])
    told = [
        f"{many(done.new, 'decision')} kept",
        f"{done.known:,} kept before" if done.known else "",
        f"{many(done.undecided, 'row says', 'rows say')} nothing" if done.undecided else "",
        f"{many(len(done.unknown), 'photo isn', 'photos aren')}'t in the folder "
        f"({first_of(done.unknown, 3)})"
        if done.unknown
        else "",
        f"{many(len(done.ambiguous), 'name has', 'names have')} several photos "
        f"({first_of(done.ambiguous, 3)})"
        if done.ambiguous
        else "",
    ]
    sys.stdout.write(f"{', '.join(filter(None, told))}.\n")
    if not done.new + done.known:
        sys.exit(1)  # a script is to notice


def _forget(store: ReviewStore, settings: Mapping[str, Any], files: list[str]) -> None:
    if "sha256" not in settings:
        raise ValueError("sha256 is missing; pass sha256=… of the photo, once for each.")
    forgotten = store.forget(settings["sha256"])
    sys.stdout.write(f"{many(forgotten, 'photo')} forgotten, of {len(settings['sha256']):,}.\n")
    if forgotten < len({*settings["sha256"]}):
        sys.exit(1)


ACTIONS: dict[str, Callable[[ReviewStore, Mapping[str, Any], list[str]], None]] = {
    "status": _status,
    "export": _export,
    "import": _import,
    "forget": _forget,
}
