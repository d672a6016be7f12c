import errno
import os
from pathlib import Path

import pytest

from fashion.cache_folder import make_folder, remove, writing


def test_a_folder_that_cannot_be_made_is_told_with_its_key(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="can't be written") as caught:
        make_folder(tmp_path / "file" / "cache", "photos")
    assert str(caught.value) == (
        f"data.cache_dir='{tmp_path}/file/cache' can't be written (Not a directory). "
        "Pass data.cache_dir=FOLDER, one that you may write to."
    )


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EROFS, r"^Damaged\. data\.cache_dir='a/b' can't be written \(Read-only file system"),
        (errno.ENOSPC, r"^Damaged\. data\.cache_dir='a/b': the disk is full .* delete stores"),
        (errno.EDQUOT, r"data\.cache_dir='a/b': the disk is full \(Disk quota exceeded\)"),
    ],
)
def test_what_kept_one_from_writing_is_said(number, said):
    with pytest.raises(OSError, match=said), writing(Path("a/b"), "Damaged."):
        raise OSError(number, os.strerror(number))


def test_whatever_is_at_a_path_is_removed(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "file").touch()
    for name in ("link", "folder", "file", "absent"):
        remove(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
