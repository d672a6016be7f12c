"""Names beside photos that are labelled."""

import csv

import numpy as np
import pytest

from fashion.labelling.label_files import label_files
from fashion.labelling.labels_table import LabelsTable
from fashion.labelling.named import NamesFile, joiner, one_model


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def test_names_are_read_by_the_photo_as_predict_writes_it(tmp_path):
    text = (
        '\ufeffname,photo,more\r\n"Casio, \u2028 black",\'=a.jpg,1\r\nNike,b.jpg,2\r\n,c.jpg,\r\n'
    )
    file = NamesFile.read(write(tmp_path / "names.csv", text))
    assert file.of("=a.jpg") == "Casio, \u2028 black"
    assert file.of("b.jpg") == "Nike"
    assert file.of("c.jpg") == file.of("d.jpg") == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "foto,name\na,b\n",
            r"no column 'photo' \(did you mean 'foto'\?\); its columns are foto, n",
        ),
        ("", "no column 'photo'"),
        ("photo,name\na,b\na,c\n", "gives 'a' the names 'b' and 'c'"),
        ('photo,name\na,"b\n', "line"),
    ],
)
def test_what_names_no_photos_is_refused(tmp_path, text, reason):
    with pytest.raises(ValueError, match=reason):
        NamesFile.read(write(tmp_path / "names.csv", text))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="names="):
        NamesFile.read(tmp_path / "none.csv")


def test_names_of_other_photos_are_refused(tmp_path):
    file = NamesFile.read(write(tmp_path / "names.csv", "photo,name\nx.jpg,Casio\n"))
    with pytest.raises(ValueError, match=r"names none of the 2 photos.*such as a\.jpg"):
        file.check(["a.jpg", "b.jpg"])


def test_what_a_photo_says_is_joined_to_its_name(name_model, tmp_path):
    file = NamesFile.read(write(tmp_path / "names.csv", "photo,name\na,Casio watch\nb,Watch\n"))
    join = joiner(name_model, file)
    outcome = np.float32([0.2, 0.5, 0.3, 0.9, 0.1])  # with an attribute of two values
    joined, used = join("a", outcome)
    assert used
    assert joined[:3].argmax() == 0
    np.testing.assert_array_equal(joined[3:], outcome[3:])
    for photo in ("b", "c"):
        same, used = join(photo, outcome)
        assert not used
        np.testing.assert_array_equal(same, outcome)
    assert join("a", "unreadable") == ("unreadable", False)


def test_a_column_says_whether_the_name_was_used():
    table = LabelsTable(["A", "B"], 0.9, with_names=True, named_threshold=0.6)
    assert table.columns[-3:] == ["sure", "name_used", "error"]
    outcome = np.float32([0.7, 0.3])
    assert table.row("a", outcome, name_used=True)[-3:] == ["yes", "yes", ""]
    assert table.row("a", outcome)[-3:] == ["no", "no", ""]
    assert table.row("a", "broken")[-3:] == ["", "", "broken"]


def test_a_model_without_names_says_so():
    class Plain:
        names = None

    with pytest.raises(ValueError, match=r"names='x' knows no names|the model knows no names"):
        one_model([Plain()], "names='x'")
    with pytest.raises(ValueError, match="one ckpt_path"):
        one_model([Plain(), Plain()], "names='x'")


def test_predict_with_a_bundle_reads_names(named_bundle, tmp_path):
    photos = sorted((named_bundle / "selftest" / "photos").iterdir())
    lines = [f"{photos[0]},Nike", f"{photos[1]},Watch"]
    file = write(tmp_path / "names.csv", "\n".join(["photo,name", *lines, ""]))
    tables = {}
    for kind, given in (("both", file), ("alone", None)):
        output = tmp_path / f"{kind}.csv"
        label_files(photos, bundle=named_bundle, output=output, names=given)
        with output.open(newline="") as opened:
            tables[kind] = list(csv.DictReader(opened))
    assert [row["name_used"] for row in tables["both"]] == ["yes", "no", "no", ""]
    assert tables["both"][0]["label_1"] == "Grey"
    for both, alone in list(zip(tables["both"], tables["alone"], strict=True))[1:]:
        assert {key: both[key] for key in alone} == alone
    assert "name_used" not in tables["alone"][0]
