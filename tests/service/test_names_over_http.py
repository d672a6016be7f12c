"""Products' names beside photos, over HTTP."""

import pytest


@pytest.fixture(scope="module")
def named(start, named_bundle):
    """A service that reads names, with a precision."""
    return start(named_bundle, "precision=0.9", "max_photos=4")


def send(service, photo, names):
    parts = [("photos", (f"{n}.png", photo(240))) for n in range(2)]
    return service.post_form(parts + [("name", (None, name)) for name in names])


def test_a_name_is_used_and_told(named, photo):
    reply = send(named, photo, ["Nike", "watch \u200b!"])
    first, second = reply.json()["photos"]
    assert first["name_used"] is True
    assert first["labels"][0]["label"] == "Grey"
    assert second["name_used"] is False
    [alone, _] = send(named, photo, []).json()["photos"]
    assert "name_used" not in alone
    assert second["labels"] == alone["labels"]
    assert second["sure"] == alone["sure"]


def test_the_model_says_that_it_reads_names(named, service):
    assert named.session.get(f"{named.url}/v1/model").json()["names"] == "types"
    assert "names" not in service.session.get(f"{service.url}/v1/model").json()


@pytest.mark.parametrize(
    ("names", "code", "said"),
    [
        (["Nike"], "bad_request", "2 photos and 1 field name"),
        (["x" * 1_001, ""], "bad_name", "1,001 characters"),
    ],
)
def test_names_that_fit_no_photos_are_refused(named, photo, names, code, said):
    reply = send(named, photo, names)
    assert (reply.status_code, reply.json()["code"]) == (400, code)
    assert said in reply.json()["detail"]


def test_a_model_without_names_says_so(service, photo):
    reply = send(service, photo, ["Nike", ""])
    assert (reply.status_code, reply.json()["code"]) == (400, "no_names")
    assert send(service, photo, ["", ""]).status_code == 200


def test_a_photo_alone_has_its_product_s_name_in_the_address(named, photo):
    [both, _] = send(named, photo, ["Nike", ""]).json()["photos"]
    address = f"{named.url}/v1/predict"
    kind = {"Content-Type": "image/png"}
    reply = named.session.post(address, photo(240), headers=kind, params={"product": "Nike"})
    [alone] = reply.json()["photos"]
    assert {**alone, "photo": "0.png"} == both
    reply = named.session.post(address, photo(240), headers=kind, params={"product": "x" * 1_001})
    assert (reply.status_code, reply.json()["code"]) == (400, "bad_name")
    assert "field product has 1,001 characters" in reply.json()["detail"]
