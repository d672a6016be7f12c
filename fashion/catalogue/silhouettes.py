"""Draws one product of a named kind: the shapes of the built-in sample catalogue.

Every shape is given in the pixels of a photo 60 wide and 80 high, with the origin in its centre and
y pointing down; the pen turns, scales and moves it, so no shape knows how it will lie.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from fashion.catalogue.sample_products import HEIGHT, WIDTH

Point = tuple[float, float]
Outline = Sequence[Point]
RGB = tuple[int, int, int]

OVERSAMPLING = 4


@dataclass(frozen=True)
class Colours:
    """What a product is painted with: its colour, its details', its lines', and the paper's."""

    main: RGB
    accent: RGB
    edge: RGB
    paper: RGB


@dataclass(frozen=True)
class Pose:
    """How a product lies: `angle` in degrees, `shift` in pixels of the photo, `scale` a factor."""

    angle: float
    scale: float
    shift: Point
    flipped: bool


class Pen:
    """Draws outlines in one pose and one set of colours onto an oversampled canvas.

    Attributes:
        main: The product's colour; `accent`, `edge` and `paper` likewise stem from `colours`.
    """

    def __init__(self, colours: Colours, pose: Pose, rng: np.random.Generator) -> None:
        """Lay out an empty sheet of `colours.paper`; `rng` varies the proportions of the shapes."""
        self.main, self.accent = colours.main, colours.accent
        self.edge, self.paper = colours.edge, colours.paper
        size = (WIDTH * OVERSAMPLING, HEIGHT * OVERSAMPLING)
        self._canvas = Image.new("RGB", size, colours.paper)
        self._draw = ImageDraw.Draw(self._canvas)
        self._rng = rng
        self._unit = pose.scale * OVERSAMPLING
        turn = math.radians(pose.angle)
        cos, sin = self._unit * math.cos(turn), self._unit * math.sin(turn)
        mirror = -1 if pose.flipped else 1
        self._matrix = np.array([[mirror * cos, mirror * sin], [-sin, cos]])
        middle = np.array([WIDTH / 2, HEIGHT / 2])
        self._centre = (middle + pose.shift) * OVERSAMPLING

    def photo(self) -> Image.Image:
        """Return what was drawn so far as an RGB picture of 60x80 with smooth edges."""
        return self._canvas.reduce(OVERSAMPLING)

    def vary(self, low: float, high: float) -> float:
        """Return a proportion that differs from photo to photo, uniform in [low, high)."""
        return float(self._rng.uniform(low, high))

    def fill(
        self, points: Outline, colour: RGB | None = None, smooth: bool = False, edge: bool = True
    ) -> None:
        """Fill a closed outline, in the main colour unless told; `smooth` rounds its corners."""
        corners = self._place(_rounded(points) if smooth else points)
        self._draw.polygon(corners, fill=colour or self.main)
        if edge:
            width = max(round(0.8 * self._unit), 1)
            self._draw.line([*corners, *corners[:2]], fill=self.edge, width=width, joint="curve")

    def pair(self, points: Outline, colour: RGB | None = None, smooth: bool = False) -> None:
        """Fill an outline and its mirror image across the middle line."""
        self.fill(points, colour, smooth)
        self.fill([(-x, y) for x, y in points], colour, smooth)

    def box(
        self, left: float, top: float, right: float, bottom: float, colour: RGB | None = None
    ) -> None:
        """Fill an upright rectangle."""
        self.fill([(left, top), (right, top), (right, bottom), (left, bottom)], colour)

    def oval(
        self, x: float, y: float, width: float, height: float, colour: RGB | None = None,
        edge: bool = True,
    ) -> None:  # fmt: skip
        """Fill an ellipse around (x, y) with these half axes."""
        self.fill(_arc(x, y, width, height), colour, edge=edge)

    def line(self, points: Outline, width: float = 1.4, colour: RGB | None = None) -> None:
        """Draw an open line, in the edge colour unless told, with round ends."""
        corners = self._place(points)
        thick = max(round(width * self._unit), 1)
        self._draw.line(corners, fill=colour or self.edge, width=thick, joint="curve")
        for x, y in (corners[0], corners[-1]):
            self._draw.circle((x, y), thick / 2, fill=colour or self.edge)

    def lines(self, points: Outline, width: float = 1.4, colour: RGB | None = None) -> None:
        """Draw an open line and its mirror image across the middle line."""
        self.line(points, width, colour)
        self.line([(-x, y) for x, y in points], width, colour)

    def strap(self, points: Outline, width: float, colour: RGB | None = None) -> None:
        """Draw a line as broad as a strap, in the main colour unless told, with an edge."""
        self.line(points, width + 1.6)
        self.line(points, width, colour or self.main)

    def _place(self, points: Outline) -> list[Point]:
        placed = np.asarray(points) @ self._matrix.T + self._centre
        return [(x, y) for x, y in placed.tolist()]


def _arc(
    x: float, y: float, width: float, height: float, start: float = 0, stop: float = 360
) -> list[Point]:
    """Return points of an ellipse; angles in degrees, clockwise from the right-hand side."""
    angles = np.radians(np.linspace(start, stop, 25))
    return list(zip(x + width * np.cos(angles), y + height * np.sin(angles), strict=True))


def _rounded(points: Outline) -> list[Point]:
    """Cut the corners of a closed outline twice (Chaikin)."""
    corners = np.asarray(points, dtype=float)
    for _ in range(2):
        following = np.roll(corners, -1, axis=0)
        near, far = 0.75 * corners + 0.25 * following, 0.25 * corners + 0.75 * following
        corners = np.stack([near, far], axis=1).reshape(-1, 2)
    return [(x, y) for x, y in corners.tolist()]


def _mirrored(*half: Point) -> list[Point]:
    """Return the closed outline whose right half, from top to bottom, is given."""
    return [*half, *((-x, y) for x, y in reversed(half))]


# Sleeves of the right-hand side, from the shoulder round to the armpit.
CAP_SLEEVE = [(11, -25), (16, -24), (23, -15), (14, -12)]
SHORT_SLEEVE = [(11, -25), (17, -23), (26, -10), (19, -5), (12, -11)]
HALF_SLEEVE = [(11, -25), (17, -23), (25, -4), (26, 3), (19, 5), (12, -9)]
LONG_SLEEVE = [(11, -25), (17, -23), (23, -8), (26, 19), (20, 20), (12, -8)]
CUFF = [(26.5, 15), (27, 21), (19.5, 22), (19, 16)]


def _torso(pen: Pen, hem: float, width: float = 14, sleeve: Outline | None = None) -> None:
    """Draw the trunk of a garment down to y=`hem`, where it is 2 * `width` wide."""
    if sleeve:
        pen.pair(sleeve)
    pen.fill(_mirrored((4, -27), (13, -25), (13, -9), (width, hem)))


def _round_neck(pen: Pen, width: float = 6, depth: float = 5) -> None:
    pen.oval(0, -27.5, width, depth, pen.paper, edge=False)
    pen.line(_arc(0, -27.5, width, depth, 0, 180), 1.8)


def _v_neck(pen: Pen, depth: float, width: float = 6) -> None:
    pen.fill([(-width, -29), (width, -29), (0, depth)], pen.paper, edge=False)
    pen.lines([(width - 0.5, -27), (0, depth)], 2)


def tshirt(pen: Pen) -> None:
    """Short sleeves, a round neck and a print on the chest."""
    hem = pen.vary(20, 26)
    _torso(pen, hem, sleeve=SHORT_SLEEVE)
    _round_neck(pen)
    size = pen.vary(5, 8)
    pen.oval(0, -5, size, size, pen.accent)


def shirt(pen: Pen) -> None:
    """Long sleeves, a pointed collar, a row of buttons and a breast pocket."""
    hem = pen.vary(22, 28)
    _torso(pen, hem, sleeve=LONG_SLEEVE)
    pen.pair(CUFF, pen.accent)
    pen.lines([(2, -22), (2, hem)], 1)
    for y in np.linspace(-16, hem - 4, 6):
        pen.oval(0, y, 1.1, 1.1, pen.accent)
    pen.box(5, -12, 11, -4)
    pen.pair([(0, -22), (4, -30), (10, -26), (6, -17)], pen.accent)


def top(pen: Pen) -> None:
    """Cap sleeves, a wide neck and a short flounce below a narrow waist."""
    pen.pair(CAP_SLEEVE)
    pen.fill(_mirrored((4, -27), (13, -25), (13, -12), (9, 3)))
    _round_neck(pen, 9, pen.vary(7, 9))
    length = pen.vary(15, 19)
    pen.fill(_mirrored((9, 2), (20, length), (13, length + 3), (7, length), (3, length + 3)))
    pen.box(-10, 0, 10, 4, pen.accent)


def kurta(pen: Pen) -> None:
    """Knee-long, long sleeves, an embroidered opening, and slits that show the longer back."""
    hem = pen.vary(33, 37)
    pen.fill(_mirrored((13, 6), (19, hem - 2)), pen.edge)
    pen.pair(LONG_SLEEVE)
    pen.fill(_mirrored((4, -27), (13, -25), (13, -9), (14, 9), (12, hem)))
    _round_neck(pen, 5, 4)
    pen.box(-2.5, -23, 2.5, -1, pen.accent)
    pen.fill(_mirrored((12, hem - 4), (12, hem)), pen.accent)


def kurti(pen: Pen) -> None:
    """Hip-long with a broad embroidered yoke and border, and half sleeves with a border."""
    hem = pen.vary(17, 22)
    _torso(pen, hem, 19, sleeve=HALF_SLEEVE)
    pen.pair([(25, -2), (26, 3), (19, 5), (17, 0)], pen.accent)
    pen.fill(_mirrored((10, -25), (9, -12), (5, -5)), pen.accent, smooth=True)
    _round_neck(pen, 5, 5)
    pen.fill(_mirrored((18, hem - 6), (19, hem)), pen.accent)


def tunic(pen: Pen) -> None:
    """Wide batwing sleeves in one piece with a body that is tied at the waist."""
    hem = pen.vary(24, 30)
    pen.fill(_mirrored((4, -27), (13, -25), (28, -6), (26, 1), (11, 3), (16, hem)))
    _v_neck(pen, -17)
    pen.box(-11.5, 2, 11.5, 6, pen.accent)
    pen.line([(4, 5), (7, 20)], 2.2, pen.accent)
    pen.line([(3, 5), (2, 18)], 2.2, pen.accent)


def sweater(pen: Pen) -> None:
    """Long sleeves, a V-neck, ribbed borders and knitted zigzags across the chest."""
    hem = pen.vary(20, 24)
    _torso(pen, hem, 14, sleeve=LONG_SLEEVE)
    pen.pair(CUFF, pen.edge)
    _v_neck(pen, -13)
    for y in (-6, 1):
        zigzag = [(x, y + (4 if i % 2 else 0)) for i, x in enumerate(np.linspace(-13, 13, 9))]
        pen.line(zigzag, 2.6, pen.accent)
    pen.fill(_mirrored((14.5, hem - 5), (14.5, hem)), pen.edge)


def sweatshirt(pen: Pen) -> None:
    """A hood, laces and a pouch pocket."""
    hem = pen.vary(20, 24)
    pen.fill(_mirrored((7, -35), (12, -28), (11, -19), (4, -17)), smooth=True)
    _torso(pen, hem, sleeve=LONG_SLEEVE)
    pen.fill(_mirrored((5, -34), (12, -27), (9, -19), (3, -15)), smooth=True)
    pen.oval(0, -25.5, 6, 6, pen.accent)
    pen.lines([(3, -17), (3, -7)], 1.8, pen.accent)
    pen.fill(_mirrored((6, 3), (11, 14), (11, 17)), pen.edge)


def jacket(pen: Pen) -> None:
    """Worn open over a lining, with lapels and slanted pockets."""
    hem = pen.vary(22, 27)
    _torso(pen, hem, 16, sleeve=LONG_SLEEVE)
    pen.fill(_mirrored((5, -27), (4, -10), (5, hem)), pen.accent)
    pen.pair([(5, -29), (10, -26), (11, -15), (4, -4), (4, -14)])
    pen.lines([(7, 8), (12, 3)], 2.2)
    pen.lines([(4.5, -4), (5, hem)], 2)


def innerwear_vest(pen: Pen) -> None:
    """Narrow shoulders, deep neck and armholes, a plain straight body."""
    hem = pen.vary(24, 29)
    pen.fill(_mirrored((0, -13), (5, -19), (5.5, -28), (9.5, -28), (9, -18), (14, -9), (14, hem)))
    pen.line([(-5.2, -27), (-4.5, -18), (0, -13), (4.5, -18), (5.2, -27)], 2, pen.accent)
    pen.lines([(9.5, -27), (9, -18), (13.5, -9)], 2, pen.accent)


def dress(pen: Pen) -> None:
    """A fitted sleeveless top, a belt and a wide swinging skirt."""
    hem = pen.vary(29, 34)
    width = pen.vary(21, 25)
    pen.fill(_mirrored((9, -31), (13, -29), (12, -19), (8, -5)))
    _v_neck(pen, -21, 8)
    pen.fill(_mirrored((8, -5), (width, hem - 2), (width / 2, hem + 1), (0, hem + 2)))
    for x in (0.3, 0.65):
        pen.lines([(8 * x, 3), (width * x, hem - 3)], 1)
    pen.box(-9, -7, 9, -2, pen.accent)


def nightdress(pen: Pen) -> None:
    """Thin straps, a loose fall from the chest and scallops along the hem."""
    hem = pen.vary(24, 30)
    pen.lines([(7, -34), (7, -20)], 1.8)
    pen.fill(_mirrored((3, -19), (8, -22), (11, -14), (19, hem)))
    for x in np.linspace(-16, 16, 6):
        pen.oval(x, hem, 3.4, 4, pen.accent)
    pen.fill(_mirrored((3, -19), (8, -22), (11, -12)), pen.accent)
    pen.pair([(0, -12), (6, -15), (6, -8)], pen.main)


def night_suit(pen: Pen) -> None:
    """A loose top with dots above trousers of the same cloth."""
    shift = pen.vary(-1, 1)
    _legs(pen, top=3, hem=36, waist=11, leg=(4, 14))
    pen.pair([(9, -31), (14, -29), (22, -14), (16, -10), (10, -18)])
    pen.fill(_mirrored((4, -33), (11, -31), (12, -12), (14, 5)))
    pen.fill([(-5, -34), (5, -34), (0, -24)], pen.paper, edge=False)
    pen.pair([(0, -24), (4, -33), (8, -32), (5, -22)], pen.accent)
    dots = [(-7, -14), (7, -14), (0, -8), (-7, -2), (7, -2), (-9, 14), (9, 14), (-9, 24), (9, 24)]
    for x, y in dots:
        pen.oval(x + shift, y, 2, 2, pen.accent, edge=False)


def bra(pen: Pen) -> None:
    """Two cups with straps and a band."""
    cup = pen.vary(11, 13)
    pen.lines([(12, -26), (14, -4)], 2.2)
    pen.pair([(3, 10), (26, 3), (27, 9), (8, 15)])
    pen.pair(_arc(cup, 1, cup, 12), smooth=True)
    pen.lines(_arc(cup, 1, cup - 3, 9, 20, 160), 2, pen.accent)
    pen.oval(0, 4, 2, 2, pen.accent)


def saree(pen: Pen) -> None:
    """A draped skirt in folds, and a cloth over one shoulder that falls to the side."""
    pen.pair([(7, -28), (13, -26), (15, -14), (10, -12)], pen.accent)
    pen.fill(_mirrored((4, -29), (10, -27), (8, -12)), pen.accent)
    hem = pen.vary(34, 37)
    pen.fill(_mirrored((9, -10), (12, 2), (15, hem)))
    for x in (-4, 0, 4):
        pen.line([(x / 2, 0), (x * 1.6, hem)], 1.4)
    side = pen.vary(20, 24)
    pen.fill([(-10, -28), (-3, -30), (11, -6), (side, 24), (side - 10, 26), (4, 2), (-2, -8)])
    pen.line([(-3.5, -29), (10, -6), (side - 1, 24)], 2.6, pen.accent)
    pen.fill(_mirrored((15, hem - 4), (15.5, hem)), pen.accent)


def _legs(pen: Pen, top: float, hem: float, waist: float, leg: tuple[float, float]) -> None:
    """Draw trousers from y=`top` to y=`hem`; `leg` is the inner and the outer x at the hem."""
    inner, outer = leg
    crotch = top + min(20, 0.55 * (hem - top))
    hip = ((waist + outer) / 2 + 1.5, (top + crotch) / 2)
    right = [(waist, top), hip, (outer, hem), (inner, hem), (0, crotch)]
    pen.fill([*right, *((-x, y) for x, y in reversed(right[:-1]))])


def jeans(pen: Pen) -> None:
    """Curved pockets, a fly, faded knees and turned-up cuffs."""
    outer = pen.vary(15, 18)
    _legs(pen, -34, 34, 12, (outer - 10, outer))
    pen.lines(_arc(12, -30, 7, 7, 90, 180), 1.6, pen.accent)
    pen.line([(0, -30), (0, -20), (-3, -22)], 1.4)
    x = outer - 5
    pen.oval(x - 1.5, 4, 3, 7, pen.accent, edge=False)
    pen.oval(1.5 - x, 4, 3, 7, pen.accent, edge=False)
    pen.pair([(outer - 11, 29), (outer + 1, 29), (outer + 1, 36), (outer - 11, 36)], pen.accent)
    pen.fill(_mirrored((12.5, -34), (12.5, -30)))


def trousers(pen: Pen) -> None:
    """A sharp crease down each leg, a belt with a buckle and slanted pockets."""
    outer = pen.vary(15, 18)
    _legs(pen, -34, 36, 12, (outer - 11, outer))
    pen.lines([(6, -26), (outer - 5.5, 36)], 2.4)
    pen.lines([(9, -28), (12.5, -19)], 1.6)
    pen.fill(_mirrored((12.5, -35), (12.5, -30)), pen.edge)
    pen.box(-3, -36, 3, -29, pen.accent)


def track_pants(pen: Pen) -> None:
    """A broad stripe down each side, a tied lace and tight cuffs."""
    outer = pen.vary(16, 19)
    _legs(pen, -34, 32, 12, (outer - 11, outer))
    pen.pair([(8, -31), (12, -31), (outer + 0.5, 31), (outer - 5, 31)], pen.accent)
    pen.pair([(outer - 9, 32), (outer - 1, 32), (outer - 2, 37), (outer - 8, 37)], pen.edge)
    pen.fill(_mirrored((12.5, -35), (12.5, -30)), pen.edge)
    pen.lines([(1, -31), (3, -20)], 1.6, pen.accent)


def leggings(pen: Pen) -> None:
    """Narrow legs close together, without pockets, on a high plain waistband."""
    outer = pen.vary(8, 10)
    _legs(pen, -34, 36, 9, (outer - 5, outer))
    pen.fill(_mirrored((9.5, -35), (10.5, -27)), pen.accent)


def capris(pen: Pen) -> None:
    """Wide legs that end at the calf with a slit and a bow."""
    outer = pen.vary(15, 18)
    _legs(pen, -27, 19, 12, (outer - 12, outer))
    pen.fill(_mirrored((12.5, -28), (12.5, -22)), pen.edge)
    pen.pair([(outer - 3, 20), (outer - 1.5, 8), (outer + 1, 20)], pen.paper)
    pen.pair([(outer - 2, 8), (outer + 5, 4), (outer + 5, 12)], pen.accent)
    pen.pair([(outer - 2, 8), (outer - 9, 4), (outer - 9, 12)], pen.accent)


def shorts(pen: Pen) -> None:
    """Short wide legs with cargo pockets and a tied lace."""
    outer = pen.vary(22, 25)
    _legs(pen, -20, 15, 14, (2, outer))
    pen.pair([(10, 1), (19, -1), (20.5, 9), (11.5, 11)], pen.accent)
    pen.fill(_mirrored((14.5, -21), (14.5, -15)))
    pen.lines([(1, -16), (4, -5)], 1.8, pen.accent)


def trunk(pen: Pen) -> None:
    """Short tight legs, a broad elastic waistband and a seamed front."""
    hem = pen.vary(14, 18)
    pen.fill(_mirrored((18, -16), (21, hem), (5, hem + 2), (1, 6)))
    pen.fill(_mirrored((18, -18), (18.5, -9)), pen.accent)
    pen.lines(_arc(0, -9, 8, 17, 15, 90), 2)


def briefs(pen: Pen) -> None:
    """High leg openings that leave a triangle under a waistband."""
    cut = pen.vary(-6, -2)
    pen.fill(_mirrored((25, -15), (24, cut), (10, 4), (5, 16)))
    pen.fill(_mirrored((25, -17), (25, -11)), pen.accent)
    pen.lines([(22, cut + 0.5), (10, 4), (5, 16)], 2.4, pen.accent)


def skirt(pen: Pen) -> None:
    """Pleats that open out below a waistband."""
    hem = pen.vary(18, 23)
    width = pen.vary(23, 26)
    pen.fill(_mirrored((11, -20), (width, hem), (width / 2, hem + 2), (0, hem + 3)))
    for x in (0.25, 0.75):
        pen.pair(
            [(11 * x, -18), (width * (x + 0.1), hem + 1), (width * (x - 0.1), hem + 2)], pen.accent
        )
    pen.fill(_mirrored((11.5, -23), (11.5, -17)))


def casual_shoe(pen: Pen) -> None:
    """A high canvas shoe with a rubber toe cap, a flat sole and a round patch at the ankle."""
    height = pen.vary(-23, -19)
    pen.fill([(-22, 12), (-21, height), (-5, height - 1), (-2, -7), (10, -1), (24, 4), (26, 12)])
    pen.fill([(14, 12), (14, 4), (20, 1), (26, 5), (27, 12)], pen.accent, smooth=True)
    pen.fill([(-23, 10), (27, 10), (27, 16), (-23, 16)], pen.accent)
    pen.line([(-23, 13), (27, 13)], 1.2)
    pen.oval(-13, -7, 5, 5, pen.accent)
    for y in (-17, -12, -7):
        pen.line([(-8, y), (-2, y - 2)], 1.8, pen.accent)


def sports_shoe(pen: Pen) -> None:
    """A low running shoe with slanted stripes and a lug sole that is thickest at the heel."""
    heel = pen.vary(-15, -12)
    top = [(-26, heel), (-19, heel - 1), (-10, -8), (0, -6), (14, 1), (32, 4)]
    pen.fill([(-24, heel + 3), (-30, heel - 2), (-26, heel - 5), (-20, heel + 1)], pen.accent)
    pen.fill([(-29, 10), *top, (28, 11)], smooth=True)
    for x in (-13, -2):
        pen.fill([(x, 8), (x + 6, 8), (x + 9, -3), (x + 4, -4)], pen.accent)
    lugs = [(x, 16 if i % 4 in (1, 2) else 13) for i, x in enumerate(np.linspace(27, -27, 16))]
    pen.fill([(-29, 5), (-10, 9), (28, 8), *lugs], pen.accent)


def formal_shoe(pen: Pen) -> None:
    """A smooth closed shoe with a pointed toe cap, laces and a low block heel."""
    ankle = pen.vary(-15, -12)
    top = [(-25, ankle), (-10, ankle), (-3, -4), (14, 0), (29, 7)]
    pen.fill([(-27, 12), *top, (31, 12)], smooth=True)
    pen.fill([(12, 10), (15, 1), (25, 6), (28, 10)], pen.accent)
    pen.fill([(-26, 9), (29, 9), (28, 12), (-13, 12), (-14, 17), (-26, 17)], pen.edge)
    for x in (-9, -5, -1):
        pen.line([(x - 4, 1), (x + 1, -5 + x / 4)], 1.6, pen.accent)


def flat(pen: Pen) -> None:
    """A ballerina: low and wide open, with a lining, a bow over the toes and no heel."""
    back = pen.vary(-9, -6)
    pen.fill([(-30, 11), (-28, back), (-20, -8), (4, -7), (20, -5), (32, 4), (30, 11)], smooth=True)
    pen.fill([(-26, back + 1), (-8, -9), (12, -5), (8, 3), (-8, 5), (-24, 3)], pen.accent, True)
    pen.line([(-28, 11), (29, 11)], 2.4)
    pen.fill([(15, -3), (8, -9), (8, 2)], pen.accent)
    pen.fill([(15, -3), (22, -9), (22, 3)], pen.accent)


def heel(pen: Pen) -> None:
    """A pump on a stiletto."""
    rise = pen.vary(-20, -16)
    pen.fill([(-26, rise + 4), (-18, rise + 10), (-21, 19), (-24, 19)], pen.accent)
    sole = [(28, 19), (8, 19), (-4, 10), (-16, rise + 12)]
    instep = [(-27, rise - 4), (-16, rise + 3), (-4, 1), (8, 4), (18, 8), (28, 17)]
    pen.fill([*instep, *sole, (-26, rise + 8)])
    pen.line(sole, 2.4, pen.accent)


def sandal(pen: Pen) -> None:
    """Straps with gaps between them over a cork sole: at the heel, round the ankle, at the toes."""
    height = pen.vary(-17, -13)
    pen.fill([(-27, 8), (-5, 11), (27, 10), (28, 16), (-27, 17)], pen.accent)
    pen.strap([(-22, 7), (-23, height)], 4.4)
    pen.strap(_arc(-13, height, 10, 4), 3)
    pen.strap([(-4, height + 2), (9, 2)], 4)
    pen.fill([(3, 11), (6, -1), (13, -4), (20, 0), (24, 11)])
    pen.box(-15, height, -8, height + 7, pen.accent)


def flip_flops(pen: Pen) -> None:
    """A pair seen from above, each with a thong that forks from the toes."""
    width = pen.vary(10, 12)
    sole = [(14 - width, -10), (11, -30), (20, -28), (13 + width, -8), (21, 10), (21, 26), (8, 26)]
    pen.pair([*sole, (7, 8)], smooth=True)
    pen.lines([(5.5, 3), (14, -17), (23.5, 3)], 3.4, pen.accent)


def sock(pen: Pen) -> None:
    """A leg and a foot, with a ribbed top, heel and toe."""
    top = pen.vary(-31, -26)
    pen.fill([(-14, top), (4, top), (4, 6), (20, 14), (24, 22), (18, 27), (2, 25), (-14, 16)])
    pen.box(-15, top - 1, 5, top + 7, pen.accent)
    pen.fill([(-14, 6), (-4, 12), (-3, 23), (-14, 16)], pen.accent)
    pen.fill([(14, 11), (20, 13), (25, 21), (19, 27), (12, 26)], pen.accent, smooth=True)
    pen.line([(-14, top + 13), (4, top + 13)], 2, pen.accent)


def watch(pen: Pen) -> None:
    """A round dial with hands on a strap."""
    dial = pen.vary(14, 17)
    pen.fill(_mirrored((9, -10), (7, -36)))
    pen.fill(_mirrored((9, 10), (7, 36)))
    for y in (-31, -26, -21, 21, 26, 31):
        pen.line([(-7, y), (7, y)], 1.2)
    pen.box(dial - 1, -2.5, dial + 4, 2.5)
    pen.oval(0, 0, dial, dial)
    pen.oval(0, 0, dial - 4, dial - 4, pen.accent)
    pen.line([(0, 4 - dial + 2), (0, 0), (6, 4)], 2)


def belt(pen: Pen) -> None:
    """A rolled strap with a buckle in front."""
    height = pen.vary(13, 16)
    pen.oval(0, -3, 27, height)
    pen.oval(0, -5, 22, height - 8, pen.paper)
    pen.line(_arc(0, -3, 24.5, height - 2, 20, 160), 1.2, pen.accent)
    pen.box(-9, height - 13, 9, height + 2, pen.accent)
    pen.box(-4.5, height - 9, 4.5, height - 2)
    pen.line([(0, height - 5), (9, height - 5)], 2)


def sunglasses(pen: Pen) -> None:
    """Two dark lenses, a bridge and folded temples."""
    drop = pen.vary(9, 12)
    pen.lines([(25, -8), (15, -19), (-4, -19)], 2.8, pen.accent)
    pen.lines(_arc(0, -4, 6, 4, 270, 360), 3, pen.accent)
    lens = [(3, -9), (27, -10), (28, 0), (22, drop), (10, drop), (3, 0)]
    pen.pair(lens, pen.accent, smooth=True)
    pen.pair([(15 + 0.78 * (x - 15), -0.5 + 0.74 * y) for x, y in lens], smooth=True)


def wallet(pen: Pen) -> None:
    """An open billfold: two halves, with cards on one side."""
    height = pen.vary(14, 18)
    pen.pair([(0, -height), (26, 2 - height), (27, height), (0, height + 2)])
    pen.line([(0, -height), (0, height + 2)], 3)
    for y in (-0.5, 0, 0.5):
        pen.fill([(5, y * height - 2), (23, y * height - 2), (23, y * height + 4),
                  (5, y * height + 4)], pen.accent)  # fmt: skip
    pen.line([(-22, 4 - height), (-4, 3 - height), (-4, height - 2), (-22, height - 3)], 1)


def clutch(pen: Pen) -> None:
    """A low envelope with a pointed flap, a clasp and a loop for the wrist."""
    height = pen.vary(10, 13)
    pen.line([(26, -8), (22, -26), (14, -22), (24, -6)], 2.4, pen.accent)
    pen.box(-27, -height, 27, height + 3)
    pen.fill([(-27, -height - 1), (27, -height - 1), (0, height - 4)], pen.accent)
    pen.oval(0, height - 6, 3.5, 3.5)


def handbag(pen: Pen) -> None:
    """A broad bag with two arched handles, a zip and a clasp."""
    top = pen.vary(-8, -4)
    pen.line(_arc(0, top, 13, 24, 180, 360), 3.4)
    pen.line(_arc(0, top, 13, 24, 180, 360), 2.2, pen.accent)
    pen.fill(_mirrored((18, top), (25, 20), (23, 25)))
    pen.fill(_mirrored((18, top), (20, top + 8)), pen.accent)
    pen.pair([(11, top), (15, top), (16, 25), (12, 25)], pen.accent)
    pen.box(-3.5, top + 5, 3.5, top + 13)


def backpack(pen: Pen) -> None:
    """A tall round-topped pack with a loop, straps at the sides and a front pocket."""
    width = pen.vary(17, 20)
    pen.line(_arc(0, -29, 6, 6, 180, 360), 3)
    pen.lines([(width - 2, -14), (width + 6, -2), (width + 5, 20), (width - 1, 26)], 3.4)
    outline = _mirrored((10, -31), (width, -20), (width + 1, 26), (width - 4, 32))
    pen.fill(outline, smooth=True)
    pen.fill(_mirrored((width - 5, 2), (width - 4, 26)), pen.accent)
    pen.line([(4 - width, 9), (width - 4, 9)], 2)
    pen.line(_arc(0, -8, width - 5, 14, 180, 360), 2.2, pen.accent)


def cap(pen: Pen) -> None:
    """A dome with seams, a button on top and a long peak."""
    height = pen.vary(20, 24)
    pen.fill([*_arc(-6, 5, 20, height, 180, 360), (-26, 8)])
    pen.line(_arc(-6, 5, 7, height, 180, 360), 1.6)
    pen.fill([(-26, 3), (14, 3), (29, 9), (29, 13), (10, 10), (-26, 10)], pen.accent)
    pen.oval(-6, 5 - height, 3, 2, pen.accent)


def tie(pen: Pen) -> None:
    """A knot and a long blade with slanted stripes."""
    width = pen.vary(9, 11)
    pen.fill(_mirrored((3.5, -26), (width, 26), (0, 37)))
    for y in (-14, -1, 12):
        x = 5 + (y + 14) / 8
        pen.fill([(-x, y + 3), (x, y - 4), (x + 0.5, y + 1), (-x - 0.5, y + 8)], pen.accent)
    pen.fill(_mirrored((7, -37), (4, -26)))


def scarf(pen: Pen) -> None:
    """A loop whose two ends cross and hang apart, striped, with fringes."""
    spread = pen.vary(15, 19)
    pen.strap(_arc(0, -20, 12, 13), 8)
    for side in (-1, 1):
        pen.strap([(-6 * side, -9), (side * spread, 26)], 10)
        for i in (0.55, 0.8):
            x, y = side * (spread * i - 6 * (1 - i)), 26 * i - 9 * (1 - i)
            pen.line([(x - 5, y + 2 * side), (x + 5, y - 2 * side)], 3, pen.accent)
        for i in (-4, 0, 4):
            x = side * spread + i
            pen.line([(x, 30), (x + side, 37)], 1.8, pen.accent)


def dupatta(pen: Pen) -> None:
    """A long cloth hung round a neck: two straight panels with broad borders and tassels."""
    inner = pen.vary(4, 6)
    pen.line(_arc(0, -18, 11, 15, 180, 360), 10.6)
    pen.line(_arc(0, -18, 11, 15, 180, 360), 9, pen.main)
    pen.pair([(inner, -19), (17, -19), (24, 32), (inner, 32)])
    pen.pair([(inner, 20), (22.5, 20), (24, 32), (inner, 32)], pen.accent)
    pen.lines([(inner + 3, -19), (inner + 3, 19)], 2.2, pen.accent)
    for x in (7, 12, 17, 22):
        pen.lines([(x, 32), (x, 37)], 2)


def earrings(pen: Pen) -> None:
    """A pair of drops on hooks."""
    drop = pen.vary(8, 10)
    pen.lines(_arc(15, -22, 5, 7, 180, 400), 2.4)
    pen.pair(_arc(14, -8, 6, 6), pen.accent)
    pen.pair([(14, -3), (14 + drop, 13), (14, 24), (14 - drop, 13)], smooth=True)


def pendant(pen: Pen) -> None:
    """A thin chain in a V with one large stone."""
    pen.lines([(20, -36), (0, 5)], 2.2)
    size = pen.vary(12, 15)
    pen.oval(0, 7, 4, 4, pen.accent)
    pen.fill(_mirrored((0, 8), (size, 20), (0, 37)))
    pen.fill(_mirrored((0, 14), (size - 6, 20), (0, 29)), pen.accent)


def necklace(pen: Pen) -> None:
    """Strands of beads in a round bow."""
    depth = pen.vary(30, 36)
    pen.line(_arc(0, -22, 16, depth - 12, -20, 200), 2)
    for i, angle in enumerate(np.radians(np.linspace(-12, 192, 15))):
        size = 2.4 + 2.6 * math.sin(max(angle, 0)) ** 2
        x, y = 24 * math.cos(angle), -20 + depth * math.sin(angle)
        pen.oval(x, y, size, size, pen.accent if i % 2 else pen.main)
        pen.oval(0.6 * x, 0.55 * y - 9, 2.2, 2.2)


def ring(pen: Pen) -> None:
    """A round band that carries a cut stone."""
    radius = pen.vary(18, 21)
    pen.oval(0, 10, radius, radius)
    pen.oval(0, 10, radius - 6, radius - 6, pen.paper)
    pen.fill(_mirrored((9, -27), (15, -19), (0, -4)), pen.accent)
    pen.lines([(15, -19), (0, -19)], 1.2)
    pen.lines([(5, -26), (5, -19), (0, -6)], 1.2)


def cufflinks(pen: Pen) -> None:
    """A pair of square faces, each on a stem with a toggle."""
    size = pen.vary(9, 11)
    for x, y in ((-13, -12), (13, 16)):
        pen.strap([(x + 3, y + 2), (x + 10, y - 16)], 3)
        pen.strap([(x + 4, y - 19), (x + 15, y - 14)], 4)
        pen.box(x - size, y - size, x + size, y + size)
        pen.box(x - size + 4, y - size + 4, x + size - 4, y + size - 4, pen.accent)


def perfume(pen: Pen) -> None:
    """A broad glass bottle with a square stopper and a label."""
    width = pen.vary(19, 23)
    pen.fill(_mirrored((6, -30), (6, -16)), pen.accent)
    pen.fill(_mirrored((3, -16), (3, -9)))
    pen.fill(_mirrored((width - 4, -10), (width, -5), (width, 24), (width - 3, 28)))
    pen.fill(_mirrored((width - 8, 2), (width - 8, 18)), pen.accent)
    pen.line([(4 - width, 9), (4 - width, -4)], 2, pen.paper)


def deodorant(pen: Pen) -> None:
    """A tall spray can with a domed cap and bands."""
    width = pen.vary(9, 11)
    pen.fill(_mirrored((width, -20), (width, 35), (width - 2, 37)))
    pen.fill([*_arc(0, -22, width - 1, 14, 180, 360), (width - 1, -18), (1 - width, -18)],
             pen.accent)  # fmt: skip
    pen.box(-width, -8, width, -3, pen.accent)
    pen.box(-width, 22, width, 27, pen.accent)
    pen.oval(0, 9, 5, 7, pen.accent)


def nail_polish(pen: Pen) -> None:
    """A small round bottle under a long tapering cap."""
    width = pen.vary(15, 18)
    pen.fill(_mirrored((4.5, -33), (7.5, 4)), pen.accent)
    pen.fill(_mirrored((8, 2), (width, 8), (width + 3, 22), (width - 3, 31)), smooth=True)
    pen.fill(_mirrored((8, 2), (8, 7)), pen.edge)


def lipstick(pen: Pen) -> None:
    """A slanted stick that rises from a stepped case."""
    width = pen.vary(10, 12)
    pen.fill([(-width + 4, -18), (-width + 5, -28), (width - 5, -37), (width - 4, -18)])
    pen.fill(_mirrored((width - 2, -18), (width - 2, 2)), pen.accent)
    pen.fill(_mirrored((width, 2), (width, 35)))
    pen.box(-width, 8, width, 12, pen.accent)


def lip_gloss(pen: Pen) -> None:
    """A clear tube, and beside it the cap with its long wand and brush."""
    width = pen.vary(7, 9)
    pen.fill([(-12 - width, -12), (-12 + width, -12), (-12 + width, 34), (-12 - width, 34)])
    pen.fill([(-8 - width, -18), (-16 + width, -18), (-16 + width, -12), (-8 - width, -12)],
             pen.accent)  # fmt: skip
    pen.box(12 - width, -36, 12 + width, -4, pen.accent)
    pen.strap([(12, -3), (12, 22)], 1.4)
    pen.oval(12, 27, 3.4, 8)


def kajal(pen: Pen) -> None:
    """A pencil with a sharp tip and a cap beside it."""
    width = pen.vary(6, 7.5)
    pen.fill([(-width - 8, -18), (width - 8, -18), (width - 8, 36), (-width - 8, 36)])
    pen.fill([(-width - 8, -18), (width - 8, -18), (-8, -38)], pen.accent)
    pen.fill([(-10.4, -29), (-5.6, -29), (-8, -38)], pen.edge)
    pen.box(-width - 8, 24, width - 8, 30, pen.accent)
    pen.box(14 - width, 4, 14 + width, 36)
    pen.line([(14, 10), (14, 30)], 2, pen.accent)


def umbrella(pen: Pen) -> None:
    """An open canopy on a hooked stick."""
    reach = pen.vary(24, 27)
    pen.line([(0, -8), (0, 26), *_arc(-5, 26, 5, 6, 0, 180)], 2.6)
    ribs = [(x, -2 + (4 if i % 2 else 0)) for i, x in enumerate(np.linspace(reach, -reach, 9))]
    pen.fill([*_arc(0, -2, reach, 28, 180, 360), *ribs])
    pen.lines([(0, -30), (reach / 2, -2)], 1.4, pen.accent)
