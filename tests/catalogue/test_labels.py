import pytest

from fashion.catalogue.labels import clean_text, no_values, similar_labels


@pytest.mark.parametrize(
    ("written", "cleaned"),
    [
        ("Hats", "Hats"),
        (" \t Hats\n", "Hats"),
        ("\xa0Hats\u3000", "Hats"),
        ("\ufeffHats \u200b ", "Hats"),
        ("Cafe\u0301", "Caf\xe9"),
        ("Lip  Gloss", "Lip  Gloss"),
        (" \u200b", ""),
    ],
)
def test_labels_lose_outer_space_and_have_one_form(written, cleaned):
    assert clean_text(written) == cleaned


def test_labels_that_differ_in_case_spaces_or_accents_alone_are_grouped():
    counts = {"T-Shirts": 9, "t-shirts": 20, "Café": 3, "CAFE": 3, "Lip Gloss": 5, "LipGloss": 1}
    counts |= {"T Shirts": 2, "ハ": 4, "パ": 4, "か": 1, "が": 2}
    assert similar_labels(counts) == [
        ["t-shirts", "T-Shirts"],
        ["Lip Gloss", "LipGloss"],
        ["CAFE", "Café"],
    ]


def test_words_for_nothing_are_known():
    labels = ["NaN", "none", "N/A", "NA", "null", "-", "\u2013", "Nanna", "Hats", "n", ""]
    assert no_values(labels) == labels[:7]
