"""The wheel without extras: what it imports, what its help says, and what is said of the rest."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fashion.commands.grammar import COMMANDS

REPO = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))
BASE = [Requirement(line).name for line in PYPROJECT["project"]["dependencies"]]
HEAVY = {
    *("torch", "torchvision", "torchmetrics", "lightning", "timm", "captum", "tensorboard"),
    *("pandas", "scipy", "networkx", "faiss", "cleanlab", "statsmodels", "sklearn"),
    *("hydra", "omegaconf", "matplotlib", "jinja2", "huggingface_hub", "safetensors"),
}
# What has to be there without extras, modules and packages, but for what computes by PyTorch.
LIGHT = [
    *("commands.main", "commands.grammar", "commands.words", "commands.settings", "defaults"),
    *("commands.extras", "commands.predict", "commands.verify", "bundles", "labelling"),
    *("commands.corrections", "review"),
    *("catalogue.images", "catalogue.archives", "catalogue.containers", "catalogue.root"),
    *("metrics.scaling", "cores", "files", "tables", "locks", "cache_folder", "shards", "wording"),
]
NOT_LIGHT = {"labelling.bfloat16", "labelling.checkpoint_models", "labelling.hub_models"}
GUARD = """
import runpy, sys
class Guard:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {refused}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Guard)
sys.path.insert(0, {repo!r})
{code}
"""


def installed_with_the_base():
    """The distributions that an installation without extras has."""
    found, waiting = set(), [*BASE]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        found.add(name)
        try:
            lines = [Requirement(line) for line in requires(name) or []]
        except PackageNotFoundError:
            continue
        waiting += [
            each.name for each in lines if not each.marker or each.marker.evaluate({"extra": ""})
        ]
    return found


@pytest.fixture(scope="module")
def refused():
    """The modules that an installation without extras doesn't have, and this one does."""
    there = installed_with_the_base()
    return {
        module
        for module, distributions in packages_distributions().items()
        if module != "fashion" and not there & {canonicalize_name(each) for each in distributions}
    }


@pytest.fixture
def lightly(refused, tmp_path):
    """Returns lightly(code, *words), which runs a program as if no extra were installed."""

    def run(code, *words):
        program = GUARD.format(refused=refused, repo=str(REPO), code=code)
        return subprocess.run(
            [sys.executable, "-c", program, *words], cwd=tmp_path, capture_output=True, text=True
        )

    return run


def light_modules():
    """The names below `fashion` of the light modules, with the source of each."""
    found = {}
    for path in (REPO / "fashion").rglob("*.py"):
        parts = path.relative_to(REPO / "fashion").with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        is_light = any(f"{name}.".startswith(f"{part}.") for part in LIGHT)
        if is_light and name not in NOT_LIGHT:
            found[name] = path.read_text(encoding="utf-8")
    return found


def test_the_guard_refuses_what_extras_bring(refused, lightly):
    assert refused >= HEAVY
    assert not refused & {"numpy", "PIL", "onnxruntime", "onnx", "google", "tqdm", "yaml"}
    done = lightly("import pandas.api")
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'pandas'"


def test_the_light_modules_are_imported_without_extras(lightly):
    names = [f"fashion.{name}" for name in light_modules()]
    assert len(names) > 15
    done = lightly("\n".join(f"import {name}" for name in names))
    assert (done.returncode, done.stderr) == (0, "")


def test_each_library_without_an_extra_is_one_that_light_modules_import():
    brought = {}
    for module, distributions in packages_distributions().items():
        for each in distributions:
            brought.setdefault(canonicalize_name(each), []).append(re.escape(module))
    source = "\n".join(light_modules().values())
    unused = {
        name
        for name in BASE
        if not re.search(rf"^\s*(import|from) ({'|'.join(brought[name])})\b", source, re.MULTILINE)
    }
    assert unused == set()


def test_help_needs_no_extra(lightly):
    done = lightly(
        "from fashion.commands.main import COMMANDS, overview, run\n"
        "sys.stdout.write(overview())\n"
        "for name in COMMANDS:\n"
        "    run(name, ['--help'])\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    said = re.findall(r"^usage: fashion (\w+)", done.stdout, re.MULTILINE)
    assert said == ["WORD", *COMMANDS]


@pytest.mark.parametrize(
    ("words", "library", "extra"),
    [
        (["train", "data=sample"], "hydra", "train"),
        (["doctor"], r"\w+", "train"),
        (["cache"], "pandas", "train"),
        (["evaluate", "ckpt_path=best.ckpt"], r"\w+", "train"),
        (["predict", "ckpt_path=best.ckpt", str(REPO / "docs" / "overview.png")], "torch", "train"),
        (["download"], "kagglehub", "kaggle"),
        (["serve", "bundle=shoes"], r"\w+", "serve"),
        (["label", "bundle=shoes", "input=photos", "output=job"], "pyarrow", "batch"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_command_without_its_extra_says_the_line_to_type(words, library, extra, lightly):
    done = lightly("from fashion.commands.main import main\nmain()", *words)
    sentence = (
        rf"fashion {words[0]} needs {library}, which isn't installed here: "
        rf"pip install -e '\.\[{extra}\]' in the repository's folder, "
        rf"or pip install 'FILE\.whl\[{extra}\]'\.\n"
    )
    assert re.fullmatch(sentence, done.stderr)
    assert (done.returncode, done.stdout) == (1, "")


def test_train_py_without_the_extra_says_the_line_to_type(lightly):
    script = str(REPO / "train.py")
    done = lightly(f"runpy.run_path({script!r}, run_name='__main__')", "data=sample")
    assert done.stderr.startswith("fashion train needs hydra, which isn't installed here: pip ")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def test_nothing_asks_pip_for_the_bare_name_which_is_published_nowhere():
    paths = [
        *REPO.glob("*.md"), *REPO.glob("docs/*.md"), *REPO.glob("fashion/**/*"), REPO / "Makefile",
    ]  # fmt: skip
    texts = {
        path: path.read_text(encoding="utf-8")
        for path in paths
        if path.suffix in (".md", ".py", ".yaml", ".j2", "") and path.is_file()
    }
    assert len(texts) > 100
    assert {path: line for path, text in texts.items() for line in bare_names(text)} == {}


def bare_names(text):
    """The lines that have pip install something called fashion that is no file."""
    return re.findall(r"pip install (?:-\S+ )*['\"]?fashion(?![\w.-]*\.whl)\b.*", text)


def test_a_bare_name_is_found():
    assert bare_names("pip install fashion") == ["pip install fashion"]
    assert bare_names('run pip install -U "fashion[train]" now') != []
    assert bare_names("pip install fashion==0.1.0") != []
    assert bare_names("pip install 'fashion-0.1.0-py3-none-any.whl[train]'") == []
    assert bare_names("pip install -e '.[kaggle]' && fashion download") == []
