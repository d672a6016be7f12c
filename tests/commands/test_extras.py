import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from fashion.commands import extras, main
from fashion.commands.extras import describe_lack

REPO = Path(__file__).parents[2]


def lack(command, module):
    return describe_lack(f"fashion {command}", module, command)


@pytest.mark.parametrize(
    ("command", "module", "extra"),
    [
        ("train", "torch", "train"),
        ("predict", "torch", "train"),
        ("explore", "hydra", "train"),
        ("suspects", "faiss", "train"),
        ("export", "torch", "export"),
        ("export", "onnxscript", "export"),
        ("train", "onnxscript", "export"),
        ("train", "torch_xla", "xla"),
        ("download", "kagglehub", "kaggle"),
        ("predict", "pillow_heif", "heic"),
    ],
)
def test_the_smallest_extra_that_brings_a_library_is_named_or_the_command_s_own(
    command, module, extra
):
    assert lack(command, module) == (
        f"fashion {command} needs {module}, which isn't installed here: pip install -e "
        f"'.[{extra}]' in the repository's folder, or pip install 'FILE.whl[{extra}]'."
    )


@pytest.mark.parametrize(
    "module", ["fashion.nothing", "torch.nothing", "trch", "numpy", "huggingface", ""]
)
def test_no_extra_brings_a_module_of_ours_a_part_of_a_library_or_a_mistyped_name(module):
    assert lack("train", module) is None


# Hydra finds its plugins by walking through their package.
WITHOUT_PLUGINS = """
import pkgutil, sys
walk = pkgutil.walk_packages
pkgutil.walk_packages = lambda *given, **named: (
    each for each in walk(*given, **named) if not each.name.startswith("hydra_plugins.")
)
from fashion.commands.configuration import compose_words
for word in sys.argv[1:]:
    try:
        compose_words(["data=sample", word])
    except ValueError as error:
        print(error)
"""


def test_an_engine_of_sweeps_without_its_extra_says_the_line_to_type():
    launcher, options = "hydra/launcher=", ("joblib", "submitit_slurm", "jobbib")
    words = [*(f"{launcher}{option}" for option in options), "+tune=optuna"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PLUGINS, *words], cwd=REPO, capture_output=True, text=True
    )
    said = done.stdout.splitlines()
    joblib, slurm = f"{launcher}joblib", f"{launcher}submitit_slurm"
    assert said == [
        describe_lack(joblib, "hydra-joblib-launcher"),
        describe_lack(slurm, "hydra-submitit-launcher"),
        f"{launcher}jobbib is unknown; there are basic.",
        describe_lack("hydra/sweeper=optuna", "hydra-optuna-sweeper"),
    ]
    assert said[0].startswith(f"{joblib} needs hydra-joblib-launcher, which isn't installed here:")
    assert "pip install -e '.[submitit]'" in said[1]


def test_a_checkout_that_is_not_installed_knows_no_extras(monkeypatch):
    def requires(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(extras, "requires", requires)
    assert lack("train", "torch") is None


def test_a_missing_module_of_ours_is_a_traceback(monkeypatch):
    def import_module(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(main, "import_module", import_module)
    with pytest.raises(ModuleNotFoundError, match=r"fashion\.commands\.cache"):
        main.run("cache", [])
