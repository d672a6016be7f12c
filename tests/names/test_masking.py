"""What a mask leaves of names."""

import random

import pytest

from fashion.names.checks import relabelled, surviving_label_words
from fashion.names.label_words import (
    determined_columns,
    label_words,
    read_synonyms,
    tied_words,
)
from fashion.names.masking import LONGEST_WORD, MOST_WORDS, Mask
from fashion.names.words import stem

LABELS = label_words(["Tshirts", "Shirts", "Watches", "Flip Flops", "Backpacks", "Sweatshirts"])
TYPES = Mask("types", LABELS)


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("Puma Men Navy Blue Shirt", "puma men navy blue"),
        ("Puma T-shirt, T shirt, TSHIRTS' tee", "puma tee"),
        ("Casio wristwatch watches Watch2 smart-watch", "casio"),
        ("flip-flops flipflop flops Flip FLOP", ""),
        ("Wildcraft back pack back-pack backpack", "wildcraft"),
        ("Sweat shirt sweat-shirts grey", "grey"),
        ("Shirt-Blue men", "men"),
        ("sh\u200birt \uff33hirt SHI\u00adRT men", "men"),
        ("back shirt pack men", "men"),
        ("a b c", ""),
        ("", ""),
    ],
)
def test_label_words_go_in_all_their_forms(name, left):
    assert " ".join(TYPES.keep(name)) == left


def test_no_mask_leaves_all_words():
    assert Mask("none", LABELS).keep("Puma T-Shirt") == ["puma", "tshirt"]


def test_synonyms_and_tied_words_go_too():
    mask = Mask("synonyms", LABELS, read_synonyms(), ["casio"])
    assert mask.keep("Casio Denim Sneakers TEES for men") == ["for", "men"]


def test_the_list_of_synonyms_is_one_of_words():
    synonyms = read_synonyms()
    assert len(synonyms) > 150
    assert synonyms == sorted(set(synonyms))
    assert {"watch", "tee", "sneaker", "denim"} <= set(synonyms)
    assert all(word.isalpha() and word == word.lower() for word in synonyms)


def random_names(number, seed=0):
    """Return names of label words, parts of them and others, put together in all ways."""
    rng = random.Random(seed)
    pool = [*LABELS, "back", "pack", "sweat", "t", "puma", "men", "X1", "caf\u00e9", "over"]
    for _ in range(number):
        parts = [rng.choice(pool) for _ in range(rng.randint(1, 7))]
        cased = [rng.choice([str.upper, str.title, str])(part) for part in parts]
        yield "".join(
            part + rng.choice([" ", "-", "'s ", "\u200b ", "s ", "es "]) for part in cased
        )


def test_no_surviving_word_has_the_stem_of_a_label():
    assert surviving_label_words(TYPES, random_names(2_000), LABELS) == []


def test_a_surviving_label_word_is_found():
    assert surviving_label_words(Mask("none"), ["blue WATCH"], LABELS) == ["watch"]


def test_what_is_left_depends_on_no_word_that_goes():
    for seed, name in enumerate(random_names(2_000)):
        assert TYPES.keep(relabelled(TYPES, name, LABELS, seed)) == TYPES.keep(name), name


def test_relabelled_names_differ():
    assert relabelled(TYPES, "Puma Shirt", ["zq"]) == "puma zq"


def test_words_of_labels():
    found = label_words(["Flip Flops", "CasualShoes", "Perfume and Body Mist"])
    assert {"flip", "flops", "flipflops", "casual", "shoes", "casualshoes", "body"} <= set(found)
    assert "sweat" in LABELS
    assert "" not in label_words(["", "  ", "'"])


def test_columns_that_follow_from_the_label():
    labels = ["Shirts"] * 60 + ["Watches"] * 40
    columns = {
        "master": ["Apparel"] * 60 + ["Accessories"] * 39 + ["Apparel"],  # one slip of the pen
        "gender": ["Men", "Women"] * 50,
        "country": ["India"] * 99 + ["Nepal"],  # says nothing
        "empty": [""] * 100,
        "some": [""] * 50 + ["Top"] * 10 + ["Wrist"] * 40,
    }
    assert determined_columns(labels, columns) == {
        "master": ["Accessories", "Apparel"],
        "some": ["Top", "Wrist"],
    }


def test_words_that_the_data_ties_to_a_class():
    names = [["casio", "men"]] * 18 + [["casio"]] * 2 + [["rare", "men"]] * 19 + [["casio"]] * 2
    labels = ["Watches"] * 20 + ["Shirts"] * 21
    (tied,) = tied_words(names, labels)
    assert (tied.word, tied.label, tied.names) == ("casio", "Watches", 22)
    assert tied.share == pytest.approx(20 / 22)


def test_a_frequent_class_ties_no_words_by_its_size():
    names = [["men", f"w{number}"] for number in range(100)]
    assert tied_words(names, ["Shirts"] * 92 + ["Watches"] * 8) == []


def test_a_mask_is_rebuilt_from_plain_lists():
    mask = Mask("synonyms", LABELS, ["tee"], ["casio"])
    again = Mask.from_state(mask.state())
    assert again.stems == mask.stems
    assert again.kind == "synonyms"


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({}, "lacks"),
        (None, "lacks"),
        ({"kind": "all", "labels": [], "synonyms": [], "tied": []}, "'all'"),
        ({"kind": "types", "labels": "shirt", "synonyms": [], "tied": []}, "labels must be a list"),
        ({"kind": "types", "labels": [1], "synonyms": [], "tied": []}, "labels must be words"),
        (
            {"kind": "types", "labels": ["x" * (LONGEST_WORD + 1)], "synonyms": [], "tied": []},
            "labels must be words",
        ),
        (
            {"kind": "types", "labels": [], "synonyms": ["x"] * (MOST_WORDS + 1), "tied": []},
            "synonyms must be a list",
        ),
    ],
)
def test_what_is_no_mask_is_refused(state, reason):
    with pytest.raises(ValueError, match=reason):
        Mask.from_state(state)


def test_the_word_of_a_mask_is_found_by_its_stem():
    assert stem("watches") in TYPES.stems
