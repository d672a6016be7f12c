"""Show a catalogue before a model is trained on it: a page, figures, `audit.json`, CSV files."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from tqdm import tqdm

from fashion.catalogue.images import photo_facts
from fashion.catalogue.root import CatalogueRoot
from fashion.catalogue.split_catalogue import SplitCatalogue
from fashion.cores import usable_cores
from fashion.data.preparation import LoadedCatalogue, catalogue_facts
from fashion.data.settings import DataSettings
from fashion.data.shown import load_to_show, split_to_show
from fashion.files import rewriting
from fashion.reports import explore_figures as plots
from fashion.reports.figures import plot_class_distribution
from fashion.reports.label_warnings import label_warnings, suggested_names
from fashion.reports.names import numbered
from fashion.reports.pages import Gallery, Sheet, png, render, write_pictures
from fashion.tables import csv_text, list_text
from fashion.wording import many

VALUES = range(2, 61)  # how many a column may have for its shares to be shown
CROSSED = range(2, 9)  # and for each label to be divided by them
SAMPLES = 8  # photos of each label on the page
MOST_SAMPLED = 60  # labels of which there are samples
CHUNK = 4096  # photos looked at before the results are packed
GROUPS, IN_GROUP = 12, 12  # of twins on the page
FEW = 10  # photos in a class's test split, below which its scores mean little
IMBALANCE = 10  # times the photos of the smallest class, above which accuracy misleads


def explore(settings: DataSettings, input_size: int, output_dir: Path) -> dict[str, Any]:
    """Write the page and its files.

    Args:
        settings: Name the catalogue.
        input_size: Side of a network's input, in pixels, that sizes are compared with.
        output_dir: Made when missing; older files of the same names in it are replaced.

    Returns:
        What `audit.json` holds.

    Raises:
        FileNotFoundError: No catalogue lies at `data.root`.
        ValueError: The catalogue or a setting can't be used.
    """
    loaded, problem = load_to_show(settings)
    images = look_at_photos(loaded.root, loaded.photos)
    faulty = images[images["error"] != ""]
    unreadable = dict(zip(faulty["id"], faulty["error"], strict=True))
    splits, problem = split_to_show(loaded, unreadable, problem)
    images = images[images["id"].isin(splits.table["id"])].drop(columns="error")
    attributes = kept_attributes(settings, splits)
    tables = {
        "class_distribution": class_distribution(splits),
        "shares": column_shares(attributes),
        "label_by_column": label_by_column(attributes, splits.own["label"]),
        "images": images,
        "image_sizes": _counts(images, ["width", "height"]),
        "image_modes": _counts(images, ["mode"]),
        "twins": splits.twins,
        "rename": suggested_names(splits),
    }
    audit = summarise(loaded, splits, input_size, tables)
    if problem:
        audit["warnings"].insert(0, f"This can be looked at, but not trained on: {problem}")
    doubted = pd.concat([disagreeing_twins(splits.twins)["label"], tables["rename"]["old"]])
    sampled = sampled_classes(splits, doubted)
    is_some = len(sampled) < len(splits.class_names)
    in_words = f"{len(sampled)} of {len(splits.class_names):,} classes" if is_some else ""
    drawn = {n: png(each) for n, each in _draw(settings, input_size, splits, tables).items()}
    with rewriting(output_dir) as write:
        splits.write_tables(output_dir)
        for name, table in tables.items():
            as_text = list_text if name == "rename" else csv_text
            write(f"{name}.csv", as_text(table, float_format="%.6g"))
        text = json.dumps(audit, indent=2, ensure_ascii=False, allow_nan=False)
        write("audit.json", f"{text}\n")
        page = render(
            "explore.html.j2",
            audit=audit,
            classes=tables["class_distribution"].to_dict("records"),
            sizes=tables["image_sizes"].head(10).to_dict("records"),
            splits=splits.names if splits.is_divided else (),
            files=[f"{name}.csv" for name in (*tables, "audit", *["splits"] * splits.is_divided)],
            samples=sample_sheets(loaded.root, splits, sampled),
            which=in_words,
            largest=twin_sheets(loaded.root, splits, splits.twins),
            disagreeing=twin_sheets(loaded.root, splits, disagreeing_twins(splits.twins)),
            pictures=write_pictures(drawn, write),
            numbered=numbered(splits.class_names),
            numbered_values={
                column: numbers
                for column, part in tables["shares"].groupby("column", sort=False)
                if (numbers := numbered(part["value"]))
            },
        )
        write("index.html", page)
    return audit


def look_at_photos(root: CatalogueRoot, table: pd.DataFrame) -> pd.DataFrame:
    """Decode each photo once.

    Args:
        root: Reads the photos.
        table: The catalogue table.

    Returns:
        `id`, `width`, `height`, `mode` (Pillow's), `bytes` and `error`, empty where there is none.
    """

    def look(photo: str) -> tuple[int, int, str, int, str]:
        try:
            content = root.read(photo)
            return *photo_facts(content), len(content), ""
        except ValueError as error:
            return 0, 0, "", 0, str(error) or type(error).__name__

    columns, parts = ["width", "height", "mode", "bytes", "error"], []
    bar = tqdm(total=len(table), desc="Decoding photos", unit="photo", disable=None)
    with ThreadPoolExecutor(usable_cores()) as pool, bar:
        for start in range(0, len(table), CHUNK):
            looks = list(pool.map(look, table["photo"].iloc[start : start + CHUNK]))
            part = pd.DataFrame(looks, columns=columns)
            parts.append(part.astype({"mode": "category"}))
            bar.update(len(looks))
    seen = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    seen = seen.astype({"mode": str})
    seen.insert(0, "id", table["id"].to_numpy())
    return seen


def class_distribution(splits: SplitCatalogue) -> pd.DataFrame:
    """Return `label`, `photos`, `kept`, `share`, `cumulative_share` and photos a split.

    The largest label comes first; shares are of the kept photos. Labels dropped as rare stand there
    with their photos and no share.
    """
    rare = splits.catalogue.rare["label"].value_counts()
    counts = pd.DataFrame.from_dict(splits.class_counts(), orient="index")
    kept = counts.assign(photos=counts.sum(axis=1), kept=True)
    table = pd.concat([kept, pd.DataFrame({"photos": rare, "kept": False})]).fillna(0)
    table = table.sort_values("photos", ascending=False, kind="stable").reset_index(names="label")
    share = table["photos"].where(table["kept"].astype(bool), 0) / kept["photos"].sum()
    table = table.assign(share=share, cumulative_share=share.cumsum())
    splits_of = list(splits.names) if splits.is_divided else []
    table = table.astype(dict.fromkeys(("photos", *splits_of), int))
    return table[["label", "photos", "kept", "share", "cumulative_share", *splits_of]]


def kept_attributes(settings: DataSettings, splits: SplitCatalogue) -> pd.DataFrame:
    """Return the other columns of the catalogue's kept rows, in order and with their index."""
    others = splits.catalogue.attributes.drop(
        columns=[settings.id_column, settings.image_column, settings.label], errors="ignore"
    )
    lines = splits.own["line"]
    return others.loc[lines].set_index(lines.index).astype(str)


def column_shares(attributes: pd.DataFrame) -> pd.DataFrame:
    """Return `column`, `value`, `photos` and `share` of the columns of few values."""
    parts = [pd.DataFrame(columns=["column", "value", "photos", "share"])]
    for column in attributes:
        counts = attributes[column].value_counts()
        if len(counts) in VALUES and 2 * len(counts) <= len(attributes):
            part = counts.rename_axis("value").reset_index(name="photos")
            part.insert(0, "column", str(column))
            parts.append(part.assign(share=part["photos"] / len(attributes)))
    return pd.concat(parts[1:] or parts, ignore_index=True)


def label_by_column(attributes: pd.DataFrame, labels: "pd.Series[str]") -> pd.DataFrame:
    """Return `label`, `column`, `value` and `photos` of the columns of very few values."""
    parts = [pd.DataFrame(columns=["label", "column", "value", "photos"])]
    for column in attributes:
        if attributes[column].nunique() in CROSSED:
            counts = attributes.groupby([labels.rename("label"), column]).size()
            part = counts.rename_axis(["label", "value"]).reset_index(name="photos")
            part.insert(1, "column", str(column))
            parts.append(part)
    return pd.concat(parts[1:] or parts, ignore_index=True)


def disagreeing_twins(twins: pd.DataFrame) -> pd.DataFrame:
    """Return the groups of twins that have more than one label."""
    return twins[twins.groupby("group")["label"].transform("nunique") > 1]


def summarise(
    loaded: LoadedCatalogue,
    splits: SplitCatalogue,
    input_size: int,
    tables: dict[str, pd.DataFrame],
) -> dict[str, Any]:
    """Return the counts of the audit, and in words `notes` on its reading and `warnings`.

    Args:
        loaded: The catalogue.
        splits: Its readable photos.
        input_size: As in `explore`.
        tables: `class_distribution`, `images`, `image_modes`, `image_sizes` and `rename`.
    """
    facts = {
        **catalogue_facts(loaded, splits),
        "input_size": input_size,
        "fit": loaded.settings.fit,
    }
    distribution, images = tables["class_distribution"], tables["images"]
    kept = distribution[distribution["kept"].astype(bool)]
    largest, smallest = kept.iloc[0], kept.iloc[-1]
    twins = splits.twins
    disagreeing = disagreeing_twins(twins)
    small = images[["width", "height"]].max(axis=1) < input_size
    audit: dict[str, Any] = {
        **facts,
        "rare_labels": int((~distribution["kept"].astype(bool)).sum()),
        "largest_class": {"label": largest["label"], "photos": int(largest["photos"])},
        "smallest_class": {"label": smallest["label"], "photos": int(smallest["photos"])},
        "imbalance_ratio": round(largest["photos"] / smallest["photos"], 2),
        "classes_with_few_test_photos": (
            int(kept["test"].between(1, FEW - 1).sum()) if "test" in kept else 0
        ),
        "twin_groups_of_several_labels": int(disagreeing["group"].nunique()),
        "largest_twin_group": int((twins["group"] == 0).sum()),  # they come by size
        "modes": dict(tables["image_modes"].to_numpy().tolist()),
        "sizes": len(tables["image_sizes"]),
        "bytes": int(images["bytes"].sum()),
        "upscaled": int(small.sum()),
    }
    sentences = [*splits.notes(), *label_warnings(tables["rename"]), *warnings(audit, kept)]
    return {**audit, "notes": list(loaded.catalogue.notes), "warnings": sentences}


def warnings(audit: dict[str, Any], kept: pd.DataFrame) -> list[str]:
    """Return what to mind of this catalogue, a sentence or two each."""
    sentences = []
    dropped, largest, smallest = audit["dropped"], audit["largest_class"], audit["smallest_class"]
    if audit["imbalance_ratio"] >= IMBALANCE:
        sentences.append(
            f"“{largest['label']}” has {audit['imbalance_ratio']:.0f} times the photos of "
            f"“{smallest['label']}” ({largest['photos']:,} and {smallest['photos']:,}). Accuracy "
            "speaks of the large classes; look at macro-F1 and macro-AUPRC."
        )
    few = audit["classes_with_few_test_photos"]
    if few:
        tested = kept[kept["test"] > 0]
        least = tested.iloc[int(tested["test"].argmin())]
        sentences.append(
            f"{many(few, 'class has', 'classes have')} fewer than {FEW} test photos: one photo of "
            f"“{least['label']}”, which has {least['test']}, is {1 / least['test']:.0%} of its "
            "recall. Raise data.min_images, or read the scores of small classes with care."
        )
    if audit.get("test_with_twin_in_train"):
        share = audit["test_with_twin_in_train"] / audit["test"]
        sentences.append(
            f"{audit['test_with_twin_in_train']:,} of {audit['test']:,} test photos ({share:.1%}) "
            "have a twin in the training split, so that a model is tested on what it has seen. "
            + (
                "The given splits are kept as they are; data.exclude leaves photos out."
                if audit["split"] == "given"
                else "data.split=grouped keeps twins together."
            )
        )
    groups = audit["twin_groups_of_several_labels"]
    if groups:
        sentences.append(
            f"{many(groups, 'group of twins has', 'groups of twins have')} more than one label: "
            "at least one of them is wrong, or the labels mean the same."
        )
    if audit["upscaled"]:
        share = audit["upscaled"] / audit["rows_kept"]
        sentences.append(
            f"{share:.0%} of the photos are smaller than the input of {audit['input_size']} px and "
            "are enlarged: a smaller model.input_size costs less and may lose little."
        )
    if dropped.get("malformed"):
        sentences.append(
            f"{many(dropped['malformed'], 'row has', 'rows have')} more or fewer fields than the "
            "header. data.malformed_rows=repair reads those whose last field holds unquoted commas."
        )
    for reason, one, several in (
        ("unreadable image", "photo can't be decoded", "photos can't be decoded"),
        ("no image", "row has no photo", "rows have no photo"),
    ):
        if dropped.get(reason):
            sentences.append(f"{many(dropped[reason], one, several)}; audit.csv names each.")
    return sentences


def sampled_classes(splits: SplitCatalogue, suspect: "pd.Series[str]") -> list[str]:
    """Return the classes of which the page shows photos, in their order.

    Those are all, or of many the largest, the smallest, and those whose labels are most suspect.

    Args:
        splits: The catalogue's.
        suspect: Labels that something speaks against, once for each time.
    """
    if len(splits.class_names) <= MOST_SAMPLED:
        return splits.class_names
    by_size = splits.table["label"].value_counts(sort=True).index
    by_doubt = suspect[suspect.isin(splits.class_names)].value_counts().index
    third = MOST_SAMPLED // 3
    chosen = [*by_size[:third], *by_size[-third:], *by_doubt[:third]]
    return sorted({str(name) for name in chosen})


def sample_sheets(root: CatalogueRoot, splits: SplitCatalogue, classes: list[str]) -> list[Sheet]:
    """Return some photos of each of these classes."""
    sheets, gallery = [], Gallery(root)
    shown = splits.table[splits.table["label"].isin(classes)]
    rows_of = dict(iter(shown.groupby("label", observed=True)))
    for name in classes:
        rows = rows_of[name]
        chosen = rows.sample(min(SAMPLES, len(rows)), random_state=0)
        heading = f"{name} ({len(rows):,})"
        sheets.append(Sheet(heading, [(gallery.uri(photo), "") for photo in chosen["photo"]]))
    return sheets


def twin_sheets(root: CatalogueRoot, splits: SplitCatalogue, twins: pd.DataFrame) -> list[Sheet]:
    """Return the largest groups of twins."""
    photos = splits.table.set_index("id")["photo"]
    sheets, gallery = [], Gallery(root)
    for group in twins["group"].drop_duplicates()[:GROUPS]:
        rows = twins[twins["group"] == group]
        counts = rows["label"].value_counts()
        labels = ", ".join(f"{label} ({count})" for label, count in counts.items())
        tiles = [
            (gallery.uri(photos[str(id_)]), f"{id_} {label}")
            for id_, label in _mixed(rows)[["id", "label"]].itertuples(index=False)
        ]
        sheets.append(Sheet(f"Group {group}: {many(len(rows), 'photo')}, {labels}", tiles))
    return sheets


def _mixed(rows: pd.DataFrame) -> pd.DataFrame:
    """Choose some rows of a group, of each label in turn."""
    turn = rows.groupby("label").cumcount()
    return rows.assign(turn=turn).sort_values("turn", kind="stable")[:IN_GROUP]


def _counts(images: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    return images.groupby(columns).size().sort_values(ascending=False).reset_index(name="photos")


def _draw(
    settings: DataSettings,
    input_size: int,
    splits: SplitCatalogue,
    tables: dict[str, pd.DataFrame],
) -> dict[str, Figure]:
    counts, crosses = splits.class_counts(), tables["label_by_column"]
    drawn = {
        "class_distribution": plot_class_distribution(counts, "Photos of each class"),
        "long_tail": plots.plot_long_tail(
            tables["class_distribution"], settings.min_images, "The long tail of labels"
        ),
        "images": plots.plot_images(tables["images"], input_size, "The photos' files"),
    }
    if len(tables["shares"]):
        drawn["shares"] = plots.plot_shares(tables["shares"], "Shares of the kept photos")
    columns = list(dict.fromkeys(crosses["column"]))
    if columns:
        column = "gender" if "gender" in columns else columns[0]
        title = f"{settings.label} by {column}"
        drawn["label_by_column"] = plots.plot_label_by_column(crosses, column, title)
    return drawn
