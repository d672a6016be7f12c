"""The page as the service itself shows it."""

import csv
import io

from fashion.service.page import POLICY


def test_the_service_shows_the_page_and_labels_what_is_dropped_on_it(
    open_shop, service, photo, tmp_path
):
    for grey in (10, 120, 250):
        (tmp_path / f"{grey}.png").write_bytes(photo(grey))
    assert service.get("/").headers["content-security-policy"] == POLICY
    shop = open_shop(f"{service.url}/")
    shop.drop(*tmp_path.iterdir())
    shop.wait_for(3)
    rows = list(csv.DictReader(io.StringIO(shop.export().decode(), newline="")))
    assert len(rows) == 3
    for row in rows:
        told = service.post(data=(tmp_path / row["photo"]).read_bytes()).json()
        [labelled] = told["photos"]
        assert row["label_1"] == labelled["labels"][0]["label"]
        assert row["probability_1"] == f"{labelled['labels'][0]['probability']:.6f}"
        assert row["sure"] == ("yes" if labelled["sure"] else "no")
        assert row["model"] == told["model"]["id"]
    assert shop.console == []
    assert shop.violations() == []


def test_the_page_asks_for_the_service_s_token(open_shop, locked, photo, tmp_path):
    (tmp_path / "grey.png").write_bytes(photo())
    shop = open_shop(f"{locked.url}/")
    shop.drop(tmp_path / "grey.png")
    shop.page.fill("#token input", "a-token-of-more-than-16")
    shop.press("Enter")
    shop.wait_for(1)


def test_without_the_page_there_is_none(start, served_bundle):
    running = start(served_bundle, "page=false")
    assert running.get("/").status_code == 404
