"""Servers that are busy, gone, silent or closed to strangers, and photos that fail alone."""

import pytest

HTTP_NOTES = "Failed to load resource"  # what Chromium itself says of answers with an error


def own_words(shop):
    return [line for line in shop.console if HTTP_NOTES not in line]


def test_a_busy_server_is_asked_again_when_it_says(open_shop, server, drawn, fault):
    server.faults = [fault(503, "The queue is full.", **{"Retry-After": "1"}) for _ in range(6)]
    shop = open_shop(server.url)
    shop.drop(*drawn[:10])
    shop.page.wait_for_selector("#summary:has-text('The server is busy')")
    summary = shop.wait_for(10)
    assert "unreadable" not in summary
    assert len(server.seen) == 16
    assert own_words(shop) == []


def test_a_restart_of_the_server_loses_nothing(open_shop, server, drawn):
    server.delay = 0.05
    shop = open_shop(server.url)
    shop.drop(*drawn[:40])
    shop.until("document.getElementById('progress').value >= 5")
    server.stop()
    shop.page.wait_for_selector("#summary:has-text('answer')")
    server.start()
    summary = shop.wait_for(40)
    assert "unreadable" not in summary
    assert own_words(shop) == []


def test_an_unreadable_photo_fails_alone_and_says_why(open_shop, server, drawn, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo at all")
    empty = tmp_path / "empty.png"
    empty.write_bytes(b"")
    shop = open_shop(server.url)
    shop.drop(broken, *drawn[:4], empty)
    assert "2 unreadable" in shop.wait_for(6)
    shop.page.click("#filters button:has-text('Unreadable')")
    shop.page.locator(".card").first.click()
    sentence = "It is no photo of a known format; send JPEG, PNG or WebP."
    assert shop.page.text_content("#panel .error") == sentence
    assert shop.export().decode().count(sentence) == 2
    broken.write_bytes(drawn[5].read_bytes())
    shop.drop(broken)  # mended, it takes the place of the broken one
    shop.wait_for(6, "1 unreadable")
    assert own_words(shop) == []


def test_what_failed_is_tried_again_when_asked(open_shop, server, drawn, fault):
    shop = open_shop(server.url)
    server.faults = [fault(500, "It failed.") for _ in range(12)]
    shop.drop(*drawn[:2])
    assert "2 unreadable" in shop.wait_for(2)
    server.faults = []
    shop.page.click("#retry")
    shop.until("!document.getElementById('summary').textContent.includes('unreadable')")
    assert own_words(shop) == []


@pytest.mark.slow
def test_a_silent_server_is_given_up_and_asked_again(open_shop, server, drawn):
    shop = open_shop(server.url)
    shop.page.clock.install()
    server.hangs.set()
    shop.drop(drawn[0])
    shop.page.wait_for_selector("#summary:has-text('0 of 1 photo')")
    assert shop.page.evaluate("document.activeElement !== null")  # the page itself is alive
    server.hangs.clear()
    shop.wait_for(1)


def test_the_token_is_asked_for_once_and_stays_in_the_window(open_shop, server, drawn):
    server.token = "open sesame"
    shop = open_shop(server.url)
    shop.drop(*drawn[:8])
    shop.page.fill("#token input", "wrong")
    shop.press("Enter")
    shop.page.wait_for_selector("#refusal:has-text('ask who runs it for another')")
    shop.page.fill("#token input", "open sesame")
    shop.press("Enter")
    shop.wait_for(8)
    assert shop.page.evaluate("[sessionStorage.token, localStorage.token]") == [
        "open sesame", None,
    ]  # fmt: skip
    shop.page.reload()
    shop.drop(drawn[8])
    shop.wait_for(9)
    assert not shop.page.is_visible("#token")
    assert own_words(shop) == []


def test_a_photo_that_is_too_large_is_not_sent(open_shop, server, tmp_path, drawn):
    large = tmp_path / "large.jpg"
    with large.open("wb") as file:
        file.truncate(21 * 10**6)
    shop = open_shop(server.url)
    shop.page.wait_for_selector("#model:has-text('drawn-shop')")
    shop.drop(large, drawn[0])
    assert "1 unreadable" in shop.wait_for(2)
    assert server.seen == [drawn[0].name]
    assert "20 MB" in shop.export().decode()
    assert shop.console == []


def test_a_damaged_zip_is_named(open_shop, server, tmp_path, drawn):
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 and nothing more")
    shop = open_shop(server.url)
    shop.drop(tmp_path / "bad.zip", drawn[0])
    shop.wait_for(1)
    assert "be read (bad.zip)" in shop.page.text_content("#notice")
    assert shop.console == []
