"""Names that would be HTML, formulas, or another text than they are."""

import csv
import io
import zipfile

from fashion.tables import unmark_text

NAMES = [
    "<img src=x onerror=alert(1)>.jpg",
    "<script>window.hacked=1</script>.jpg",
    "=HYPERLINK(\"http://x\",\"y\").jpg",
    "+cmd.jpg", "-1.jpg", "@sum.jpg", "\ttab.jpg", "'quoted.jpg", "\rreturn.jpg",
    "two\nlines.jpg", "a;b,c.jpg", 'say "hi".jpg',
    "\u202egpj.exe.jpg", "\u05d0\u05d1\u05d2.jpg", "\u2066isolated.jpg",
    "caf\u00e9.jpg", "cafe\u0301.jpg", "\U0001f455.jpg", "\u200b.jpg",
    "x" * 10_000 + ".jpg", "%2e%2e%2f%00.jpg", "&amp;.jpg", "a\\b.jpg",
    "__proto__.jpg", "constructor",
]  # fmt: skip


def test_names_stay_what_they_are(open_shop, server, drawn, tmp_path):
    names = [name if name.endswith(".jpg") else f"{name}.jpg" for name in NAMES]
    names += [f"{place}/{name}" for place, name in enumerate(names)]
    with zipfile.ZipFile(tmp_path / "names.zip", "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), drawn[0].read_bytes())
    shop = open_shop(server.url)
    shop.drop(tmp_path / "names.zip")
    shop.wait_for(len(names))
    for order in ("unsure", "label", "name"):
        shop.page.select_option("#order", order)
        shop.press("Home", *["ArrowRight"] * 12)
    for form in ("csv", "excel"):
        text = shop.export(form).decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        found = [unmark_text(row["photo"]) for row in rows]
        assert sorted(found) == sorted(f"names.zip/{name}" for name in names)
        assert not [row for row in rows if row["label_1"].startswith(("=", "+", "-", "@"))]
    assert shop.page.evaluate("window.hacked") is None
    assert shop.page.locator("#grid img[src=x], #panel img[src=x]").count() == 0
    assert shop.console == []
    assert shop.violations() == []


def test_names_of_files_that_begin_as_formulas_are_marked(open_shop, server, drawn, tmp_path):
    names = ["=1+1.jpg", "@x.jpg", "-1.jpg", "+1.jpg", "'x.jpg", "<b>x.jpg"]
    for name in names:
        (tmp_path / name).write_bytes(drawn[0].read_bytes())
    shop = open_shop(server.url)
    shop.drop(*(tmp_path / name for name in names))
    shop.wait_for(len(names))
    rows = list(csv.DictReader(io.StringIO(shop.export().decode(), newline="")))
    assert {row["photo"] for row in rows} == {*(f"'{name}" for name in names[:5]), names[5]}
    assert "<b>x.jpg" in shop.page.locator(".card bdi").all_text_contents()


def test_what_turns_or_hides_text_is_shown_as_a_sign(open_shop, server, drawn, tmp_path):
    (tmp_path / "\u202egpj.exe.jpg").write_bytes(drawn[0].read_bytes())
    shop = open_shop(server.url)
    shop.drop(tmp_path / "\u202egpj.exe.jpg")
    shop.wait_for(1)
    assert shop.page.text_content(".card bdi") == "\u2423gpj.exe.jpg"
