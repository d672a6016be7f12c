"""The map of the packages: what each is for, which others it may import, what it never loads."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import networkx as nx
import pytest

import fashion

ROOT = Path(fashion.__file__).parent
TESTS = Path(__file__).parent

# From the ground up: the first sentence of each docstring, and what may be imported from above.
MAP = {
    "attributes": (
        "What a model tells apart: a photo's label, and the values of its attributes.",
        "",
    ),
    "defaults": ("The folder `conf/` and the defaults that it states.", ""),
    "files": ("Files that are written whole or not at all.", ""),
    "wording": ("How sentences tell numbers of things, and words that were mistyped.", ""),
    "cores": ("What of the processor and the memory this process may use.", ""),
    "tables": (
        "CSV files for people: a cell that a spreadsheet would compute is marked as text.",
        "",
    ),
    "cache_folder": (
        "A cache folder that users share: what is said where it can't be written or is damaged.",
        "",
    ),
    "locks": (
        "Locks between processes that share a folder: taken alone to make or delete, held to read.",
        "",
    ),
    "shards": (
        "Records on disk that are found by their keys, in shards that never change once they are "
        "whole.",
        "cache_folder files locks",
    ),
    "models": (
        "Networks: built with timm, cut where gradients stop, read from and written to "
        "checkpoints.",
        "attributes",
    ),
    "catalogue": (
        "Catalogues of photos: read, checked, shared out into splits.",
        "attributes cache_folder locks files tables wording",
    ),
    "twins": (
        "Photos of a catalogue that show the same picture.",
        "cache_folder locks cores files shards wording catalogue",
    ),
    "metrics": (
        "From arrays to figures and tables: what predictions are worth.",
        "attributes cores files tables",
    ),
    "names": (
        "Names beside photos: their label words masked, the rest a model's second source.",
        "metrics",
    ),
    "data": (
        "What training reads: packed photos, stored features, and batches of both.",
        "attributes cache_folder locks cores defaults files shards wording models catalogue twins "
        "names",
    ),
    "devices": (
        "Which devices a run takes, and Lightning's parts for XLA's.",
        "cores wording models data",
    ),
    "training": (
        "The model in training: its steps, its record, its folder.",
        "attributes locks defaults files wording models catalogue metrics names data devices",
    ),
    "bundles": (
        "Bundles: a trained model as a folder that labels photos anywhere.",
        "attributes cores files wording catalogue metrics names",
    ),
    "labelling": (
        "From a trained model and photos to labels.",
        "attributes cores files locks tables wording models catalogue metrics names bundles",
    ),
    "review": (
        "Photos kept for review, and what people decided on them.",
        "files locks tables wording catalogue",
    ),
    "export": (
        "From checkpoints to a bundle, and the proof that it labels as they do.",
        "attributes cores files locks wording models catalogue metrics names data devices training "
        "bundles labelling",
    ),
    "service": (
        "HTTP over a bundle: photos in, labels out.",
        "attributes cores files tables wording catalogue metrics names bundles review",
    ),
    "jobs": (
        "Labels for millions of photos, each exactly once, however often the job is killed.",
        "attributes cores files locks tables wording catalogue metrics bundles labelling",
    ),
    "reports": (
        "Pages, figures and tables about runs and catalogues.",
        "locks cores defaults files tables wording models catalogue twins metrics names data "
        "devices training labelling jobs",
    ),
    "commands": (
        "The command line: one module a command.",
        "attributes cores defaults files tables wording models catalogue twins metrics data "
        "devices training bundles labelling review export service jobs reports",
    ),
    "__main__": ("`fashion WORD ...`, which is `python -m fashion WORD ...`.", "commands"),
}

# What a part never loads when it is imported, though a function of it may need it.
NEVER_LOADED = {
    "tables": "pandas",
    "catalogue.images": "torch pandas",  # what reads photos, folders and zips is light
    "catalogue.containers": "torch pandas",
    "catalogue.root": "torch pandas",
    "catalogue.review": "torch pandas",
    "catalogue.sample": "torch pandas PIL",  # what draws it is loaded where it is drawn
    "metrics.scaling": "torch pandas scipy torchmetrics",
    "bundles": "torch pandas scipy lightning timm hydra",
    "names": "torch pandas scipy sklearn lightning timm hydra",  # what fits loads its own
    "review": "torch pandas scipy lightning timm hydra fastapi",
    "commands.corrections": "torch pandas scipy lightning timm hydra fastapi",
    "service": "torch pandas scipy lightning timm hydra",
    "jobs": "torch pandas scipy lightning timm hydra",
    "jobs.ray_engine": "ray",
    "labelling.label_files": "torch timm pandas scipy",  # a checkpoint's model brings the first two
    # Help, and what is wrong with a word, come at once.
    "commands.main": "torch lightning hydra omegaconf numpy pandas matplotlib",
}
# What a part imports in no function either.
NEVER_IMPORTED = {
    "models": "lightning pandas hydra",
    "catalogue": "torch lightning hydra faiss scipy",
    "metrics": "timm lightning hydra matplotlib jinja2",
    "names": "pandas lightning timm hydra matplotlib",
    "bundles": "torch pandas scipy lightning timm hydra",
    "labelling": "lightning pandas hydra scipy matplotlib torch_xla",
    "review": "torch pandas scipy lightning timm hydra fastapi",
    "service": "torch pandas scipy lightning timm hydra",
    "jobs": "torch pandas scipy lightning timm hydra",
}
# These are also imported, to see what the libraries that they import load themselves.
LIGHT = [*NEVER_LOADED, "catalogue"]

# Others do without torch_xla, an extra; these import it, where it is needed.
XLA_MODULES = ("devices.accelerators", "devices.compilations", "devices.xla")


class Import(NamedTuple):
    """One imported module.

    Attributes:
        target: A module of ours in full, or the name of a library.
        line: Of the file.
        when: `loading`, `calling` (inside a function) or `typing` (under TYPE_CHECKING).
    """

    target: str
    line: int
    when: str


def read_modules() -> dict[str, str]:
    """Return the source of each module by its name below `fashion`, `""` being that itself."""
    sources = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        sources[".".join(part for part in parts if part != "__init__")] = path.read_text("utf-8")
    return sources


class _Walker(ast.NodeVisitor):
    def __init__(self, module: str, names: set[str]) -> None:
        self.imports: list[Import] = []
        self._package, self._names, self._when = module.rpartition(".")[0], names, "loading"

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name, node.lineno)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        source = node.module or ""
        if node.level:  # relative
            above = self._package.split(".")[: len(self._package.split(".")) - node.level + 1]
            source = ".".join(filter(None, ["fashion", *above, source]))
        for alias in node.names:
            is_module = f"{source}.{alias.name}".removeprefix("fashion.") in self._names
            self._add(f"{source}.{alias.name}" if is_module else source, node.lineno)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._visit_all(node.body, "calling" if self._when == "loading" else self._when)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - ast's own name

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test).split(".")[-1] != "TYPE_CHECKING":
            self.generic_visit(node)
            return
        self._visit_all(node.body, "typing")
        self._visit_all(node.orelse, self._when)

    def _visit_all(self, nodes: list[ast.stmt], when: str) -> None:
        before, self._when = self._when, when
        for node in nodes:
            self.visit(node)
        self._when = before

    def _add(self, name: str, line: int) -> None:
        target = name if name.split(".")[0] == "fashion" else name.split(".")[0]
        self.imports.append(Import(target, line, self._when))


def imports_of(module: str, source: str, names: set[str]) -> list[Import]:
    """Return what a module imports, at its top, in functions and for its types."""
    walker = _Walker(module, names)
    walker.visit(ast.parse(source))
    return walker.imports


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    """The source of each module."""
    return read_modules()


@pytest.fixture(scope="module")
def imports(sources) -> dict[str, list[Import]]:
    """The imports of each module."""
    return {name: imports_of(name, text, set(sources)) for name, text in sources.items()}


def find_faults(imports: dict[str, list[Import]]) -> dict[str, str]:
    """Return what breaks the map, in words, with the first place where it does."""
    faults = [
        *wrong_directions(imports),
        *circles(imports),
        *heavy_parts(imports),
        *early_xla(imports),
    ]
    return dict(reversed(faults))  # of equal faults the first


def wrong_directions(imports: dict[str, list[Import]]) -> Iterator[tuple[str, str]]:
    """Yield packages that import what the map doesn't grant them, for types alone, too."""
    for module, own, each in _ours(imports):
        package, other = module.split(".")[0], own.split(".")[0]
        granted = MAP[package][1].split() if package in MAP else []
        if package != other and other not in granted:
            yield f"{package} imports {other}", f"fashion.{module}, line {each.line}"


def circles(imports: dict[str, list[Import]]) -> Iterator[tuple[str, str]]:
    """Yield modules that import each other in a circle, in functions, too."""
    graph = nx.DiGraph(
        (module, own) for module, own, each in _ours(imports) if each.when != "typing"
    )
    for circle in nx.strongly_connected_components(graph):
        if len(circle) > 1:
            lines = [f"{a} -> {b}" for a, b in sorted(graph.subgraph(circle).edges)]
            yield f"a circle of {' '.join(sorted(circle))}", ", ".join(lines)


def heavy_parts(imports: dict[str, list[Import]]) -> Iterator[tuple[str, str]]:
    """Yield the parts that import a library which they never should."""
    refused = [(*each, False) for each in NEVER_LOADED.items()]
    refused += [(*each, True) for each in NEVER_IMPORTED.items()]
    for part, libraries, everywhere in refused:
        for module in _modules_of(part, imports):
            reached = _loaded(module, imports)
            if everywhere:
                in_functions = {each for each in imports[module] if each.when == "calling"}
                reached |= {each.target: f"{module}, line {each.line}" for each in in_functions}
            for library in sorted(set(libraries.split()) & set(reached)):
                yield f"{part} loads {library}", reached[library]


def _modules_of(part: str, modules: Iterable[str]) -> list[str]:
    """Return the modules of a package, or the one of that name."""
    return [name for name in modules if f"{name}.".startswith(f"{part}.")]


def _loaded(module: str, imports: dict[str, list[Import]]) -> dict[str, str]:
    """Return the libraries that a module's import loads, and the way there."""
    ways, loaded = {module: module}, {}
    waiting = [module]
    while waiting:
        current = waiting.pop(0)
        for each in imports.get(current, []):
            own = each.target.removeprefix("fashion.")
            if each.when != "loading" or own in ways:
                continue
            if own != each.target:
                ways[own] = f"{ways[current]} -> {own}"
                waiting.append(own)
            else:
                loaded.setdefault(own, ways[current])
    return loaded


def early_xla(imports: dict[str, list[Import]]) -> Iterator[tuple[str, str]]:
    """Yield the modules that import torch_xla and shouldn't, or outside a function."""
    for module, each_import in imports.items():
        for each in each_import:
            if each.target == "torch_xla" and not (
                module in XLA_MODULES and each.when == "calling"
            ):
                yield f"{module} imports torch_xla", f"line {each.line}, {each.when}"


def imported_tests() -> Iterator[tuple[str, str]]:
    """Yield the tests that import another; what they share is a fixture."""
    paths = list(TESTS.rglob("*.py"))
    names = {path.stem for path in paths} | {"tests"}
    for path in paths:
        for each in imports_of(path.stem, path.read_text(encoding="utf-8"), set()):
            if each.target in names:
                yield f"{path.stem} imports {each.target}", f"line {each.line}"


def _ours(imports: dict[str, list[Import]]) -> Iterator[tuple[str, str, Import]]:
    for module, each_import in imports.items():
        for each in each_import:
            if each.target.startswith("fashion."):
                yield module, each.target.removeprefix("fashion."), each


def test_imports_keep_to_the_map(imports):
    faults = {**find_faults(imports), **dict(imported_tests())}
    new = {fault: where for fault, where in faults.items() if fault not in UNTIL_MOVED}
    assert new == {}
    assert [fault for fault in UNTIL_MOVED if fault not in faults] == []  # strike these out


def test_the_map_leads_upwards_alone():
    above: set[str] = set()
    for package, (_, granted) in MAP.items():
        assert set(granted.split()) <= above, package
        above.add(package)


def test_the_map_says_of_every_package_what_it_is_for(sources):
    duties = {
        name: " ".join(ast.get_docstring(ast.parse(text)).split("\n\n")[0].split())
        for name, text in sources.items()
        if name and "." not in name
    }
    assert duties == {name: duty for name, (duty, _) in MAP.items()}


def test_a_packages_init_holds_a_docstring_alone():
    inits = list(ROOT.rglob("__init__.py"))
    assert len(inits) > 5
    for path in inits:
        (only,) = ast.parse(path.read_text(encoding="utf-8")).body
        assert isinstance(only, ast.Expr), path
        assert isinstance(only.value.value, str), path


@pytest.mark.parametrize("part", LIGHT)
def test_the_libraries_load_nothing_heavy_either(part, sources):
    names = ", ".join(f"fashion.{module}" for module in _modules_of(part, sources))
    code = f"import json, sys, {names}\nprint(json.dumps([*sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    never = {**NEVER_LOADED, **NEVER_IMPORTED}[part]
    assert not set(json.loads(done.stdout)) & set(never.split())


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("models.new", "from fashion.files import write_file", "models imports files"),
        ("models.new", "import fashion.files", "models imports files"),
        ("models.new", "from fashion import files", "models imports files"),
        ("models.new", "from ..files import write_file", "models imports files"),
        ("models.new", "class A:\n  def f():\n    import lightning", "models loads lightning"),
        ("models.new", "try:\n  import lightning.pytorch as pl\nexcept A: pass",
         "models loads lightning"),
        ("catalogue.new", "from fashion.twins import groups", "catalogue imports twins"),
        ("catalogue.new", "def f():\n  from torch import nn", "catalogue loads torch"),
        ("catalogue.new", "from fashion.models.cut import A", "catalogue loads torch"),
        ("tables", "import pandas", "tables loads pandas"),
        ("catalogue.images", "import pandas as pd", "catalogue.images loads pandas"),
        ("catalogue.containers", "import pandas", "catalogue.root loads pandas"),
        ("catalogue.sample", "from fashion.catalogue import sample_drawing",
         "catalogue.sample loads PIL"),
        ("metrics.new", "async def f():\n  import fashion.training.resume",
         "metrics imports training"),
        ("metrics.new", "if TYPE_CHECKING:\n  from fashion.commands.main import A",
         "metrics imports commands"),
        ("data.new", "import torch_xla", "data.new imports torch_xla"),
        ("data.new", "def f():\n  import torch_xla.runtime as xr", "data.new imports torch_xla"),
        ("devices.xla", "import torch_xla", "devices.xla imports torch_xla"),
        ("new.one", "from fashion.files import A", "new imports files"),
        ("twins.thumbnails", "def f():\n  from fashion.twins import groups",
         "a circle of twins.alignment twins.groups twins.matching twins.thumbnail_store "
         "twins.thumbnails"),
    ],
)  # fmt: skip
def test_a_wrong_import_is_found(module, source, fault, sources, imports):
    assert fault not in find_faults(imports)
    assert fault in find_faults(planted(module, source, sources, imports))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("metrics.new", "if TYPE_CHECKING:\n  import torch"),
        ("tables", "def f():\n  import pandas"),
        ("tables", "if typing.TYPE_CHECKING:\n  import pandas\nelse:\n  import numpy"),
        ("devices.xla", "def f():\n  import torch_xla"),
        ("twins.thumbnails", "if TYPE_CHECKING:\n  from fashion.twins.groups import A"),
        ("catalogue.sample", "def f():\n  from fashion.catalogue import sample_drawing"),
        ("models.new", "import torch.nn\nfrom fashion.models import backbone\nfrom . import cut"),
    ],
)
def test_a_right_import_is_let_be(module, source, sources, imports):
    assert find_faults(planted(module, source, sources, imports)) == find_faults(imports)


def planted(module, source, sources, imports):
    """Return the imports as they are with some lines at the end of a module, old or new."""
    text = f"{sources.get(module, '')}\n{source}\n"
    return {**imports, module: imports_of(module, text, {*sources, module})}


def test_the_tables_name_what_there_is(sources):
    for part in (*NEVER_LOADED, *NEVER_IMPORTED, *XLA_MODULES):
        assert _modules_of(part, sources), part


# What isn't where it belongs yet; strike out what is mended.
UNTIL_MOVED = []
