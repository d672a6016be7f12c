import pytest

from fashion.wording import did_you_mean, first_of, many


@pytest.mark.parametrize(
    ("number", "words", "said"),
    [
        (1, ("photo",), "1 photo"),
        (0, ("photo",), "0 photos"),
        (1200, ("photo",), "1,200 photos"),
        (1, ("class", "classes"), "1 class"),
        (2, ("photo is", "photos are"), "2 photos are"),
    ],
)
def test_what_is_counted_is_in_the_singular_or_the_plural(number, words, said):
    assert many(number, *words) == said


def test_a_text_is_asked_for_in_its_own_case_and_with_its_dots():
    labels = ["T.Shirts", "Jeans"]
    assert did_you_mean("t.shirt", labels, quoted=True) == " (did you mean 'T.Shirts'?)"
    assert did_you_mean("Umbrella", labels, quoted=True) == ""
    assert did_you_mean("Data.Rooot", ["data.root", "root"]) == " (did you mean data.root?)"


def test_the_first_of_many_names_are_said():
    assert first_of("abc") == "a, b, c"
    assert first_of("abcdef") == "a, b, c, d, e, …"
    assert first_of(iter("abc"), 2) == "a, b, …"
