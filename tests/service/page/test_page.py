"""A person at the page, in Chromium, with the service's routes as a stub gives them."""

import csv
import io
import shutil
import zipfile

import pandas as pd
import pytest

DECIDED = ["final_label", "decision", "decided_at", "model"]
LIKELIEST = [f"{kind}_{i}" for i in range(1, 6) for kind in ("label", "probability")]
COLUMNS = ["photo", *LIKELIEST, "sure", "error", *DECIDED]


def rows_of(content):
    """Return the rows of a CSV by their photos."""
    text = content.decode("utf-8")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert list(rows[0]) == COLUMNS
    return {row["photo"]: row for row in rows}


def test_a_folder_a_zip_and_photos_are_labelled_under_their_names(
    open_shop, server, folder, drawn, tmp_path
):
    with zipfile.ZipFile(tmp_path / "more.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for photo in drawn[12:16]:
            archive.write(photo, f"bags/{photo.name}")
        archive.writestr("bags/", "")
        archive.writestr("__MACOSX/bags/._1.jpg", b"x")
        archive.writestr("bags/readme.txt", b"x")
    shop = open_shop(server.url)
    shop.drop(folder)
    shop.wait_for(12)
    assert "1 file left out: no photos (new photos/notes.txt)" in shop.page.text_content("#notice")
    shop.drop(tmp_path / "more.zip", drawn[16], drawn[17])
    shop.wait_for(18)
    content = shop.export()
    rows = rows_of(content)
    files = {f"new photos/{path.parent.name}/{path.name}": path for path in folder.rglob("*.jpg")}
    files |= {f"more.zip/bags/{path.name}": path for path in drawn[12:16]}
    files |= {path.name: path for path in drawn[16:18]}
    assert set(rows) == set(files)
    assert sorted(server.seen) == sorted(files)  # once each
    for name, path in files.items():
        labels = server.labels(path.read_bytes())
        for place, each in enumerate(labels, 1):
            assert rows[name][f"label_{place}"].removeprefix("'") == each["label"]
            assert rows[name][f"probability_{place}"] == f"{each['probability']:.6f}"
        assert rows[name]["sure"] == ("yes" if server.is_sure(path.read_bytes()) else "no")
        assert rows[name]["model"] == "sha256:0123"
        assert not rows[name]["error"]
        assert not rows[name]["decision"]
    table = pd.read_csv(io.BytesIO(content))
    assert list(table.columns) == COLUMNS
    assert table["probability_1"].dtype == float
    assert len(table) == 18
    assert shop.console == []
    assert shop.violations() == []
    assert shop.kept("sources") == 0  # nothing that isn't needed is kept


def test_the_columns_are_those_of_fashion_predict(open_shop, server, drawn):
    from fashion.labelling.labels_table import LabelsTable

    server.precision = None
    server.classes = ["Shirts", "Jeans", "Watches"]
    shop = open_shop(server.url)
    shop.drop(drawn[0])
    shop.wait_for(1)
    [header, _] = csv.reader(io.StringIO(shop.export().decode(), newline=""))
    assert header == [*LabelsTable(server.classes).columns, *DECIDED]
    server.precision = 0.98
    shop.page.reload()
    shop.drop(drawn[1])
    shop.wait_for(2)
    [header, *_] = csv.reader(io.StringIO(shop.export().decode(), newline=""))
    assert header == [*LabelsTable(server.classes, 0.7).columns, *DECIDED]


def test_attributes_stand_beside_the_photo_and_in_the_columns_of_fashion_predict(
    open_shop, server, drawn
):
    from fashion.labelling.labels_table import LabelsTable

    server.attributes = {"gender": ["Men", "=Women"], "photo": ["square", "<b>round</b>"]}
    shop = open_shop(server.url)
    shop.drop(drawn[0])
    shop.wait_for(1)
    chosen = {
        name: values[drawn[0].stat().st_size % 2] for name, values in server.attributes.items()
    }
    content = shop.export().decode()
    [header, cells] = csv.reader(io.StringIO(content, newline=""))
    columns = LabelsTable(server.classes, 0.7, server.attributes).columns
    assert header == [*columns, *DECIDED]
    row = dict(zip(header, cells, strict=True))
    assert row["gender"].removeprefix("'") == chosen["gender"]
    assert row["gender_probability"] == row["photo (2)_probability"] == "0.750000"
    assert row["photo (2)"] == chosen["photo"]
    shop.page.focus("#grid")
    shop.press("Home")
    told = shop.page.locator("#panel .attributes dd").all_text_contents()
    assert told == [f"{value}, 75 %" for value in chosen.values()]
    assert shop.console == []


@pytest.mark.parametrize("separator", [",", ";"])
def test_names_come_beside_the_photos_and_are_told(open_shop, server, drawn, tmp_path, separator):
    server.names = "types"
    first, second, third = drawn[:3]
    rows = [["photo", "name"], [first.name, f'Casio{separator} "black" <b>é</b>']]
    rows += [[f"shop/{second.name}", "nothing"], ["elsewhere.jpg", "Nike"]]
    folder = tmp_path / "shop"
    folder.mkdir()
    for photo in (first, second, third):
        shutil.copy(photo, folder)
    with (folder / "names.csv").open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, delimiter=separator).writerows(rows)
    (folder / "other.csv").write_text("photo,label\na.jpg,Shirts\n")
    shop = open_shop(server.url)
    shop.drop(folder)
    shop.wait_for(3)
    said = shop.page.text_content("#notice")
    assert "1 file left out: no photos (shop/other.csv). 2 of 3 photos with a name." in said
    asked = {name.rpartition("/")[2]: product for name, product in server.products.items()}
    assert asked == {first.name: rows[1][1], second.name: "nothing", third.name: ""}
    exported = csv.DictReader(io.StringIO(shop.export().decode(), newline=""))
    used = {row["photo"].rpartition("/")[2]: row["name_used"] for row in exported}
    assert used == {first.name: "yes", second.name: "no", third.name: "no"}
    shop.page.select_option("#order", "name")
    shop.page.focus("#grid")
    shop.press("Home")
    assert shop.chosen() == f"{rows[1][1]}\nshop/{first.name}"
    assert shop.console == []


def test_a_model_that_reads_no_names_says_so(open_shop, server, drawn, tmp_path):
    names = tmp_path / "names.csv"
    names.write_text(f"photo,name\n{drawn[0].name},Casio\n")
    shop = open_shop(server.url)
    shop.drop(drawn[0], names)
    shop.wait_for(1)
    assert "This model reads no names." in shop.page.text_content("#notice")
    assert server.products == {drawn[0].name: ""}


def test_the_same_photos_are_not_added_twice_and_none_is_lost_unsaid(
    open_shop, server, folder, drawn, tmp_path
):
    shop = open_shop(server.url)
    shop.drop(folder)
    shop.wait_for(12)
    shop.drop(folder)
    shop.page.wait_for_selector("#notice:has-text('12 files here already')")
    other = tmp_path / drawn[0].name
    shop.drop(drawn[0])
    shop.wait_for(13)
    shutil.copy(drawn[5], other)
    shop.drop(other)
    shop.page.wait_for_selector("#notice:has-text('other photos have these names')")
    assert drawn[0].name in shop.page.text_content("#notice")
    assert len(server.seen) == 13


def test_unsure_photos_come_first_and_are_checked_by_keys(open_shop, server, drawn):
    shop = open_shop(server.url)
    shop.drop(*drawn[:20])
    shop.wait_for(20)
    unsure = [path for path in drawn[:20] if not server.is_sure(path.read_bytes())]
    by_confidence = sorted(unsure, key=lambda path: server.confidence(path.read_bytes()))
    assert len(unsure) > 6
    names = shop.page.locator(".card bdi").all_text_contents()
    assert names[: len(unsure)] == [path.name for path in by_confidence]

    shop.page.click("#filters button:has-text('To check')")
    shop.page.focus("#grid")
    shop.press("Home")
    assert shop.chosen() == by_confidence[0].name
    shop.press("Enter")
    assert shop.chosen() == by_confidence[1].name
    shop.press("2", "0", "x")
    assert shop.chosen() == by_confidence[4].name
    shop.page.keyboard.type("cafe")
    assert shop.page.input_value("#wanted") == "cafe"
    assert shop.page.text_content("#found option >> nth=0") == "Café Tables"
    shop.press("Enter")
    assert shop.chosen() == by_confidence[5].name
    summary = shop.summary()
    assert f"{len(unsure) - 5} to check" in summary
    assert "5 decided" in summary

    rows = rows_of(shop.export())
    told = [server.labels(path.read_bytes()) for path in by_confidence]
    expected = [
        ("accepted", told[0][0]["label"]),
        ("corrected", told[1][1]["label"]),
        ("no_class", ""),
        ("left_out", ""),
        ("accepted" if told[4][0]["label"] == "Café Tables" else "corrected", "Café Tables"),
    ]
    for path, (kind, label) in zip(by_confidence, expected, strict=False):
        row = rows[path.name]
        assert (row["decision"], row["final_label"].removeprefix("'")) == (kind, label)
        assert pd.Timestamp(row["decided_at"]).tz is not None
    undecided = rows[by_confidence[6].name]
    assert (undecided["decision"], undecided["final_label"]) == ("", "")
    [sure] = [path for path in drawn[:20] if server.is_sure(path.read_bytes())][:1]
    assert rows[sure.name]["final_label"] == rows[sure.name]["label_1"]
    assert shop.console == []


def test_decisions_are_undone_one_by_one_also_after_a_reload(open_shop, server, drawn):
    shop = open_shop(server.url)
    shop.drop(*drawn[:12])
    shop.wait_for(12)
    shop.page.focus("#grid")
    shop.press("Home", "x", "x", "0", "Control+a", "x")
    assert "12 decided" in shop.summary()
    shop.page.reload()
    shop.wait_for(12, "12 decided")
    shop.press("Control+z")
    shop.wait_for(12, "3 decided")
    shop.press("u", "u")
    shop.wait_for(12, "1 decided")
    shop.press("u")
    shop.until("!document.getElementById('summary').textContent.includes('decided')")
    shop.press("u")
    assert "nothing to undo" in shop.page.text_content("#notice")


def test_many_photos_take_one_key(open_shop, server, drawn):
    shop = open_shop(server.url)
    shop.drop(*drawn[:20])
    shop.wait_for(20)
    shop.page.select_option("#order", "name")
    cards = shop.page.locator(".card")
    cards.nth(0).click()
    cards.nth(4).click(modifiers=["Shift"])
    cards.nth(8).click(modifiers=["Control"])
    assert "6 photos chosen" in shop.page.text_content("#panel .state")
    shop.page.keyboard.type("/umb")
    shop.press("Enter")
    assert "6 decided" in shop.summary()
    shop.press("Home", "Shift+ArrowRight", "Shift+ArrowRight", "Enter")
    rows = rows_of(shop.export())
    names = sorted(path.name for path in drawn[:20])
    umbrellas = [name for name in names if rows[name]["final_label"] == "Umbrellas"]
    assert set(umbrellas) >= {names[3], names[4], names[8]}
    for name in names[:3]:
        assert rows[name]["decision"] == "accepted"
        assert rows[name]["final_label"] == rows[name]["label_1"]


def test_by_label_the_photos_of_a_label_stand_together_the_least_sure_first(
    open_shop, server, drawn
):
    shop = open_shop(server.url)
    shop.drop(*drawn[:40])
    shop.wait_for(40)
    shop.page.select_option("#order", "label")
    shown = shop.page.locator("[role=rowheader]").all_text_contents()
    assert shown == sorted(shown, key=str.lower)
    label = server.labels(drawn[0].read_bytes())[0]["label"]
    shop.page.select_option("#label", label)
    same = [path for path in drawn[:40] if server.labels(path.read_bytes())[0]["label"] == label]
    same.sort(key=lambda path: server.confidence(path.read_bytes()))
    assert shop.page.locator(".card bdi").all_text_contents() == [path.name for path in same]
    rows = rows_of(shop.export(which="shown"))
    assert list(rows) == [path.name for path in same]


RINGS = """
    ["#grid", ".card"].map((each) => [...document.querySelectorAll(each)]
    .filter((one) => getComputedStyle(one).outlineStyle !== "none")
    .map((one) => one.querySelector("bdi").textContent))"""


@pytest.mark.parametrize("order", ["unsure", "label"])
def test_the_ring_of_the_keys_is_round_one_card_and_never_round_the_grid(
    open_shop, server, drawn, order
):
    shop = open_shop(server.url, 1280, 500)
    shop.drop(*drawn[:40])
    shop.wait_for(40)
    page = shop.page
    page.select_option("#order", order)
    names = page.locator(".card bdi").all_text_contents()
    assert page.evaluate(RINGS) == [[], []]
    shop.press("Tab")  # to the grid: what the arrows would choose
    while page.evaluate("document.activeElement.id") != "grid":
        shop.press("Tab")
    assert page.evaluate(RINGS) == [[], names[:1]]
    shop.press("ArrowRight")
    assert page.evaluate(RINGS) == [[], names[:1]]
    shop.press("ArrowRight")
    assert page.evaluate(RINGS) == [[], names[1:2]]
    page.evaluate("document.getElementById('grid').scrollTop = 1e6")
    shop.until("!document.querySelector('.card.cursor')")
    assert page.evaluate(RINGS) == [[], []]
    shop.press("ArrowLeft")
    shop.until("document.querySelector('.card.cursor')")
    assert page.evaluate(RINGS) == [[], names[:1]]


@pytest.mark.parametrize(
    ("locale", "separator", "decimal"), [("de-DE", ";", ","), ("en-GB", ",", ".")]
)
def test_excel_gets_what_its_language_reads(open_shop, server, drawn, locale, separator, decimal):
    shop = open_shop(server.url, locale=locale)
    shop.drop(drawn[0])
    shop.wait_for(1)
    content = shop.export("excel")
    assert content.startswith(b"\xef\xbb\xbf")
    table = pd.read_csv(io.BytesIO(content), sep=separator, decimal=decimal)
    assert list(table.columns) == COLUMNS
    assert table["probability_1"][0] == server.labels(drawn[0].read_bytes())[0]["probability"]
    assert b"\r\n" in content


def test_what_is_decided_at_the_moment_of_a_reload_is_kept(open_shop, server, drawn, tmp_path):
    shop = open_shop(server.url, profile=tmp_path / "profile")
    shop.drop(*drawn[:12])
    for number in range(12):
        shop.wait_for(12, f"{number} decided" if number else "")
        shop.page.focus("#grid")
        shop.press("Home")
        with shop.page.expect_navigation():
            shop.page.evaluate(
                """() => {
                    const key = new KeyboardEvent("keydown", { key: "x", bubbles: true });
                    document.getElementById("grid").dispatchEvent(key);
                    location.reload();
                }"""
            )
    shop.wait_for(12, "12 decided")


def test_work_survives_a_reload_in_the_middle(open_shop, server, folder, drawn, tmp_path):
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        for photo in drawn[12:40]:
            archive.write(photo, photo.name)
    server.delay = 0.05
    shop = open_shop(server.url, profile=tmp_path / "profile")
    shop.drop(folder, tmp_path / "more.zip")
    shop.until("document.getElementById('progress').value >= 5")
    shop.page.focus("#grid")
    shop.press("Home", "x")
    shutil.rmtree(folder)  # what was dropped needn't be there any more
    (tmp_path / "more.zip").unlink()
    shop.page.reload()
    shop.wait_for(40, "1 decided")
    rows = rows_of(shop.export())
    assert len(rows) == 40
    assert [row["error"] for row in rows.values() if not row["label_1"]] == []
    assert [row["decision"] for row in rows.values()].count("left_out") == 1
    assert len(server.seen) <= 40 + 4  # those under way are asked for again
    assert shop.kept("sources") == 0
    assert shop.page.locator(".card img").count() > 10
    assert shop.console == []


def test_pause_holds_the_photos_back(open_shop, server, drawn):
    server.delay = 0.05
    shop = open_shop(server.url)
    shop.drop(*drawn[:60])
    shop.page.click("#pause")
    shop.page.wait_for_selector("#summary:has-text('paused')")
    shop.page.wait_for_timeout(500)  # those under way come to their end
    seen = len(server.seen)
    assert seen < 60
    shop.page.wait_for_timeout(500)
    assert len(server.seen) == seen
    shop.page.click("#pause")
    shop.wait_for(60)


def test_start_anew_forgets_all(open_shop, server, drawn):
    shop = open_shop(server.url)
    shop.drop(*drawn[:5])
    shop.wait_for(5)
    shop.page.click("#add")
    shop.page.click("#anew")
    shop.page.click("#forgetting button:has-text('Forget them')")
    shop.page.wait_for_selector("#empty")
    assert [shop.kept(store) for store in ("photos", "previews", "sources")] == [0, 0, 0]
    shop.page.reload()
    shop.page.wait_for_selector("#empty")
    shop.drop(drawn[0])
    shop.wait_for(1)


def test_photos_may_be_chosen_by_the_browser_s_dialog(open_shop, server, drawn, folder):
    shop = open_shop(server.url)
    shop.page.set_input_files("#photos", drawn[20:22])
    shop.wait_for(2)
    shop.page.set_input_files("#folder", folder)
    shop.wait_for(14)
    assert "new photos/jeans" in " ".join(rows_of(shop.export()))


def test_a_second_window_waits_for_the_first(open_shop, server, drawn, chromium):
    shop = open_shop(server.url)
    second = shop.page.context.new_page()
    second.goto(server.url)
    second.wait_for_selector("#notice:has-text('another window')")
    shop.drop(*drawn[:3])
    shop.wait_for(3)
    shop.page.close()
    second.wait_for_selector("#summary:has-text('3 photos')")
