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
