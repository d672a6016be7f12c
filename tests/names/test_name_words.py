"""Words of names, and what the forms of a word share."""

import pytest

from fashion.names.words import LONGEST, compounds, stem, words


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Puma Men's T-Shirt", ["puma", "mens", "tshirt"]),
        ("Levi\u2019s 501\u00ae Jeans/Denim", ["levis", "501", "jeans", "denim"]),
        ("flip\u2010flops body\u2011mist", ["flipflops", "bodymist"]),
        ("shirt - blue -- dark-", ["shirt", "blue", "dark"]),
        ("sh\u200birt wa\u00adtch \u202eeet", ["shirt", "watch", "eet"]),
        ("\uff33\uff28\uff29\uff32\uff34 Caf\u00e9 E\u0301tui", ["shirt", "cafe", "etui"]),
        ("under_score a&b", ["under", "score", "a", "b"]),
        ("\ud800 \x00 \u263a", []),
        ("", []),
    ],
)
def test_words_of_a_name(name, expected):
    assert words(name) == expected


def test_a_hyphen_joins_parts():
    assert compounds("Shirt-blue x") == [["shirt", "blue"], ["x"]]


def test_of_a_long_name_whole_words_are_read():
    name = "a" * (LONGEST - 4) + " shirt"
    assert words(name) == ["a" * (LONGEST - 4)]
    assert words("b" * LONGEST) == ["b" * LONGEST]
    assert words("b" * (LONGEST + 1)) == []


@pytest.mark.parametrize(
    "forms",
    [
        *(("watch", "watches"), ("dress", "dresses"), ("shoe", "shoes"), ("box", "boxes")),
        *(("saree", "sarees"), ("hoodie", "hoodies", "hoody"), ("accessory", "accessories")),
        *(("scarf", "scarves", "scarfs"), ("glove", "gloves"), ("knife", "knives")),
        *(("kurti", "kurtis"), ("kurta", "kurtas"), ("tie", "ties"), ("jeans", "jean")),
        *(("brush", "brushes"), ("sunglass", "sunglasses"), ("lip", "lips"), ("bra", "bras")),
    ],
)
def test_forms_of_a_word_share_a_stem(forms):
    assert len({stem(form) for form in forms}) == 1


def test_different_words_have_different_stems():
    different = ["kurta", "kurti", "cap", "cape", "top", "tie", "sock", "shoe", "short", "shirt"]
    assert len({stem(word) for word in different}) == len(different)
    assert stem("s") == "s"
    assert stem("as") == "as"
