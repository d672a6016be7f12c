import pytest

from fashion.reports.pages import render

ROWS = {
    "Run": ["b", "a", "run 10", "run 9", "Ä"],
    "Parameters": ["396,544", "2,316,384", "\N{EN DASH}", "25,000", "396,544"],
    "Difference": ["+0.50", "\N{MINUS SIGN}1.25", "", "-3.00", "0.75"],
    "Accuracy": ["100.00 %<br><small>72 % to 100 %</small>", "9.5 %", "95 %", "rare", "95 %"],
    "p": ["0.05", "1e-05", "0.0001", "2", ".5"],
    "Took": ["2.0 h", "90 s", "3.0 min", "", "1.0 h"],
}
SECONDS = {"2.0 h": 7200, "90 s": 90, "3.0 min": 180, "1.0 h": 3600}
# The columns' orders after one click; the rows have the letters A to E.
ORDERS = {
    "Run": "BEADC",
    "Parameters": "BAEDC",
    "Difference": "EABDC",
    "Accuracy": "ACEBD",
    "p": "DEACB",
    "Took": "AECBD",
}


@pytest.fixture
def page(tmp_path):
    """A page with a table that sorts."""
    rows = ""
    for i, letter in enumerate("ABCDE"):
        cells = [values[i] for values in ROWS.values()]
        marks = [f' data-sort="{SECONDS[cell]}"' if cell in SECONDS else "" for cell in cells]
        tiles = [f"<td{mark}>{cell}</td>" for cell, mark in zip(cells, marks, strict=True)]
        rows += f'<tr id="{letter}">{"".join(tiles)}</tr>'
    heads = "".join(f"<th{'' if name == 'Run' else ' class=number'}>{name}</th>" for name in ROWS)
    table = f'<table class="sortable"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
    path = tmp_path / "page.html"
    path.write_text(render("page.html.j2").replace("<script>", f"{table}<script>", 1))
    return path


def test_tables_sort_by_value_with_empty_cells_last(page, browse):
    asked = """() => [...document.querySelectorAll("th")].map((head) => {
        const rows = document.querySelector("tbody");
        const order = () => [...rows.rows].map((row) => row.id).join("");
        rows.append(...[..."ABCDE"].map((id) => document.getElementById(id)));
        head.firstChild.click();
        const first = [order(), head.getAttribute("aria-sort")];
        rows.append(...[..."ABCDE"].map((id) => document.getElementById(id)));
        head.firstChild.click();
        return [...first, order()];
    })"""
    answers = dict(zip(ROWS, browse(page, 1280, asked), strict=True))
    assert {name: order for name, (order, *_) in answers.items()} == ORDERS
    assert [direction for _, direction, _ in answers.values()] == ["ascending"] + 5 * ["descending"]
    assert answers["Parameters"][2] == "DAEBC"  # equal ones as they stood, the empty one last
    assert answers["Difference"][2] == "DBAEC"
    assert answers["Run"][2] == "CDAEB"


@pytest.fixture
def long_page(tmp_path):
    """A page with a table of 450 rows, of which it shows some at a time."""
    rows = "".join(
        f"<tr><th>{'Größe' if i % 9 == 0 else 'Shoe'} {i}</th><td class=number>{450 - i}</td></tr>"
        for i in range(450)
    )
    heads = "<th>Class</th><th class=number>Images</th>"
    table = f'<table class="sortable"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
    path = tmp_path / "page.html"
    scroll = f'<div class="scroll tall">{table}</div>'
    path.write_text(render("page.html.j2").replace("<script>", f"{scroll}<script>", 1))
    return path


def test_a_long_table_is_turned_searched_and_sorted_as_a_whole(long_page, browse):
    asked = """() => {
        const [search, back, on, place] = document.querySelector(".pager").children;
        const look = () => {
            const cells = document.querySelectorAll("tbody th");
            const first = cells[0]?.textContent ?? "";
            return [cells.length, first, place.textContent, back.disabled, on.disabled];
        };
        const find = (words) => {
            search.value = words;
            search.dispatchEvent(new Event("input"));
            return look();
        };
        const click = (button) => { button.click(); return look(); };
        return [
            look(), click(on), click(on), click(on), click(on), click(back),
            click(document.querySelectorAll("thead th button")[1]),
            click(document.querySelectorAll("thead th button")[1]),
            find("grosse"), find("GRÖSSE 45"), find("größe 441"), find("sandal"), find(""),
        ];
    }"""
    assert browse(long_page, 1280, asked) == [
        [100, "Größe 0", "1 to 100 of 450", True, False],
        [100, "Shoe 100", "101 to 200 of 450", False, False],
        [100, "Shoe 200", "201 to 300 of 450", False, False],
        [100, "Shoe 300", "301 to 400 of 450", False, False],
        [50, "Shoe 400", "401 to 450 of 450", False, True],
        [100, "Shoe 300", "301 to 400 of 450", False, False],
        [100, "Größe 0", "1 to 100 of 450", True, False],
        [100, "Shoe 449", "1 to 100 of 450", True, False],
        [50, "Größe 441", "1 to 50 of 50", True, True],
        [3, "Größe 405", "1 to 3 of 3", True, True],  # has 45 images, as 45 has 405
        [2, "Größe 441", "1 to 2 of 2", True, True],
        [0, "", "no row has that", True, True],
        [100, "Shoe 449", "1 to 100 of 450", True, False],
    ]


def test_a_short_table_has_no_pages(page, browse):
    assert browse(page, 1280, """() => document.querySelectorAll(".pager").length""") == 0
