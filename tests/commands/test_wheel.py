import os
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
TINY = [
    *("data=sample", "model=timm", "model.backbone=test_resnet", "model.pretrained=false"),
    *("model.input_size=32", "trainer.accelerator=cpu", "robustness_photos=0"),
]


PIP = ["-m", "pip", "--quiet", "--disable-pip-version-check"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout."""
    pytest.importorskip("hatchling", reason="building a wheel offline needs hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    build = [*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, *build, str(REPO)], check=True)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel):
    """A folder in which the wheel alone is installed."""
    target = wheel.parent / "site"
    install = [*PIP, "install", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run([sys.executable, *install], check=True)
    return target


@pytest.fixture
def installed(site, tmp_path):
    """Returns installed(*words), which runs the wheel's `fashion` in an empty folder."""
    empty = tmp_path / "empty"
    empty.mkdir()

    def run(*words, program=(site / "bin" / "fashion",)):
        result = subprocess.run(
            [sys.executable, *program, *words],
            cwd=empty,
            env={**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


def test_the_wheel_brings_its_configuration_and_trains_in_an_empty_folder(
    installed, site, sample_cache, tmp_path
):
    where = installed(program=("-c", "import fashion; print(fashion.__file__)"))
    assert Path(where.strip()).is_relative_to(site)
    assert "one of fashion, sample" in installed("train", "--help")
    cache = f"data.cache_dir={sample_cache}"
    installed("train", *TINY, cache, "trainer=debug", "hydra.run.dir=run")
    assert (tmp_path / "empty" / "run" / "report" / "index.html").stat().st_size > 10_000


@pytest.mark.slow
def test_the_wheel_s_commands_work_on_each_other_s_results(installed, run_dir, tiny_root, tmp_path):
    ckpt_path = f"ckpt_path={run_dir / 'checkpoints' / 'best.ckpt'}"
    printed = installed("predict", ckpt_path, str(tiny_root / "images"), "output=labels.csv")
    assert "unreadable: labels.csv" in printed
    printed = installed("evaluate", ckpt_path, f"output_dir={tmp_path / 'again'}")
    assert "test: accuracy" in printed
    assert (tmp_path / "again" / "report" / "index.html").stat().st_size > 10_000
    cache = f"data.cache_dir={tmp_path / 'cache'}"
    installed("train", *TINY, cache, "trainer.max_epochs=2", "hydra.run.dir=run")
    summary = installed("compare", "run")
    assert "finished" in summary


@pytest.fixture
def light(wheel, tmp_path):
    """The Python of an environment in which the wheel is installed, with all that it asks for."""
    probe = [*PIP, "download", "--no-deps", "--dest", str(tmp_path / "probe"), "filelock"]
    if subprocess.run([sys.executable, *probe], capture_output=True).returncode:
        pytest.skip("pip reaches no index to install from")
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "light")], check=True)
    python = tmp_path / "light" / "bin" / "python"
    install = [*PIP, "install", "--constraint", str(REPO / "constraints.txt"), str(wheel)]
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([python, *install], env=alone, check=True)
    return python


@pytest.mark.long
def test_the_wheel_alone_makes_a_light_environment(light):
    def run(*words):
        return subprocess.run(
            [light, *words], cwd=light.parent, env={}, capture_output=True, text=True
        )

    listed = run("-m", "pip", "list", "--format=freeze").stdout.lower().split()
    names = {line.partition("==")[0] for line in listed}
    assert {"fashion", "onnxruntime", "numpy"} <= names
    assert not names & {"torch", "pandas", "scipy", "timm", "lightning", "sympy", "transformers"}
    assert len(names) <= 20
    used = sum(path.lstat().st_blocks for path in light.parents[1].rglob("*"))
    assert used * 512 <= 250 * 2**20
    assert "usage: fashion WORD" in run("-m", "fashion", "--help").stdout
    assert run("-m", "fashion", "train", "data=sample").stderr.endswith("FILE.whl[train]'.\n")
