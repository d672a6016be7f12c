"""A server with a review folder: its queue, blind photos, and decisions that reach it."""

import hashlib

import pytest

BLIND_LABELS = "[...document.querySelectorAll('.card, #panel')].map((each) => each.textContent)"


@pytest.fixture
def queue(server, drawn):
    """The photos that the stub wants reviewed: three unsure ones and two blind ones."""
    server.queue = {}
    for place, path in enumerate(drawn[50:55]):
        content = path.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        facts = {"sha256": sha256, "name": path.name, "width": 60, "height": 80}
        facts["kind"] = "unsure" if place < 3 else "blind"
        if place < 3:
            facts["labels"] = server.labels(content)
        server.queue[sha256] = (content, facts)
    return server.queue


def decided(server):
    return [(each["sha256"], each["kind"], each["label"]) for each in server.decisions]


def test_photos_of_others_are_reviewed_and_the_server_told(open_shop, server, queue):
    shop = open_shop(server.url)
    shop.page.fill("#person", "Ännchen")
    shop.page.click("#filters button:has-text('Review queue')")
    shop.page.wait_for_selector(".card img")
    assert shop.page.locator(".card").count() == 5
    shop.page.locator(".card:not(:has-text('blind'))").first.click()
    name = shop.chosen()
    [sha256] = [key for key, (_, facts) in queue.items() if facts["name"] == name]
    first = queue[sha256][1]["labels"][0]["label"]
    shop.press("Enter")
    shop.until("document.querySelectorAll('.card').length === 4")
    shop.page.locator(".card:has-text('blind')").first.click()
    blind = shop.chosen()
    assert shop.page.locator("#panel .bars button").count() == 0
    shop.press("Enter", "1")
    assert "no label to accept" in shop.page.text_content("#notice")
    shop.page.keyboard.type("jea")
    shop.press("Enter")
    shop.until("document.querySelectorAll('.card').length === 3")
    shop.press("u")
    shop.until("document.querySelectorAll('.card').length === 4")
    shop.page.wait_for_timeout(300)
    [sha256_blind] = [key for key, (_, facts) in queue.items() if facts["name"] == blind]
    assert decided(server) == [
        (sha256, "accepted", first),
        (sha256_blind, "corrected", "Jeans"),
        (sha256_blind, "undone", None),
    ]
    assert {each["person"] for each in server.decisions} == {"Ännchen"}
    assert shop.console == []
    assert shop.violations() == []


def test_a_blind_photo_shows_no_label_before_the_person_has_decided(open_shop, server, drawn):
    server.queue, server.blind = {}, True
    sure = [path for path in drawn if server.is_sure(path.read_bytes())][:6]
    shop = open_shop(server.url)
    shop.drop(*sure)
    assert "6 to check" in shop.wait_for(6)
    shop.page.fill("#person", "Bo")
    shop.page.locator(".card").first.click()
    shown = " ".join(shop.page.evaluate(BLIND_LABELS))
    for label in server.classes:
        assert label not in shown
    assert "%" not in shown
    assert shop.page.locator("#label option").all_text_contents() == ["all labels", "Blind: 6"]
    shop.press("Enter", "1", "5")
    assert "decided" not in shop.summary()
    names = {path.name: server.labels(path.read_bytes())[0]["label"] for path in sure}
    chosen = shop.chosen()
    shop.page.keyboard.type(f"/{names[chosen]}")
    shop.press("Enter")
    assert "1 decided" in shop.summary()
    shop.page.click("#filters button:has-text('Decided')")
    shop.page.locator(".card").first.click()
    assert shop.page.locator("#panel .bars button").count() == 5
    shop.page.wait_for_timeout(300)
    assert decided(server)[0][1:] == ("accepted", names[chosen])


def test_decisions_wait_for_the_server_and_for_a_name(open_shop, server, drawn):
    server.queue = {}
    unsure = [path for path in drawn if not server.is_sure(path.read_bytes())][:3]
    shop = open_shop(server.url)
    shop.drop(*unsure)
    shop.wait_for(3)
    shop.page.focus("#grid")
    shop.press("Home", "x")
    shop.page.wait_for_selector("#notice:has-text('Type your name')")
    assert server.decisions == []
    server.stop()
    shop.page.fill("#person", "Bo")
    shop.page.focus("#grid")
    shop.press("0")
    shop.page.wait_for_selector("#summary:has-text('answer')")
    assert shop.kept("outbox") == 2
    server.start()
    shop.page.reload()
    shop.until("!document.getElementById('who').hidden")
    shop.page.wait_for_timeout(500)
    assert [each["kind"] for each in server.decisions] == ["left_out", "no_class"]
    assert shop.kept("outbox") == 0
