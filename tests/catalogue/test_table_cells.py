import csv
import io
import random
from pathlib import Path
from types import SimpleNamespace

import pytest

from fashion.catalogue import csv_rows, table_cells
from fashion.catalogue.csv_rows import END, CsvForm
from fashion.catalogue.table_cells import Columns, read_cells

HEADER = ["id", "articleType", "name", "body"]
BREAKS = ("\n", "\r\n", "\r")


def draw_table(draw, delimiter):
    """A table with every fault that a row can have."""

    def cell():
        text = draw.choice(["", "a", "Hüte", " b ", "1", f"n{draw.randrange(30)}"])
        if draw.random() < 0.2:
            text = f'{text}{draw.choice([delimiter, *BREAKS, "x"])}{text}""z'
            return f'"{text}"'
        return text

    rows = []
    for number in range(draw.randrange(60)):
        kind = draw.randrange(12)
        cells = [str(number), draw.choice("xyz"), cell(), cell()]
        if kind == 0:
            rows.append(draw.choice(["", delimiter * 3, f" {delimiter}\t", " "]))
        elif kind == 1:
            rows.append(delimiter.join(cells[: draw.randrange(1, 4)]))
        elif kind == 2:
            rows.append(delimiter.join([*cells, *[draw.choice(["", cell()])] * draw.randrange(3)]))
        elif kind == 3 and rows:
            rows.append(rows[-1])
        else:
            rows.append(delimiter.join(cells))
    newline = draw.choice(BREAKS)
    text = newline.join(["sep=" + delimiter] * draw.randrange(2) + [delimiter.join(HEADER), *rows])
    return text + draw.choice(["", newline, f'{newline}7{delimiter}x{delimiter}"open'])


def holding(text):
    """A catalogue's root, as far as its table goes."""
    file = io.BufferedReader(io.BytesIO(text.encode()))
    names = {"path": Path("x"), "csv_name": "t.csv", "table_name": "t.csv", "photos": {}}
    return SimpleNamespace(**names, open=lambda _: file)


def row_by_row(text, delimiter, repair):
    """Lines and cells of the good rows, and line, id, reason and detail of the others."""
    lines = [*io.StringIO(text, newline=""), END]
    skipped = int(lines[0].startswith("sep="))
    reader, line = csv.reader(lines[skipped:], delimiter=delimiter), 1
    rows = []
    for fields in reader:
        rows += [(line + skipped, fields)] if fields else []
        line = reader.line_num + 1
    rows[-1][1][-1] = rows[-1][1][-1].removesuffix(END)
    is_open = rows[-1][1] != [""]
    good, bad = [], []
    for place, (line, fields) in enumerate(rows[1:] if is_open else rows[1:-1], 2):
        first = fields[0]
        if not "".join(fields).strip():
            bad.append((line, "", "", "empty row", ""))
            continue
        fault = f"{len(fields)} fields, not 4"
        while repair and len(fields) > 4 and not fields[-1].strip():
            fields = fields[:-1]
        if repair and len(fields) > 4:
            fields = [*fields[:3], delimiter.join(fields[3:])]
        if is_open and place == len(rows):
            bad.append((line, first, "", "malformed", "the file ends inside a quote"))
        elif len(fields) != 4:
            bad.append((line, first, "", "malformed", fault))
        else:
            good.append((line, fields))
    return good, bad


@pytest.mark.parametrize("repair", [False, True])
def test_rows_read_many_at_a_time_are_those_read_one_by_one(monkeypatch, repair):
    draw, compared = random.Random(0), 0
    for _ in range(300):
        delimiter = draw.choice(",;\t")
        text = draw_table(draw, delimiter)
        monkeypatch.setattr(csv_rows, "BATCH", draw.choice([1, 2, 3, 7, 100]))
        monkeypatch.setattr(table_cells, "MANY", many := draw.choice([2, 10, 1000]))
        root = holding(text)
        good, bad = row_by_row(text, delimiter, repair)
        if not good:
            with pytest.raises(ValueError, match=r"has no rows|rows are malformed"):
                read_cells(root, Columns(), repair, CsvForm(delimiter))
            continue
        cells = read_cells(root, Columns(), repair, CsvForm(delimiter))
        assert cells.columns.index.tolist() == [line for line, _ in good]
        for place, name in enumerate(HEADER):
            expected = [fields[place] for _, fields in good]
            is_kept = place < 2 or len({*expected}) <= many
            assert (name in cells.columns) == is_kept
            if is_kept:
                assert cells.columns[name].tolist() == expected
        assert list(cells.dropped.itertuples(index=False, name=None)) == bad
        texts = [tuple(fields) for _, fields in good]
        of_hash = dict(zip(cells.hashes.tolist(), texts, strict=True))
        assert [of_hash[each] for each in cells.hashes.tolist()] == texts
        assert len(of_hash) == len({*texts})
        compared += len(bad) > 0
    assert compared > 100


def test_equal_cells_of_a_column_take_a_byte_or_two():
    rows = "".join(f"{number},kind {number % 50},n,b\n" for number in range(20_000))
    columns = read_cells(holding(f"{','.join(HEADER)}\n{rows}"), Columns(), False).columns
    assert columns["articleType"].cat.codes.dtype.itemsize == 1
    assert columns["id"].tolist() == [str(number) for number in range(20_000)]
