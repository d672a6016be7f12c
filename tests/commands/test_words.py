from pathlib import Path

import pytest

from fashion.commands.grammar import COMMANDS
from fashion.commands.settings import value_of
from fashion.commands.words import read, typed
from fashion.wording import nearest


def words_of(name, *words):
    return read(name, COMMANDS[name], words)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to stand in, with a few files of awkward names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("two/xception,seed=0", "2024", "home/a", "output=b", "data.x=y"):
        Path(name).mkdir(parents=True)
    return tmp_path


def test_a_run_of_a_sweep_is_a_folder_and_a_key_is_a_setting(folder):
    assert words_of("compare", "two/xception,seed=0", "2024", "output_dir=x=y,z") == (
        {"output_dir": "x=y,z"},
        ["two/xception,seed=0", "2024"],
    )
    assert words_of("compare", "output=b") == ({}, ["output=b"])  # a folder; no such key
    with pytest.raises(ValueError, match="nothing to work on"):
        words_of("predict", "output=b", "ckpt_path=c")  # a key there


def test_a_path_behind_an_equals_sign_or_in_quotes_has_its_home(folder):
    given, files = words_of("compare", "output_dir=~/out", "~/a")
    assert given == {"output_dir": f"{folder}/home/out"}
    assert files == [f"{folder}/home/a"]
    given, files = words_of("compare", "output_dir='~/out (1)'", '"2024"')
    assert (given, files) == ({"output_dir": f"{folder}/home/out (1)"}, ["2024"])


def test_several_checkpoints_keep_their_order(folder):
    given, files = words_of("predict", "ckpt_path=b", "2024", "ckpt_path=a", "precision=0.9")
    assert given == {"ckpt_path": ["b", "a"], "precision": "0.9"}
    assert files == ["2024"]


def test_settings_of_a_group_are_typed_and_text_stays_text():
    given, _ = words_of(
        *("evaluate", "ckpt_path=a (1).ckpt", "data.root=2024", "data.label_column=true"),
        *(
            "data.min_images=3",
            "data.exclude=null",
            "trainer.devices=[0,1]",
            "data.table='p (1).csv'",
        ),
        *("trainer.limit_test_batches=0.5", "trainer.enable_progress_bar=False"),
        *("robustness_photos=0", "data.split=größe"),
    )
    assert given == {
        "ckpt_path": "a (1).ckpt",
        "robustness_photos": 0,
        "data": {
            **{"root": "2024", "label_column": "true", "min_images": 3, "exclude": None},
            **{"split": "größe", "table": "p (1).csv"},
        },
        "trainer": {"devices": [0, 1], "limit_test_batches": 0.5, "enable_progress_bar": False},
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("3", 3), ("-3", -3), ("1_000", 1000), ("1e-3", 1e-3), (".5", 0.5), ("2.", 2.0)],
        *[("null", None), ("NULL", None), ("true", True), ("False", False), ("", "")],
        *[("[1, a]", [1, "a"]), ("yes", "yes"), ("2024-01-01", "2024-01-01"), ("nan", "nan")],
        *[("32-true", "32-true"), ("a[1]", "a[1]"), ("bf16", "bf16")],
    ],
)
def test_values_are_what_they_look_like(text, value):
    assert typed(text) == value
    assert type(typed(text)) is type(value)


def test_a_broken_list_is_named_with_its_key():
    with pytest.raises(ValueError, match=r"^trainer\.devices='\[1' is no list"):
        value_of("trainer.devices", "[1")


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("data.rooot", ["data.root", "root"], "data.root"),
        ("accelerator", ["trainer.accelerator", "trainer.devices"], "trainer.accelerator"),
        ("ckpt", ["output", "ckpt_path"], "ckpt_path"),
        ("model.optimizer.zzz", ["model.optimizer.lr", "seed"], None),
    ],
)
def test_the_nearest_key_is_of_the_same_group_or_else_of_any(word, known, meant):
    assert nearest(word, known) == meant
