"""Which files of a folder or a zip are listed, and which of them are photos."""

import re
from collections.abc import Callable

PHOTO_SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".jpe", ".mpo", ".png", ".webp", ".avif", ".gif"),
    *(".bmp", ".tif", ".tiff", ".jp2", ".heic", ".heif"),
)
SUFFIXES = frozenset(PHOTO_SUFFIXES)
# Endings of files that lie among photos and are none; of another ending the content decides.
OTHER_SUFFIXES = (
    *(".csv", ".tsv", ".json", ".jsonl", ".txt", ".xml", ".yaml", ".yml", ".html", ".md"),
    *(".zip", ".tar", ".gz", ".7z", ".rar", ".pdf", ".ini", ".db", ".log", ".py", ".npy", ".npz"),
    *(".xls", ".xlsx", ".mp4", ".mov", ".pt", ".ckpt", ".safetensors", ".svg", ".aae", ".lnk"),
)
HEAD_BYTES = 16
MAGIC = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|BM....\0\0\0\0|II\*\0|MM\0\*|"
    rb"\0\0\0\x0cjP  |....ftyp(avi|hei|hev|mif1|msf1)",
    re.DOTALL,
)
# What they begin with, by the ending that a file gets which has none.
BEGINNINGS = {
    ".jpg": rb"\xff\xd8\xff",
    ".png": rb"\x89PNG",
    ".webp": rb"RIFF....WEBP",
    ".gif": rb"GIF8",
    ".avif": rb"....ftypavi",
    ".heic": rb"....ftyp",
    ".tif": rb"II\*\0|MM\0\*",
    ".jp2": rb"\0\0\0\x0cjP  ",
    ".bmp": rb"BM",
}
# What operating systems and programs leave behind; hidden names begin with a dot beside these.
SYSTEM_NAMES = frozenset(
    {"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"}
)


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden, or one that a system made for itself."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def is_photo(name: str, head: Callable[[], bytes] | None = None) -> bool:
    """Return whether a file is a photo: by its ending or, where that says nothing, its content.

    Args:
        name: Its name; what follows a question mark, as files fetched from the web keep it, isn't
            part of the ending.
        head: Returns its first `HEAD_BYTES`; without it such a file is none.
    """
    _, ending = split_ending(name)
    if ending:
        return True
    is_other = without_query(name).lower().endswith(OTHER_SUFFIXES)
    return bool(head and not is_other and MAGIC.match(head()))


def ending_of(content: bytes) -> str:
    """Return the ending that suits a photo's file; empty where its content doesn't tell."""
    kinds = BEGINNINGS.items()
    return next((kind for kind, head in kinds if re.match(head, content, re.DOTALL)), "")


def without_query(name: str) -> str:
    """Return a name without what follows a question mark."""
    return name.partition("?")[0]


def split_ending(name: str) -> tuple[str, str]:
    """Return a name without a photo's ending, and that; nothing where it has none."""
    plain = without_query(name)
    start, dot, end = plain.rpartition(".")
    return (start, dot + end) if dot + end.lower() in SUFFIXES else (plain, "")


def stem(name: str) -> str:
    """Return a photo's name without its ending."""
    return split_ending(name)[0]


def readable(name: str) -> str:
    """Return a name as text that can be written: bytes that are no UTF-8 as backslash and code."""
    if name.isascii():
        return name
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
