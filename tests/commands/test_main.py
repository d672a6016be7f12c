import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from fashion.commands.grammar import COMMANDS
from fashion.commands.overrides import read_overrides
from fashion.commands.settings import described, settings
from fashion.commands.words import read

REPO = Path(__file__).parents[2]
HEAVY = {"torch", "lightning", "hydra", "omegaconf", "pandas", "matplotlib", "numpy", "timm"}
LIST_MODULES = """
import atexit, runpy, sys
atexit.register(lambda: sys.stderr.write("MODULES " + " ".join(sys.modules)))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def start(*arguments):
    """Run a program of this folder and return its status, its output and the modules it loaded."""
    result = subprocess.run(
        [sys.executable, "-c", LIST_MODULES, *arguments], cwd=REPO, capture_output=True, text=True
    )
    errors, _, modules = result.stderr.rpartition("MODULES ")
    return result.returncode, result.stdout, errors, set(modules.split())


@pytest.mark.parametrize("word", [[], *([name] for name in COMMANDS)], ids=str)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_goes_to_standard_output_and_loads_nothing_heavy(word, flag):
    status, printed, errors, modules = start("fashion/__main__.py", *word, flag)
    assert (status, errors) == (0, "")
    assert printed.startswith(f"usage: fashion {' '.join(word)}")
    assert "yaml" in modules
    assert not HEAVY & modules


def test_train_py_shows_the_same_help_as_fashion_train():
    status, printed, errors, modules = start("train.py", "--help")
    assert (status, errors) == (0, "")
    assert printed == start("fashion/__main__.py", "train", "--help")[1]
    assert not HEAVY & modules
    for key in ("data.root=", "model=NAME", "trainer.max_epochs=30", "hydra.run.dir=DIR"):
        assert key in printed


def test_without_a_word_the_help_goes_to_standard_error():
    status, printed, errors, _ = start("fashion/__main__.py")
    assert (status, printed) == (2, "")
    assert errors == start("fashion/__main__.py", "--help")[1]
    assert all(re.search(rf"^  {name} +\w", errors, re.MULTILINE) for name in COMMANDS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["predct"],
            r"'predct' is no command \(did you mean predict\?\); there are train, explore",
        ),
        (["predict", "ckpt=x"], r"ckpt is unknown \(did you mean ckpt_path\?\)"),
        (["compare", "output=x"], r"output is unknown \(did you mean output_dir\?\)"),
        (["compare", "multirun/x,seed=0"], r"'multirun/x,seed=0' does not exist; pass folders of"),
        (["cache", "lst"], r"'lst' is unknown \(did you mean list\?\)"),
        (["download", "smal"], r"'smal' does not exist; pass small or full"),
    ],
)
def test_a_wrong_word_is_one_sentence_before_anything_heavy(words, message):
    status, printed, errors, modules = start("fashion/__main__.py", *words)
    assert (status, printed) == (1, "")
    assert re.match(message, errors)
    assert errors.count("\n") == 1
    assert not {"torch", "lightning", "hydra"} & modules or words == ["cache", "lst"]


def test_a_command_that_needs_words_shows_them_on_standard_error():
    status, printed, errors, _ = start("fashion/__main__.py", "predict")
    assert (status, printed) == (2, "")
    assert errors.startswith("usage: fashion predict bundle=DIR|ckpt_path=FILE key=value")


def test_the_version_is_told():
    assert (
        start("fashion/__main__.py", "--version")[1] == f"fashion {metadata.version('fashion')}\n"
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_each_example_is_one_that_its_command_reads(name, tmp_path, monkeypatch):
    program, word, *words = shlex.split(COMMANDS[name].example)
    assert (program, word) == ("fashion", name)
    monkeypatch.chdir(tmp_path)
    for path in ("outputs/mine", "outputs/a", "outputs/b", "multirun/seeds", "photos", "more.zip"):
        Path(path).mkdir(parents=True)
    if COMMANDS[name].composes:
        assert read_overrides(words).words
    else:
        read(name, COMMANDS[name], words)


def test_every_key_that_the_help_shows_says_what_it_decides():
    assert len(described(COMMANDS["train"])) > 40
    assert all(len(text) > 5 for _, text in described(COMMANDS["train"]))
    derived = ("data.views_mirrored", "model.fit")
    for key, setting in settings().items():
        is_typed = key.startswith(("data.", "model.")) and "$" not in setting.default
        assert setting.help or not is_typed or key in derived, key


def test_the_help_beside_training_has_what_matters_there():
    explored = [key.partition("=")[0] for key, _ in described(COMMANDS["explore"])]
    assert {"data.root", "data.label_column", "model.input_size"} <= set(explored)
    assert not [
        key for key in explored if "batch_size" in key or not key.startswith(("data", "mod"))
    ]
    examined = [key.partition("=")[0] for key, _ in described(COMMANDS["doctor"])]
    assert {"data.batch_size", "model.backbone", "trainer.devices", "model"} <= set(examined)
    assert "--multirun" not in examined
    assert not [key for key in examined if key.startswith("callbacks")]
