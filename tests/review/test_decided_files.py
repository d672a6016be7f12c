import os

import pytest

from fashion.review.decided_files import import_decisions
from fashion.review.live_precision import checked_labels


@pytest.fixture
def photos(store, offer):
    store.know_classes(["Shirts", "Tops", "Kurtas, long"])
    names = ["a.jpg", "shop/b.png", "c.jpg", "c.jpg", "d\u00e9.jpg"]
    return [offer(store, number, name=name) for number, name in enumerate(names)]


@pytest.fixture
def write(tmp_path):
    """Returns write(text), a CSV file of that text."""

    def written(text):
        path = tmp_path / "decided.csv"
        path.write_text(text, encoding="utf-8")
        os.utime(path, (4_200_000_000, 4_200_000_000))
        return path

    return written


def test_a_list_names_photos_by_hash_name_or_stem(store, photos, write):
    file = write(
        f'id,label\na,Tops\nshop/b.png,"Kurtas, long"\n{photos[2]},Shirts\n'
        "de\u0301.jpg,Tops\nc.jpg,Tops\nx.jpg,Tops\na.jpg,\n"
    )
    done = import_decisions(store, file, "anna")
    assert done == (4, 0, 1, ["x.jpg"], ["c.jpg"])
    labels = [[said.label for said in store.said(sha256)] for sha256 in photos]
    assert labels == [["Tops"], ["Kurtas, long"], ["Shirts"], [], ["Tops"]]
    assert import_decisions(store, file, "anna")[:2] == (0, 4)
    assert import_decisions(store, file, "ben")[:2] == (4, 0)


def test_the_pages_export_is_read_with_its_kinds_and_times(store, photos, offer, write):
    blind = offer(store, 9, name="blind.jpg", sure=True)
    file = write(
        "photo,label_1,probability_1,sure,error,final_label,decision,decided_at,model\n"
        "a.jpg,Tops,0.5,no,,Tops,accepted,2100-01-02T10:00:00Z,m\n"
        "shop/b.png,Tops,0.5,no,,,no_class,2100-01-02T10:00:01Z,m\n"
        "blind.jpg,Tops,0.95,yes,,Shirts,corrected,2100-01-02T10:00:02+05:30,m\n"
        "d\u00e9.jpg,Tops,0.5,no,,,,,m\n"
    )
    assert import_decisions(store, file, "anna") == (3, 0, 1, [], [])
    kinds = [store.said(sha256)[0].kind for sha256 in (*photos[:2], blind)]
    assert kinds == ["accepted", "no_class", "corrected"]
    assert store.said(photos[0])[0].at == "2100-01-02T10:00:00.000000+00:00"
    (checked,) = checked_labels(store).values()
    assert [each.right for each in checked] == [0.0]  # on the page it was decided blindly


def test_a_list_may_have_seen_the_label(store, offer, write):
    offer(store, 9, name="blind.jpg", sure=True)
    import_decisions(store, write("id,label\nblind,Tops\n"), "anna")
    (checked,) = checked_labels(store).values()
    assert [each.right for each in checked] == [None]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "id,label\na,Tops\nc,Topps\n",
            r"the label 'Topps' in line 3 .* \(did you mean 'Tops'\?\)",
        ),
        ("name,class\na,Tops\n", "needs the columns photo and final_label"),
        (
            "photo,final_label,decision,decided_at\na.jpg,Tops,accepted,noon\n",
            "line 2: at='noon' must be a time",
        ),
        (
            "photo,final_label,decision,decided_at\na.jpg,Tops,liked,2026-11-28T10:00:00Z\n",
            "line 2: kind='liked' is unknown",
        ),
    ],
)
def test_a_wrong_file_is_refused_whole(text, sentence, store, photos, write):
    with pytest.raises(ValueError, match=sentence):
        import_decisions(store, write(text), "anna")
    assert store.rows("SELECT count(*) FROM decisions") == [(0,)]


def test_without_a_served_model_any_label_is_taken(store, offer, write):
    sha256 = offer(store, 1, name="a.jpg")
    import_decisions(store, write("id,label\na,Hats\n"), "anna")
    assert store.said(sha256)[0].label == "Hats"
