"""A catalogue to look at: what keeps it from being trained on is told, not a reason to fail."""

from fashion.catalogue.split_catalogue import SplitCatalogue
from fashion.catalogue.table import TooFewClassesError, drop_unreadable
from fashion.data.preparation import LoadedCatalogue, load, split
from fashion.data.settings import DataSettings
from fashion.twins.groups import find_twins


def load_to_show(settings: DataSettings) -> tuple[LoadedCatalogue, str]:
    """Read a catalogue, with all its labels where too few of them are left to train on.

    Returns:
        The catalogue, and why it can't be trained on, if it can't.

    Raises:
        FileNotFoundError: No catalogue lies at `data.root`.
        ValueError: The catalogue can't be used.
    """
    try:
        return load(settings), ""
    except (TooFewClassesError, FileNotFoundError) as error:  # the latter of a single folder
        return load(settings, keep_rare=True), str(error)


def split_to_show(
    loaded: LoadedCatalogue, unreadable: dict[str, str], problem: str
) -> tuple[SplitCatalogue, str]:
    """Divide a catalogue into splits, or leave it whole where that can't be done.

    Args:
        loaded: As `load_to_show` returned it.
        unreadable: Maps an id to what is wrong with its photo.
        problem: As `load_to_show` returned it.

    Returns:
        The photos, and why they can't be trained on, if they can't.

    Raises:
        ValueError: No photo can be decoded.
    """
    settings = loaded.settings
    if not problem:
        try:
            return split(loaded, unreadable, with_twins=True), ""
        except ValueError as error:
            problem = str(error)
    catalogue = drop_unreadable(loaded.catalogue, unreadable, None)
    if catalogue.table.empty:
        id_, reason = next(iter(unreadable.items()))
        raise ValueError(
            f"data.root={settings.root!r}: none of the {len(unreadable)} photos can be decoded, "
            f"{id_!r} for one ({reason}). Pass another catalogue."
        )
    twins = find_twins(loaded.root, catalogue.table, settings.cache_folder)
    return SplitCatalogue.undivided(catalogue, catalogue.class_names, twins), problem
