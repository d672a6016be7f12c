"""`data.label_column`: a name, or a list of several."""

import pytest

from fashion.commands.overrides import read_overrides
from fashion.commands.settings import value_of


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], r"data\.label_column=\[\] names no column; pass one, or a list such as"),
        ({"a": 1}, r"data\.label_column=\{'a': 1\} names no column"),
        (["articleType", " articleType"], r"has 'articleType' twice; name each column once"),
        (["articleType", None], r"has None, which is no column"),
        (["articleType", ""], r"has '', which is no column"),
    ],
)
def test_a_wrong_list_is_named(value, message, data_settings):
    with pytest.raises(ValueError, match=message):
        data_settings(None, label_column=value)


def test_a_list_is_a_label_and_attributes(data_settings):
    settings = data_settings(None, label_column=["kind", "gender", 2023])
    assert (settings.label, settings.attributes) == ("kind", ("gender", "2023"))
    alone = data_settings(None, label_column=["kind"])
    assert alone == data_settings(None, label_column="kind")
    assert (alone.label, alone.attributes) == ("kind", ())


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("[kind,gender]", "[kind,gender]"),
        ("[Größe,Art (de)]", "['Größe','Art (de)']"),
        ("kind", "kind"),
        ("Art, (de)", "'Art, (de)'"),
    ],
)
def test_what_is_typed_reaches_hydra(typed, read):
    assert read_overrides([f"data.label_column={typed}"]).words == [f"data.label_column={read}"]


def test_a_sweep_may_be_over_lists():
    word = "data.label_column=[kind,gender],[kind]"
    assert read_overrides(["--multirun", word]).words == [word]


def test_commands_without_hydra_read_the_same():
    assert value_of("data.label_column", "[kind,gender]") == ["kind", "gender"]
    assert value_of("data.label_column", "2023") == "2023"
