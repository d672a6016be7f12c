import inspect
import random
import string
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from lightning import Trainer
from omegaconf import OmegaConf

from fashion.commands.configuration import check_words, compose_settings
from fashion.commands.overrides import CHOICES, FLAGS, TAKES_A_WORD, read_overrides
from fashion.commands.settings import CONF, TEXT_KEYS

SWEPT = ["--multirun"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to stand in, with some that have commas in their names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("two/timm,seed=0", "two/timm,seed=1", "a,b", "[c]", "d e"):
        Path(name).mkdir(parents=True)
    return tmp_path


def composed(*words):
    overrides = read_overrides(words)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides.words, return_hydra_config=True)


TYPED = [
    *("archive (1).zip", "données/été.zip", "Größe", "категория", "a=b.zip", "2024", "1e3", "true"),
    *("Type (de)", "Attribute 1 value(s)", "it's.zip", 'a "b".zip', "#1.zip", "a%20b@c;d!.zip"),
    *("multirun/two/xception,seed=0/checkpoints/last.ckpt", "a,b", "C:\\photos\\x", "x{y}", "a:b"),
    *("d e", "[c]", "range(3)", "00123", "back\\", "-", "~tilde/~", "&<>|*?$", "a\tb"),
    *(
        " Type ",
        "Farbe\u00a0",
        "中文/图 片.zip",
        "\N{DRESS}",
        "a=b=c",
        "k: v",
        "x,y=(1)",
        "?",
        "1.0",
        "None",
    ),
]


@pytest.mark.parametrize("value", TYPED)
def test_text_arrives_as_it_was_typed(value, folder):
    keys = sorted(TEXT_KEYS)
    words = [f"{key}={value}" for key in keys]
    cfg = composed(*words)
    expected = dict.fromkeys(keys, value)
    if value == "[c]":  # several columns may be typed
        expected["data.label_column"] = ["c"]
    assert {key: OmegaConf.select(cfg, key) for key in keys} == expected
    read = read_overrides(words).words
    assert read_overrides(read).words == read  # a run's other processes are started with these


PRINTABLE = [
    *string.ascii_letters,
    *string.digits,
    *string.punctuation,
    *"  éüßñ中文категорияعผ👗\u00a0—“”",
]


@pytest.mark.parametrize("seed", range(8))
def test_any_printable_text_arrives_as_it_was_typed(seed, folder):
    draw = random.Random(seed)
    typed = {key: "".join(draw.choices(PRINTABLE, k=draw.randrange(1, 25))) for key in TEXT_KEYS}
    # Hydra's own grammar goes on working: these have a meaning in it.
    grammar = ("\\", "${", "~", "'", '"')
    typed = {key: text for key, text in typed.items() if not any(sign in text for sign in grammar)}
    typed = {key: text for key, text in typed.items() if text.lower() not in ("null", "???")}
    assert len(typed) > 4
    cfg = composed(*(f"{key}={text}" for key, text in typed.items()))
    assert {key: OmegaConf.select(cfg, key) for key in typed} == typed


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("data.root=~/a (1).zip", "HOME/a (1).zip"),
        ("model.weights=~/w.safetensors", "HOME/w.safetensors"),
        ("hydra.run.dir=~/runs/a", "HOME/runs/a"),
        ("data.label_column=~x", "~x"),
        ("data.exclude=null", None),
        ("data.root='archive (1).zip'", "archive (1).zip"),
        ('data.root="2024"', "2024"),
        (r"data.root=archive\ \(1\).zip", "archive (1).zip"),
        ("sweep_name=${seed}-a", "0-a"),
        ("data.min_images=3", 3),
        ("model.optimizer.lr=1e-3", 1e-3),
        ("model.compile=true", True),
        ("model.unfreeze=all", "all"),
        (r"model.unfreeze=['^layer4\.']", [r"^layer4\."]),
        (r"model.unfreeze=[^layer4\., ^layer3]", [r"^layer4\.", "^layer3"]),
        (r"model.unfreeze=[^layer(3|4)\.]", [r"^layer(3|4)\."]),
        ("data.split=größe", "größe"),
        ("trainer.precision=16", 16),
        ("+model.optimizer.betas=[0.9,0.99]", [0.9, 0.99]),
        ("trainer.limit_train_batches=2", 2),
        ("trainer.max_time='00:01:00:00'", "00:01:00:00"),
        ("trainer.max_time=00:01:00:00", "00:01:00:00"),
    ],
)
def test_other_values_mean_what_they_did(word, expected, folder):
    key = word.partition("=")[0].lstrip("+")
    if isinstance(expected, str):
        expected = expected.replace("HOME", f"{folder}/home")
    assert OmegaConf.select(composed(word), key) == expected


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("data.root=a.zip,b (1).zip,2024", ["a.zip", "'b (1).zip'", "'2024'"]),
        ("data.root=a,b", ["'a,b'"]),  # there is such a folder
        ("data.root=a,c", ["a", "c"]),
        ("data.root=d e,a,b", [r"d\ e", "'a,b'"]),
        ("data.label_column=a (1), b", ["'a (1)'", "b"]),
        ("ckpt_path=two/timm,seed=0,two/timm,seed=1", ["'two/timm,seed=0'", "'two/timm,seed=1'"]),
        ("model.weights=no.safetensors,null", ["no.safetensors", "null"]),
        ("""data.label_column="Type, (de)",b""", ['"Type, (de)"', "b"]),
        ("data.label_column=choice(a,b)", ["a", "b"]),
        ("seed=0,1", ["0", "1"]),
        ("data.sampler=shuffle,größe", ["shuffle", "'größe'"]),
        ("data.rotation=range(0,20,10)", ["0", "10"]),
        ("trainer.limit_train_batches=2,3", ["2", "3"]),
        ("model=resnet50,xception", ["resnet50", "xception"]),
    ],
)
def test_sweeps_still_sweep(word, values, folder):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    read = read_overrides([word, *SWEPT])
    assert read.arguments()[0] == "--multirun"
    override = OverridesParser.create().parse_override(read.words[0])
    if override.is_sweep_override():
        assert list(override.sweep_string_iterator()) == values
    else:
        assert [override.get_value_element_as_str()] == values
    quoted = ["hydra.callbacks.sweep.quoted=[" + word.partition("=")[0] + "]"]
    typed = word.partition("=")[2]
    is_ours = any(value[0] == "'" for value in values) and "'" not in typed
    assert read.arguments()[2:] == (quoted if is_ours else [])


def test_a_search_is_left_alone():
    words = ["model.dropout=interval(0.0, 0.7)", "model.optimizer.lr=tag(log, interval(1e-5, 1))"]
    assert read_overrides([*SWEPT, *words]).words == words


def test_flags_come_first_with_what_belongs_to_them():
    read = read_overrides(["seed=1", "--cfg", "job", "-m", "data=sample", "--config-dir=x"])
    assert read.flags == ["--cfg", "job", "-m", "--config-dir=x"]
    assert read.words == ["seed=1", "data=sample"]
    assert read.is_multirun


def test_any_argument_of_the_trainer_can_be_typed():
    names = [name for name in inspect.signature(Trainer).parameters if name != "callbacks"]
    assert len(names) > 30
    overrides = read_overrides([f"trainer.{name}=null" for name in names])
    with initialize_config_dir(str(CONF), version_base="1.3"):
        node = compose("config", overrides.words).trainer
    assert set(names) <= set(node)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["trainer.acelerator=tpu"],
            r"^trainer\.acelerator is unknown \(did you mean trainer\.acc",
        ),
        (["data.batchsize=8"], r"^data\.batchsize is unknown \(did you mean data\.batch_size\?\)"),
        (["accelerator=gpu"], r"^accelerator is unknown \(did you mean trainer\.accelerator\?\)"),
        (["sede=1"], r"^sede is unknown \(did you mean seed\?\)"),
        (["model.optimizer.learning_rate=1"], r"; type \+model\.optimizer\.learning_rate=VALUE to"),
        (["tune=optuna"], r"^tune is unknown; type \+tune=VALUE to add it\.$"),
        (
            ["model=xcepton"],
            r"^model=xcepton is unknown \(did you mean xception\?\); there are dens",
        ),
        (
            ["-m", "model=resnet50,xcepton"],
            r"^model=xcepton is unknown \(did you mean xception\?\)",
        ),
        (
            ["data=smple"],
            r"^data=smple is unknown \(did you mean sample\?\); there are fashion, sam",
        ),
        (["seed=0,1"], r"^seed=0,1 holds several values; add --multirun to sweep over them"),
        (["multirun"], r"^'multirun' is no setting \(did you mean --multirun\?\); type key=value"),
        (["seed"], r"^'seed' is no setting \(did you mean seed=\?\); type key=value"),
        (["ä=1"], r"^ä is unknown"),
        (
            ["model.unfreeze=[a(1,2)"],
            r"^model\.unfreeze=\[a\(1,2\) can't be read; put its texts in",
        ),
        (["hydra.rum.dir=x"], r"^hydra\.rum is unknown \(did you mean hydra\.run\?\)\.$"),
        (["hydra/launcher=jobllib"], r"^hydra/launcher=jobllib is unknown.*there are basic"),
        (["--multirn"], r"^--multirn is unknown \(did you mean --multirun\?\); settings are key=v"),
        (["--multirun=true"], r"^--multirun=true is unknown"),
        (["-x"], r"^-x is unknown"),
        (
            ["--cfg", "jobb"],
            r"^--cfg jobb is unknown \(did you mean job\?\); there are job, hydra, all",
        ),
        (["--config-dir"], r"^--config-dir needs a word behind it\.$"),
        (
            ["data.root=a${b}.zip"],
            r"^data\.root: there is no setting b that \$\{b\} could stand for",
        ),
        (["+seed=1"], r"^seed is there already; type seed=VALUE without a plus\.$"),
        (["~nothing"], r"^~nothing: there is no such key\.$"),
    ],
)
def test_a_wrong_word_is_one_sentence_with_the_nearest(words, message):
    with pytest.raises(ValueError, match=message) as caught:
        check_words(read_overrides(words))
    assert "\n" not in str(caught.value)
    assert not any(word in str(caught.value) for word in ("mismatched", "token", "Exception"))


def test_the_flags_are_hydra_s():
    from hydra._internal.utils import get_args_parser  # hydra.main calls it with our flags

    actions = [action for action in get_args_parser()._actions if action.option_strings]
    plain = {flag for action in actions if action.nargs == 0 for flag in action.option_strings}
    others = {flag for action in actions if action.nargs != 0 for flag in action.option_strings}
    assert plain == set(FLAGS)
    assert others == set(TAKES_A_WORD)
    for action in actions:
        if "--cfg" in action.option_strings:
            assert dict.fromkeys(action.option_strings, tuple(action.choices)) == CHOICES


def test_every_value_of_a_sweep_is_composed_before_it_starts():
    words = ["hydra/launcher=basic,jobllib", "seed=0,1", "model.dropout=interval(0, 1)"]
    with pytest.raises(ValueError, match="jobllib is unknown"):
        check_words(read_overrides([*SWEPT, *words]))
    check_words(read_overrides([*SWEPT, *words[1:]]))


def test_the_commands_beside_training_take_its_words_and_no_flags():
    cfg = compose_settings(["data.root=2024", "trainer.fast_dev_run=true", "model=resnet50"])
    assert (cfg.data.root, cfg.trainer.fast_dev_run) == ("2024", True)
    with pytest.raises(ValueError, match="--multirun is for training alone"):
        compose_settings(["--multirun"])
