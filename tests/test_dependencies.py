"""What pyproject.toml declares against what the code imports, and against what it leans on."""

import ast
import importlib
import inspect
import os
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from fashion.commands.extras import INSTALLED_AS

REPO = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
# What a folder's scripts import of each other, and of an environment of their own.
OWN = {"fashion", "train", "machine", "steps", *(p.stem for p in REPO.glob("benchmarks/*.py"))}
KERAS = {"keras", "tensorflow"}
# Declared, though nothing of ours imports them.
NOT_IMPORTED = {
    "tensorboard": "Lightning's TensorBoardLogger writes with it",
    "torch": "imported; each extra for XLA says it again with the release that torch_xla fits",
    "hatchling": "builds the wheel that a test installs",
    "pytest-xdist": "a plug-in of pytest's",
    "python-multipart": "Starlette reads forms with it",
    "ruff": "a program",
    "mypy": "a program",
    "hydra-joblib-launcher": "a plug-in of Hydra's",
    "hydra-submitit-launcher": "a plug-in of Hydra's",
    "hydra-ray-launcher": "a plug-in of Hydra's",
    "hydra-optuna-sweeper": "a plug-in of Hydra's",
}
# Modules that Python 3.12 and 3.13 no longer bring.
REMOVED = {
    *("aifc", "asynchat", "asyncore", "audioop", "cgi", "cgitb", "chunk", "crypt", "distutils"),
    *("imghdr", "imp", "lib2to3", "mailcap", "msilib", "nis", "nntplib", "ossaudiodev", "pipes"),
    *("smtpd", "sndhdr", "spwd", "sunau", "telnetlib", "uu", "xdrlib"),
}


def requirements(lines):
    """Requirements by name, without those that are this project's own extras."""
    read = [Requirement(line) for line in lines]
    return {canonicalize_name(each.name): each for each in read if each.name != PROJECT["name"]}


def with_extras(name):
    """Requirements by name of an extra and of all that it brings along."""
    read = [Requirement(line) for line in EXTRAS[name]]
    brought = {extra for each in read if each.name == PROJECT["name"] for extra in each.extras}
    found = {}
    for extra in brought:
        found |= with_extras(extra)
    return {**found, **requirements(EXTRAS[name])}


BASE = requirements(PROJECT["dependencies"])
OF_EXTRAS = {name: requirements(lines) for name, lines in EXTRAS.items()}
DECLARED = {**BASE, **with_extras("train")}


@cache
def tree(path):
    return [*ast.walk(ast.parse(path.read_text(encoding="utf-8")))]


def imported(*patterns):
    """The libraries that files import, anywhere in them, with the first place of each."""
    found = {}
    for path in sorted(path for pattern in patterns for path in REPO.glob(pattern)):
        for node in tree(path):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for name in names:
                found.setdefault(name.split(".")[0], f"{path.relative_to(REPO)}:{node.lineno}")
    removed = {name: where for name, where in found.items() if name in REMOVED}
    assert removed == {}
    return {
        name: where
        for name, where in found.items()
        if name not in sys.stdlib_module_names and name not in OWN
    }


def undeclared(found, declared):
    """The imports that no declared distribution brings."""
    distributions = packages_distributions()
    return {
        name: where
        for name, where in found.items()
        if not {canonicalize_name(each) for each in distributions.get(name, [name])} & {*declared}
    }


def test_what_the_package_imports_is_declared():
    found = imported("fashion/**/*.py", "train.py")
    assert {"torch", "torchvision", "omegaconf", "filelock"} <= {*found}
    optional = {}
    for extra in ("xla", "kaggle", "heic", "export", "serve", "batch"):
        optional |= OF_EXTRAS[extra]
    assert undeclared(found, {**DECLARED, **optional}) == {}
    assert {*undeclared(found, DECLARED)} <= {
        *("torch_xla", "kagglehub", "pillow_heif", "onnxscript"),
        *("fastapi", "starlette", "uvicorn", "pydantic", "prometheus_client"),
        *("pyarrow", "ray"),
    }


def test_what_the_package_imports_is_found_among_the_extras_when_it_is_missing():
    libraries = {*undeclared(imported("fashion/**/*.py"), BASE)}
    assert {"torch", "hydra", "faiss", "kagglehub", "pillow_heif"} <= libraries
    names = {canonicalize_name(INSTALLED_AS.get(each, each)) for each in libraries}
    assert names <= {name for extra in OF_EXTRAS.values() for name in extra}


@pytest.mark.parametrize("extra", sorted({*EXTRAS} - {"train", "heic", "serve", "batch"}))
def test_an_extra_brings_what_training_needs(extra):
    assert {*with_extras("train")} < {*with_extras(extra)}


def test_training_and_tests_need_what_they_are_said_to():
    assert not {*BASE} & {*with_extras("train")}
    assert {*with_extras("export")} - {*with_extras("train")} == {"onnxscript"}
    assert {*with_extras("test")} <= {*with_extras("dev")}
    assert {*with_extras("heic")} == {"pillow-heif"}
    for extra in ("serve", "batch"):
        assert not {*with_extras(extra)} & {*BASE, *with_extras("train")}


def test_what_tests_and_benchmarks_import_is_declared():
    declared = {**BASE, **with_extras("xla"), **with_extras("test")}
    assert undeclared(imported("tests/**/*.py"), declared) == {}
    found = imported("benchmarks/*.py")
    assert {*undeclared(found, declared)} == KERAS
    peers = (REPO / "benchmarks" / "keras-requirements.txt").read_text(encoding="utf-8")
    assert all(re.search(rf"^{name}", peers, re.MULTILINE) for name in KERAS)


def test_an_import_that_is_not_declared_is_found(tmp_path, monkeypatch):
    (tmp_path / "new.py").write_text("def f():\n    from requests.sessions import Session\n")
    monkeypatch.setattr(sys.modules[__name__], "REPO", tmp_path)
    assert undeclared(imported("*.py"), DECLARED) == {"requests": "new.py:2"}


def test_what_is_declared_is_imported():
    found = imported("fashion/**/*.py", "train.py", "tests/**/*.py", "benchmarks/*.py")
    distributions = packages_distributions()
    used = {canonicalize_name(each) for name in found for each in distributions.get(name, [name])}
    every = {name for declared in (BASE, *OF_EXTRAS.values()) for name in declared}
    unused = {name for name in every if name not in used and "stubs" not in name}
    assert {name for name in unused if not name.startswith("types-")} <= {*NOT_IMPORTED}
    assert {*NOT_IMPORTED} <= every


def test_each_declared_library_has_a_floor():
    for extra in (BASE, *OF_EXTRAS.values()):
        for name, each in extra.items():
            assert re.search(r">=|==", str(each.specifier)), f"{name}{each.specifier}"


# The private parts of libraries, or of their objects, that the code leans on: the library, where
# the part is, and the names of its parameters, None where it isn't called. Tests find each, and the
# library has an upper bound, so that another one is let in only after they were run with it.
PRIVATE = {
    "torch.nn.modules.batchnorm._BatchNorm": ("torch", None),
    "torch._inductor.config": ("torch", None),
    "torch.utils.data.dataloader._BaseDataLoaderIter": ("torch", None),
    "torch.utils.data.DataLoader._iterator": ("torch", None),
    "torch.Tensor._base": ("torch", None),
    "timm.models._features_fx.get_notrace_functions": ("timm", []),
    "timm.models._features_fx.get_notrace_modules": ("timm", []),
    "lightning.pytorch.loops.fit_loop._FitLoop._can_stop_early": ("lightning", None),
    "lightning.pytorch.loops.fit_loop._FitLoop._should_accumulate": ("lightning", ["self"]),
    "lightning.pytorch.callbacks.EarlyStopping._evaluate_stopping_criteria": (
        "lightning", ["self", "current"],
    ),
    "lightning.pytorch.loggers.csv_logs.ExperimentWriter._check_log_dir_exists": (
        "lightning", ["self"],
    ),
    "lightning.fabric.loggers.csv_logs._ExperimentWriter._fs": ("lightning", None),
    "lightning.fabric.loggers.tensorboard.TensorBoardLogger._kwargs": ("lightning", None),
    "hydra.core.override_parser.types.Override._value": ("hydra-core", None),
    "hydra.core.utils.JobReturn._return_value": ("hydra-core", None),
    "torch_xla._internal.tpu.num_available_chips": ("torch-xla", []),
    "torch_xla._XLAC._get_xla_sharding_spec": ("torch-xla", None),
    "torch_xla.core.xla_model._maybe_convert_to_cpu": ("torch-xla", ["data", "convert"]),
}  # fmt: skip
# Attributes that look private and are not: those of named tuples, and os._exit.
PUBLIC = {"_asdict", "_replace", "_fields", "_exit"}


def private_names():
    """The private names of others that the package and its benchmarks use, each with its places."""
    used, own = {}, set()
    for path in sorted([*REPO.glob("fashion/**/*.py"), *REPO.glob("benchmarks/*.py")]):
        for node in tree(path):
            where = f"{path.relative_to(REPO)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    parts = f"{node.module}.{alias.name}".split(".")
                    used.update({part: where for part in parts if is_private(part)})
            elif isinstance(node, ast.Attribute) and is_private(node.attr):
                is_self = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
                if is_self and isinstance(node.ctx, ast.Store):
                    own.add(node.attr)
                used[node.attr] = where
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                own.add(node.name)
    return {name: where for name, where in used.items() if name not in own}


def is_private(name):
    return name.startswith("_") and not name.endswith("__") and name not in PUBLIC


def test_each_private_part_is_on_the_list():
    listed = {name for part in PRIVATE for name in part.split(".") if name.startswith("_")}
    overridden = {"_check_log_dir_exists", "_iterator", "_FitLoop", "_value", "_ExperimentWriter"}
    assert {name: at for name, at in private_names().items() if name not in listed} == {}
    assert listed - {*private_names()} <= overridden  # strike out what is no longer used


def found_part(path):
    """The object at a dotted path, or the source of the class that makes it in its instances."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        try:
            part = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for name in parts[length:]:
            if not hasattr(part, name):
                source = inspect.getsource(part)
                assert re.search(rf"\b(self\.)?{name}\b.*[:=]", source), f"{path} is gone"
                return None
            part = getattr(part, name)
        return part
    raise AssertionError(f"{path} is gone")


@pytest.mark.parametrize("path", PRIVATE)
def test_a_private_part_is_there_as_it_is_used(path):
    library, parameters = PRIVATE[path]
    if library == "torch-xla":
        pytest.importorskip("torch_xla")
    part = found_part(path)
    if parameters is not None:
        assert [*inspect.signature(part).parameters] == parameters


def test_a_private_part_that_is_gone_is_found():
    for path in ("torch._no_such_part", "torch.utils.data.DataLoader._no_such_part"):
        with pytest.raises(AssertionError, match="is gone"):
            found_part(path)


def test_libraries_whose_private_parts_are_used_have_an_upper_bound():
    every = {**OF_EXTRAS["xla"], **DECLARED}
    for library in {library for library, _ in PRIVATE.values()}:
        kinds = {each.operator for each in every[library].specifier}
        assert kinds & {"<", "<=", "=="}, f"{library} has no upper bound"


def test_the_versions_of_python_agree():
    given = SpecifierSet(PROJECT["requires-python"])
    minors = [minor for minor in range(30) if f"3.{minor}.1" in given]
    lowest, highest = minors[0], minors[-1]
    assert PYPROJECT["tool"]["ruff"]["target-version"] == f"py3{lowest}"
    assert PYPROJECT["tool"]["mypy"]["python_version"] == f"3.{lowest}"
    makefile = (REPO / "Makefile").read_text(encoding="utf-8")
    assert f"(3, {lowest}) <= sys.version_info[:2] <= (3, {highest})" in makefile
    assert f"Python 3.{lowest} to 3.{highest}" in makefile


def test_the_versions_that_were_tested_together_are_among_those_declared():
    lines = (REPO / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = requirements(line for line in lines if line and not line.startswith("#"))
    for extra in (BASE, *OF_EXTRAS.values()):
        for name, each in extra.items():
            if name not in pinned:
                is_untested = name in ("kagglehub", "pillow-heif")
                assert each.marker or is_untested, f"{name} is not in constraints.txt"
                continue
            (exact,) = pinned[name].specifier
            assert each.specifier.contains(exact.version, prereleases=True), f"{each}, {exact}"


@pytest.mark.skipif("FASHION_OLDEST" not in os.environ, reason="make test-oldest runs it")
def test_the_oldest_versions_are_those_declared():
    extras = ("train", "xla", "export", "serve", "test", "joblib", "submitit", "optuna")
    for declared in (BASE, *(OF_EXTRAS[extra] for extra in extras)):
        for name, each in declared.items():
            floors = [part.version for part in each.specifier if part.operator in (">=", "==")]
            floor, found = floors[0].removesuffix(".*"), Version(version(name))
            assert found.base_version.startswith(floor), f"{name} is {found}, its floor {floor}"
