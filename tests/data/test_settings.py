import pytest


def test_names_and_paths_may_look_like_numbers(data_settings):
    keys = ("table", "id_column", "image_column", "label_column", "exclude", "relabel", "rename")
    settings = data_settings(2023, **dict.fromkeys(keys, 2023), cache_dir=1.5, delimiter=1)
    assert {getattr(settings, key) for key in ("root", *keys)} == {"2023"}
    assert (settings.cache_dir, settings.delimiter) == ("1.5", "1")


@pytest.mark.parametrize(
    ("key", "value"), [("delimiter", ";;"), ("delimiter", 12), ("encoding", "latin99")]
)
def test_how_a_table_is_written_is_checked_before_it_is_read(data_settings, key, value):
    with pytest.raises(ValueError, match=rf"data\.{key}='{value}'"):
        data_settings("nowhere", **{key: value})
