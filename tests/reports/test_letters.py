import warnings

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from fashion.reports import letters
from fashion.reports.figures import plot_confusion_matrix
from fashion.reports.names import figure_names
from fashion.reports.pages import png

CHINESE = "连衣裙"


@pytest.fixture
def _fresh():
    """Nothing is remembered of the fonts that there are."""
    remembered = (letters._fallbacks, letters._paths, letters._letters)
    for function in remembered:
        function.cache_clear()
    yield
    for function in remembered:
        function.cache_clear()


@pytest.fixture
def installed(tmp_path, monkeypatch, _fresh):
    """A font of a system with Chinese letters, or what passes for them."""
    glyphs = [".notdef", *(f"u{ord(letter):X}" for letter in CHINESE)]
    pen = TTGlyphPen(None)
    for i, point in enumerate([(100, 0), (900, 0), (900, 800), (100, 800)]):
        (pen.lineTo if i else pen.moveTo)(point)
    pen.closePath()
    square = pen.glyph()
    builder = FontBuilder(1000)
    builder.setupGlyphOrder(glyphs)
    builder.setupCharacterMap({ord(letter): f"u{ord(letter):X}" for letter in CHINESE})
    builder.setupGlyf(dict.fromkeys(glyphs, square))
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 100)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "Planted Sans", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    path = tmp_path / "planted.ttf"
    builder.save(path)
    entries = [*font_manager.fontManager.ttflist]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", entries)
    font_manager.fontManager.addfont(path)
    return "Planted Sans"


def matrix(names):
    return plot_confusion_matrix(np.eye(len(names), dtype=np.int64), names, "Confusion matrix")


def test_an_installed_font_lends_its_letters(installed):
    assert letters.undrawable(f"{CHINESE} ab") == set()
    figure = matrix([CHINESE, "Ténis"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert png(figure).startswith(b"\x89PNG")
    [label] = [text for text in figure.axes[0].get_xticklabels() if text.get_text() == CHINESE]
    assert label.get_fontfamily() == [letters.OWN, installed]


@pytest.mark.usefixtures("_fresh")
def test_without_one_no_box_is_drawn(monkeypatch):
    monkeypatch.setattr(letters, "_paths", dict)
    figure = matrix([CHINESE, "เสื้อ", "👗", "قميص", "Größe"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert png(figure).startswith(b"\x89PNG")
    shown = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert "#4" in shown
    assert "Größe" in shown
    assert CHINESE not in shown


def test_a_font_of_pictures_or_boxes_is_passed_over(monkeypatch, installed):
    monkeypatch.setattr(letters, "_can_draw", lambda path, code: False)
    assert letters.undrawable(CHINESE) == set(CHINESE)
    assert figure_names([CHINESE]) == {CHINESE: "#1"}
    assert not any(name.startswith(letters.BOXES) for name in letters._paths())
