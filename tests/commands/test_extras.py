from importlib.metadata import PackageNotFoundError

import pytest

from fashion.commands import extras, main
from fashion.commands.extras import describe_lack


def lack(command, module):
    return describe_lack(command, ModuleNotFoundError(f"No module named {module!r}", name=module))


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
    "module", ["fashion.nothing", "torch.nothing", "trch", "numpy", "huggingface", None]
)
def test_no_extra_brings_a_module_of_ours_a_part_of_a_library_or_a_mistyped_name(module):
    assert lack("train", module) is None


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
