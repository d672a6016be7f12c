import pytest

from fashion.files import WRITTEN, rewriting


def write(folder, *names):
    with rewriting(folder) as write_one:
        for name in names:
            write_one(name, b"content of " + name.encode())


def names(folder):
    files = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(set(files) - {WRITTEN})


def test_what_is_not_written_anew_goes(tmp_path):
    write(tmp_path, "a.csv", "b.csv", "figures/c.png")
    write(tmp_path, "b.csv")
    assert names(tmp_path) == ["b.csv"]
    write(tmp_path, "a.csv")
    assert names(tmp_path) == ["a.csv"]


def test_others_files_stay_also_where_they_took_the_place_of_one(tmp_path):
    write(tmp_path, "a.csv", "b.csv")
    (tmp_path / "budget.csv").write_text("mine")
    (tmp_path / "a.csv").write_text("mine")
    write(tmp_path, "c.csv")
    assert names(tmp_path) == ["a.csv", "budget.csv", "c.csv"]


def test_an_error_deletes_nothing_and_the_next_time_clears_up(tmp_path):
    write(tmp_path, "a.csv")
    with pytest.raises(AttributeError):
        write(tmp_path, "b.csv", None)
    assert names(tmp_path) == ["a.csv", "b.csv"]
    write(tmp_path, "c.csv")
    assert names(tmp_path) == ["c.csv"]


def test_a_list_of_files_elsewhere_is_not_believed(tmp_path):
    folder, other = tmp_path / "report", tmp_path / "other.csv"
    write(tmp_path, "other.csv")
    digest = (tmp_path / WRITTEN).read_text().split()[0]
    write(folder, "a.csv")
    for name in ("../other.csv", other, "", "a.csv/../../other.csv"):
        (folder / WRITTEN).write_text(f"{digest}  {name}\nno line\n\n")
        write(folder, "a.csv")
    assert other.exists()
