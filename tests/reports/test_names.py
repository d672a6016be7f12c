import random

import pytest

from fashion.reports import letters
from fashion.reports.names import MAX_NAME, figure_names, numbered, short_label, width

PIECES = (
    "Clothing",
    "Women",
    "Men",
    "Dresses",
    "Maxi",
    "Mini",
    " > ",
    "/",
    "_",
    " ",
    "Ä",
    "连衣裙",
)
PIECES += (
    "e\N{COMBINING ACUTE ACCENT}",
    "เสื้อ",
    "1",
    "2",
    "$",
    "…",
    "👗",
    "\n",
    "-",
    "ab",
    "aa",
    "b",
)


@pytest.fixture(params=[True, False], ids=["any letter", "own letters"])
def has_letters(request, monkeypatch):
    """Figures can be written in any letter, or in those of matplotlib's font alone."""
    if request.param:
        monkeypatch.setattr("fashion.reports.names.undrawable", lambda text: set())
    else:
        monkeypatch.setattr(letters, "_paths", dict)
        letters._fallbacks.cache_clear()
    yield request.param
    letters._fallbacks.cache_clear()


@pytest.mark.parametrize("seed", range(20))
def test_names_that_differ_are_written_differently_and_fit(seed, has_letters):
    draw = random.Random(seed)
    for _ in range(15):
        beginning = "".join(draw.choices(PIECES, k=draw.randrange(8)))
        end = "".join(draw.choices(PIECES, k=draw.randrange(8)))
        middles = ["".join(draw.choices(PIECES, k=draw.randrange(6))) for _ in range(40)]
        names = {f"{beginning}{middle}{end}" for middle in middles}
        length = draw.choice([12, MAX_NAME, 40])
        shown = figure_names(names, length)
        assert shown.keys() == names
        assert len(set(shown.values())) == len(names), sorted(shown.values())
        assert all(width(label.replace(r"\$", "$").lstrip()) <= length for label in shown.values())
        assert shown == figure_names(sorted(names, reverse=True), length)


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (
            [f"Clothing > Women > Dresses > {kind}" for kind in ("Maxi", "Mini", "Midi, long")],
            ["…Maxi", "…Mini", "…Midi, long"],
        ),
        (
            ["Clothing > Women > Dresses > Maxi", "Men > Shoes > Sneakers > Low", "Bags"],
            ["Clothing >…Dresses > Maxi", "Men > Shoes…Sneakers > Low", "Bags"],
        ),
        (
            [f"Clothing > Women > {kind} > Maxi > Blue" for kind in ("Dresses", "Skirts")] + ["x"],
            ["…Dresses > Maxi > Blue", "…Skirts > Maxi > Blue", "x"],
        ),
        (["a  b", "a b"], ["a b", "a b 2"]),
        (["Sports Shoes", "Sports Sandals"], ["Sports Shoes", "Sports Sandals"]),
        (["$5", "_x"], [r"\$5", " _x"]),
        pytest.param(
            ["قميص"],
            ["\N{LEFT-TO-RIGHT MARK}قميص\N{LEFT-TO-RIGHT MARK}"],
            marks=pytest.mark.skipif(not letters.CAN_SHAPE, reason="Matplotlib before 3.11"),
        ),
    ],
)
def test_a_name_keeps_what_tells_it_apart(names, shown):
    assert [figure_names(names)[name] for name in names] == shown


def test_a_name_without_letters_is_its_number_and_what_is_left(monkeypatch):
    monkeypatch.setattr(letters, "_paths", dict)
    letters._fallbacks.cache_clear()
    names = ["连衣裙", "Bags", "👗 Dress", "เสื้อ"]
    assert figure_names(names) == {
        "连衣裙": "#3",
        "Bags": "Bags",
        "👗 Dress": "#4 Dress",
        "เสื้อ": "#2",
    }
    assert numbered(names) == {"#2": "เสื้อ", "#3": "连衣裙", "#4": "👗 Dress"}
    assert short_label("models of 连衣裙, 3") == "models of ?, 3"
    monkeypatch.setattr(letters, "CAN_SHAPE", True)
    assert numbered(["قميص"]) == {}
    monkeypatch.setattr(letters, "CAN_SHAPE", False)
    assert numbered(["قميص", "Ténis", "Te\N{COMBINING ACUTE ACCENT}nis"]) == {"#3": "قميص"}
