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


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    """A folder in which the wheel alone is installed."""
    target = tmp_path_factory.mktemp("wheel") / "site"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--no-deps", "--target", str(target), str(wheel)], check=True)
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
