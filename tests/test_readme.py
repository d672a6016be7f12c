import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

import train

REPO = Path(train.__file__).parent
README = (REPO / "README.md").read_text()
SHELL = "\n".join(re.findall(r"```bash\n(.*?)```", README, re.DOTALL)).replace("\\\n", " ")
COMMANDS = [shlex.split(line, comments=True) for line in SHELL.splitlines() if line.strip()]
TRAIN = [words[2:] for words in COMMANDS if words[:2] == ["python", "train.py"]]
MODULES = sorted(
    {words[2] for words in COMMANDS if words[:2] == ["python", "-m"]} | {"fashion.store"}
)


def test_the_readme_shows_commands():
    assert len(TRAIN) >= 10
    assert MODULES == ["fashion.download", "fashion.evaluate", "fashion.predict", "fashion.store"]


@pytest.mark.parametrize("arguments", TRAIN, ids=" ".join)
def test_each_train_command_composes(arguments):
    overrides = [word for word in arguments if word != "--multirun"]
    if "--multirun" in arguments:
        overrides = [re.sub(r",.*", "", word) for word in overrides]
    with initialize_config_dir(str(REPO / "conf"), version_base="1.3"):
        cfg = compose("config", overrides)
    for word in overrides:
        key = word.partition("=")[0]
        assert key.startswith("hydra.") or key in cfg or "." in key


@pytest.mark.parametrize("module", MODULES)
def test_each_module_shows_how_it_is_used(module):
    result = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=REPO, capture_output=True, text=True
    )
    assert f"python -m {module}" in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_the_make_targets_exist():
    targets = re.findall(r"^make ([\w-]+)", SHELL, re.MULTILINE)
    assert {"train", "test", "test-all", "bench"} <= set(targets)
    makefile = (REPO / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_the_printed_tree_names_the_files_that_exist():
    [tree] = re.findall(r"```\n(fashion/\n.*?)```", README, re.DOTALL)
    named = set(re.findall(r"^  ([\w.]+)", tree, re.MULTILINE))
    there = {
        path.name
        for path in (REPO / "fashion").iterdir()
        if path.suffix in (".py", ".yaml") or path.name == "templates"
    }
    assert len(there) > 15
    assert named == there
