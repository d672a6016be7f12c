import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fashion.commands.main import run
from fashion.labelling.labels_table import LabelsTable, csv_bytes
from fashion.labelling.unfinished import UnfinishedTable
from fashion.locks import alone

NAMES = ["a.jpg", 'quo"te, comma.jpg', "line\r\nbreak.jpg", os.fsdecode(b"l\xe9.jpg"), "=1+1.png"]
TABLE = LabelsTable(["Hats", "Shoes"], threshold=0.8)
OUTCOMES = [np.float32([0.9, 0.1]), np.float32([0.4, 0.6]), "empty file"]
ROWS = [TABLE.row(name, OUTCOMES[place % len(OUTCOMES)]) for place, name in enumerate(NAMES)]


def test_rows_tell_what_became_of_a_photo():
    kinds = ["labelled", "refused", "unreadable", "labelled", "refused"]
    assert [TABLE.kind(row) for row in ROWS] == kinds
    without = LabelsTable(["Hats", "Shoes"])
    assert without.kind(without.row("a", OUTCOMES[1])) == "labelled"
    assert without.kind(without.row("a", OUTCOMES[2])) == "unreadable"


def test_wherever_a_file_is_cut_the_whole_rows_before_are_kept(tmp_path):
    unfinished = UnfinishedTable(tmp_path / "labels.csv", TABLE.columns)
    ends = np.cumsum([len(csv_bytes([row])) for row in [TABLE.columns, *ROWS]])
    whole = csv_bytes([TABLE.columns, *ROWS])
    for size in range(len(whole) + 1):
        unfinished.part.write_bytes(whole[:size])
        kept = list(unfinished.kept())
        number = int((ends <= size).sum()) - 1
        assert [row.cells for row in kept] == ROWS[: max(0, number)]
        assert [row.end for row in kept] == ends[1:][: len(kept)].tolist()


def test_rows_of_something_else_are_neither_taken_nor_lost(tmp_path):
    def start(facts, rows, **options):
        unfinished = UnfinishedTable(tmp_path / "labels.csv", TABLE.columns)
        with unfinished.open(facts, **options):
            unfinished.go_on_from(0)
            unfinished.add(rows)
            if len(rows) < len(ROWS):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start({"ckpt_path": ["a"], "photos": "b"}, [])
    with pytest.raises(KeyboardInterrupt):  # nothing had been labelled
        start({"ckpt_path": ["c"], "photos": "b"}, ROWS[:2])
    part = tmp_path / "labels.csv.part"
    before = part.read_bytes()
    for facts, named in (
        ({"ckpt_path": ["a"], "photos": "b"}, "other ckpt_path has"),
        ({"ckpt_path": ["c"], "photos": "d"}, "other photos has"),
        ({"ckpt_path": ["a"], "photos": "d"}, "other ckpt_path and photos has"),
    ):
        with pytest.raises(ValueError, match=rf"labels\.csv\.part' holds labels .*{named}"):
            start(facts, ROWS)
    with (
        alone(part, ""),
        pytest.raises(ValueError, match=r"labels\.csv': another process is writing it"),
    ):
        start({"ckpt_path": ["c"], "photos": "b"}, ROWS)
    assert part.read_bytes() == before
    start({"ckpt_path": ["a"], "photos": "b"}, ROWS, restart=True)
    assert (tmp_path / "labels.csv").read_bytes() == csv_bytes([TABLE.columns, *ROWS])
    assert [path.name for path in tmp_path.iterdir()] == ["labels.csv"]


def test_rows_whose_facts_are_lost_are_not_taken(tmp_path):
    unfinished = UnfinishedTable(tmp_path / "labels.csv", TABLE.columns)
    unfinished.part.write_bytes(csv_bytes([TABLE.columns, *ROWS]))
    for content in (None, b"", b"[1]", b"{}", json.dumps({"photos": 2}).encode()):
        if content is not None:
            unfinished.facts_path.write_bytes(content)
        with (
            pytest.raises(ValueError, match="other photos has left"),
            unfinished.open({"photos": 1}),
        ):
            pass
    assert unfinished.part.exists()


@pytest.fixture(scope="module")
def photos(tiny_root, tmp_path_factory):
    """Many photos, some of which can't be read."""
    folder = tmp_path_factory.mktemp("photos")
    for number, path in enumerate(sorted((tiny_root / "images").iterdir()) * 8):
        content = path.read_bytes()
        (folder / f"{number:04}.jpg").write_bytes(content[: 100 if number % 10 == 7 else None])
    return folder


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_killed_run_goes_on_to_the_table_of_one_that_was_not(
    photos, run_dir, tmp_path, capsys, caplog
):
    words = [f"ckpt_path={run_dir / 'checkpoints' / 'best.ckpt'}", str(photos), "batch_size=3"]
    words.append("precision=0.5")
    whole, killed = tmp_path / "whole.csv", tmp_path / "killed.csv"
    run("predict", [*words, f"output={whole}"])
    said = capsys.readouterr().out.split(":")[0]
    part = tmp_path / "killed.csv.part"
    command = [sys.executable, "-m", "fashion", "predict", *words, f"output={killed}"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (part.exists() and part.stat().st_size > 5000):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
    assert not killed.exists()
    kept = len(rows_of(part))
    total = len(list(photos.iterdir()))
    assert 20 < kept < total
    with part.open("ab") as file:
        file.write(b'"torn')
    with pytest.raises(SystemExit, match="other precision has left"):
        run("predict", [*words[:-1], f"output={killed}"])
    (photos / "new.jpg").touch()
    with pytest.raises(SystemExit, match="other photos has left"):
        run("predict", [*words, f"output={killed}"])
    (photos / "new.jpg").unlink()
    run("predict", [*words, f"output={killed}"])
    [before] = [text for text in caplog.messages if "before" in text]
    assert before == f"{kept - kept % 3} of {total:,} photos were labelled before."
    assert capsys.readouterr().out.split(":")[0] == said
    assert killed.read_bytes() == whole.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} <= {"whole.csv", "killed.csv"}


def test_a_run_that_is_stopped_says_how_to_go_on(photos, run_dir, tmp_path, monkeypatch):
    def stop(self, *arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(UnfinishedTable, "add", stop)
    words = [f"ckpt_path={run_dir / 'checkpoints' / 'best.ckpt'}", str(photos)]
    with pytest.raises(SystemExit, match=r"l\.csv\.part keeps what is labelled; type the same"):
        run("predict", [*words, f"output={tmp_path / 'l.csv'}"])


def test_restart_is_true_or_false(photos, run_dir):
    words = [f"ckpt_path={run_dir / 'checkpoints' / 'best.ckpt'}", str(photos), "restart=maybe"]
    with pytest.raises(SystemExit, match="restart='maybe' must be true or false"):
        run("predict", words)
