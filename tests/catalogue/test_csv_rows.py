import io
import re

import pytest

from fashion.catalogue.csv_rows import CsvForm, check_encoding, open_rows, parse_delimiter

HEADER = ["id", "Größe, Farbe", "kind"]
ROWS = [["1", 'a;b\tc, "d"', "Hüte"], ["2", "first\nsecond, third, fourth", "Jeans"], ["3", "", ""]]


def read(content, wanted=("id", "kind"), form=None):
    content = content.encode() if isinstance(content, str) else content
    opened = io.BufferedReader(io.BytesIO(content))
    with open_rows(lambda: opened, "data.root='x': t.csv", wanted, form) as table:
        return table.header, [(row.line, row.fields) for row in table.rows]


def write(delimiter, newline, quoting):
    def cell(text):
        needs = quoting or any(c in text for c in (delimiter, '"', "\n"))
        return '"' + text.replace('"', '""') + '"' if needs else text

    return "".join(delimiter.join(map(cell, row)) + newline for row in [HEADER, *ROWS])


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("is_quoted", [True, False])
def test_a_table_reads_the_same_in_every_form(delimiter, newline, encoding, is_quoted):
    text = write(delimiter, newline, is_quoted)
    expected = (HEADER, list(zip([2, 3, 5], ROWS, strict=True)))
    assert read(text.encode(encoding)) == expected
    lined = f"sep={delimiter}{newline}{text}"
    expected = (HEADER, list(zip([3, 4, 6], ROWS, strict=True)))
    assert read(lined.encode(encoding)) == expected


def test_marks_of_both_orders_say_utf_16():
    text = write(";", "\r\n", False)
    for mark, order in ((b"\xff\xfe", "le"), (b"\xfe\xff", "be")):
        content = mark + text.encode(f"utf-16-{order}")
        assert read(content)[0] == HEADER
        assert read(content, form=CsvForm(encoding="cp1252"))[0] == HEADER  # a mark is certain
        with pytest.raises(
            ValueError, match=rf"looks like UTF-16 .* data\.encoding=utf-16-{order}"
        ):
            read(content[2:])
        assert read(content[2:], form=CsvForm(encoding=f"utf-16-{order}"))[0] == HEADER


def test_a_code_page_is_read_when_it_is_named_and_never_guessed():
    content = write(";", "\n", False).encode("cp1252")
    with pytest.raises(
        ValueError, match=r"t\.csv is not UTF-8: line 1 has the byte 0xF6\. .*cp1252"
    ):
        read(content)
    assert read(content, form=CsvForm(encoding="cp1252"))[1][0] == (2, ROWS[0])
    late = ("id,kind\n" + "1,a\n" * 5000).encode() + "2,Hüte\n".encode("cp1252")
    with pytest.raises(ValueError, match=r"line 5002 has the byte 0xFC"):
        read(late)
    with pytest.raises(ValueError, match=r"is not cp932, as data\.encoding says: line 2 has the b"):
        read(b"id,kind\n1,\x81", form=CsvForm(encoding="cp932"))


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"PK\x03\x04", "zip"), (b"\xd0\xcf\x11\xe0", "Excel"), (b"\x1f\x8b", "gzip")],
)
def test_what_is_no_text_is_told_as_what_it_is(content, kind):
    with pytest.raises(ValueError, match=f"t\\.csv is .*{kind}.*, not a CSV table"):
        read(content + b"\x08\x00")


def test_the_columns_asked_for_tell_the_delimiter_where_a_header_holds_others():
    assert read("id;kind;a, b, c, d, e\n1;Hat;x\n") == (
        ["id", "kind", "a, b, c, d, e"],
        [(2, ["1", "Hat", "x"])],
    )
    assert read("a|b\n1|2\n")[0] == ["a|b"]
    assert read("a|b\n1|2\n", form=CsvForm("|"))[0] == ["a", "b"]
    assert read("sep=;\nid|kind\n", form=CsvForm("|"))[0] == ["id", "kind"]


def test_names_of_columns_are_cleaned_and_blank_rows_above_them_passed_over():
    assert read(",,\n \n id , kind\u200b,\n1,Hat,\n") == (
        ["id", "kind", ""],
        [(4, ["1", "Hat", ""])],
    )
    assert read("") == read("\n\n") == read(",\n,\n") == ([], [])


def test_cells_have_any_length():
    long = "x" * 300_000
    assert read(f'id,kind\n1,"{long}"\n2,{long}\n')[1] == [(2, ["1", long]), (3, ["2", long])]


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_file_that_ends_in_a_quote_is_told(ending):
    with pytest.raises(
        ValueError, match="a quote in line 2 is not closed and swallows the 2 lines"
    ):
        read(f'id,kind\n1,"Hat\n2,Hat\n3,Hat{ending}')
    opened = io.BufferedReader(io.BytesIO(f'id,kind\n1,Hat\n2,"Hat{ending}'.encode()))
    with open_rows(lambda: opened, "t.csv") as table:
        assert [(row.line, row.fields[0], row.is_open) for row in table.rows] == [
            (2, "1", False),
            (3, "2", True),
        ]
    assert read(f'id,kind\n1,"Hat"{ending}')[1] == [(2, ["1", "Hat"])]


def test_delimiters_and_encodings_have_names():
    names = [None, "comma", "Semicolon", "tab", "\\t", "pipe", "|", ";"]
    assert list(map(parse_delimiter, names)) == [None, ",", ";", "\t", "\t", "|", "|", ";"]
    for typed in ("", ";;", '"', "\n"):
        with pytest.raises(
            ValueError, match=rf"data\.delimiter={re.escape(repr(typed))}: pass one"
        ):
            parse_delimiter(typed)
    check_encoding(None)
    check_encoding("Windows-1252")
    for typed in ("latin99", "rot13"):
        with pytest.raises(ValueError, match=rf"data\.encoding='{typed}' is unknown; pass utf-8"):
            check_encoding(typed)
