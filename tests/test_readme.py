import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

import train
from fashion.commands.overrides import read_overrides

REPO = Path(train.__file__).parent
PAGES = [REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
BLOCKS = re.findall(r"^```(?:bash)?\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
LINES = [
    shlex.split(line, comments=True)
    for block in BLOCKS
    for line in block.replace("\\\n", " ").splitlines()
    for line in [re.sub(r"^([A-Z_]+=\S+ )+", "", line)]  # a variable of the environment
    if line.startswith(("python ", "fashion "))
]
TRAININGS = [words[2:] for words in LINES if words[1] in ("train.py", "train")]
COMMANDS = sorted({words[1] for words in LINES if words[0] == "fashion"})


def test_the_readme_shows_commands():
    assert len(PAGES) > 6
    assert len(TRAININGS) > 15
    assert {"evaluate", "predict", "cache"} <= set(COMMANDS)
    python = [words[1] for words in LINES if words[0] == "python"]
    benchmarks = {"benchmarks/xla_graphs.py", "benchmarks/corrections.py"}
    assert set(python) <= {"train.py", *benchmarks}


def test_links_lead_to_files_and_headings():
    links = [
        (page, *link)
        for page in PAGES
        for link in re.findall(r"\]\((?!http)([^)#]+)(?:#([\w-]+))?\)", page.read_text("utf-8"))
    ]
    assert len(links) > 1
    for page, target, heading in links:
        assert (page.parent / target).is_file(), target
        if heading:
            text = (page.parent / target).read_text(encoding="utf-8")
            headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
            assert heading in [name.lower().replace(" ", "-") for name in headings]


@pytest.mark.parametrize("arguments", TRAININGS, ids=" ".join)
def test_each_training_command_composes(arguments):
    typed = read_overrides(arguments)
    overrides = typed.words
    if typed.is_multirun:  # the first job of the sweep
        overrides = [override.partition(",")[0] for override in overrides]
    with initialize_config_dir(str(REPO / "conf"), version_base="1.3"):
        config = compose("config", overrides, return_hydra_config=True)
    config.hydra.runtime.output_dir = "out"
    HydraConfig.instance().set_config(config)
    OmegaConf.resolve(OmegaConf.masked_copy(config, [key for key in config if key != "hydra"]))


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_of_the_package_shows_its_usage(command):
    result = subprocess.run(
        [sys.executable, "-m", "fashion", command, "--help"],
        cwd=REPO,
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert f"usage: fashion {command}" in result.stdout


def test_the_readme_is_short_and_its_pages_are_those_that_there_are():
    readme = PAGES[0].read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 180
    linked = set(re.findall(r"\]\(docs/([\w.]+\.md)\)", readme))
    assert linked == {page.name for page in PAGES[1:]}


def test_the_layout_names_every_package_and_the_ground_floor():
    layout = (REPO / "docs" / "layout.md").read_text(encoding="utf-8")
    packages = {path.parent.name for path in (REPO / "fashion").glob("*/__init__.py")}
    assert set(re.findall(r"^\| `fashion/(\w+)` \|", layout, re.MULTILINE)) == packages
    modules = {path.name for path in (REPO / "fashion").glob("*.py")} - {"__init__.py"}
    assert len(modules) > 3
    assert all(f"{name}`" in layout for name in modules)


def test_the_settings_named_in_the_readme_exist():
    keys = re.findall(r"`((?:data|model|trainer|callbacks)\.(?!safetensors)[\w.]+)", TEXT)
    assert len(keys) > 8
    for key in keys:
        read_overrides([f"{key}=null"])  # refuses a key that there isn't


def test_the_table_of_models_is_that_of_conf():
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \| (\d+) \| ([\d,]+)", TEXT, re.MULTILINE)
    assert len(rows) == 6
    for name, backbone, input_size, _ in rows:
        node = OmegaConf.load(REPO / "conf" / "model" / f"{name}.yaml")
        assert (node.backbone, node.input_size) == (backbone, int(input_size))
