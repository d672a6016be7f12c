import pytest

from fashion.review.decisions import Decision, Said, agreed, check_person, standing, utc

NOON = "2026-11-28T12:00:00Z"


def said(person, kind, label=None, second=0):
    at = f"2026-11-28T12:00:{second:02}.000000+00:00"
    return Said(person, kind, label, at, at, False)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (("accepted", None, NOON), "kind='accepted' needs a label"),
        (("corrected", "", NOON), "kind='corrected' needs a label"),
        (("no_class", "Tops", NOON), "kind='no_class' takes no label, but label='Tops'"),
        (("guessed", "Tops", NOON), "kind='guessed' is unknown; pass accepted, corrected"),
        (("undone", None, "2026-11-28T12:00:00"), "at='2026-11-28T12:00:00' must be a time"),
        (("undone", None, "yesterday"), "at='yesterday' must be a time"),
    ],
)
def test_a_decision_that_means_nothing_is_refused(values, sentence):
    with pytest.raises(ValueError, match=sentence):
        Decision("a" * 64, *values)


def test_times_of_all_zones_sort_as_texts():
    times = ["2026-11-28T12:00:00+05:30", "2026-11-28T06:30:00.5Z", "2026-11-28T01:31:00-05:00"]
    assert [utc(at) for at in times] == [
        "2026-11-28T06:30:00.000000+00:00",
        "2026-11-28T06:30:00.500000+00:00",
        "2026-11-28T06:31:00.000000+00:00",
    ]


@pytest.mark.parametrize("person", ["", "  ", "x" * 201])
def test_who_decides_has_a_name(person):
    with pytest.raises(ValueError, match="person="):
        check_person(person)
    assert check_person(" anna ") == "anna"


def test_the_last_of_a_person_counts_and_undone_takes_one_back():
    one, two = said("anna", "accepted", "Tops"), said("anna", "corrected", "Shirts", 1)
    undone = [said("anna", "undone", second=second) for second in (2, 3, 4)]
    ben = said("ben", "no_class")
    assert standing([one, two]) == {"anna": two}
    assert standing([one, two, *undone[:1], ben]) == {"anna": one, "ben": ben}
    assert standing([one, two, *undone]) == {}
    assert standing([*undone[:1], one]) == {"anna": one}


def test_people_agree_when_they_mean_the_same():
    accepted, corrected = said("anna", "accepted", "Tops"), said("ben", "corrected", "Tops", 1)
    assert agreed({"anna": accepted, "ben": corrected}) is corrected
    assert agreed({"anna": accepted, "ben": said("ben", "corrected", "Shirts")}) is None
    assert agreed({"anna": accepted, "ben": said("ben", "left_out")}) is None
    assert agreed({}) is None
