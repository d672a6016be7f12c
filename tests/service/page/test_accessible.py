"""What axe finds, and whether anything is cut off, in each state of the page."""

import pytest
from axe_playwright_python.sync_playwright import Axe

WIDER = "document.documentElement.scrollWidth - innerWidth"
CUT_OFF = """
    [...document.querySelectorAll("header button, dialog[open] *, #panel button")]
    .filter((each) => each.checkVisibility() && !each.closest("#filters, .choices, select"))
    .filter((each) => {
        const { left, right, width } = each.getBoundingClientRect();
        return width && (left < -1 || right > innerWidth + 1);
    }).map((each) => each.outerHTML.slice(0, 90))"""


@pytest.fixture
def faults_of():
    """Returns faults(page), what axe finds and what is cut off."""

    def faults(page):
        page.wait_for_timeout(350)
        found = Axe().run(page).response["violations"]
        told = [f"{each['id']}: {each['nodes'][0]['html'][:150]}" for each in found]
        wider = page.evaluate(WIDER)
        return told + page.evaluate(CUT_OFF) + ([f"{wider} px too wide"] if wider > 0 else [])

    return faults


def close_panel(page):
    """Close the panel where it covers what is above it."""
    if page.is_visible("#panel .close"):
        page.click("#panel .close")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "height", "scheme"),
    [(1280, 800, "light"), (1280, 800, "dark"), (390, 780, "light"), (640, 400, "dark")],
    ids=["wide", "wide and dark", "telephone", "200 %"],
)
def test_axe_finds_no_fault_in_any_state(
    open_shop, server, drawn, fault, faults_of, width, height, scheme
):
    server.queue = {}
    shop = open_shop(server.url, width, height, color_scheme=scheme)
    page, found = shop.page, {}
    found["empty"] = faults_of(page)
    server.delay = 0.2
    shop.drop(*drawn[:40])
    shop.until("document.getElementById('progress').value >= 5")
    found["working"] = faults_of(page)
    server.delay = 0
    server.faults = [fault(422, "It is no photo of a known format.") for _ in range(2)]
    shop.wait_for(40)
    found["finished"] = faults_of(page)
    page.locator(".card").first.click()
    found["chosen"] = faults_of(page)
    shop.press("Shift+ArrowRight")
    found["several"] = faults_of(page)
    shop.press("x")
    found["decided, and a notice"] = faults_of(page)
    close_panel(page)
    page.click("#filters button:has-text('Unreadable')")
    page.locator(".card").first.click()
    found["unreadable"] = faults_of(page)
    shop.press("?")
    found["keys"] = faults_of(page)
    shop.press("Escape")
    close_panel(page)
    page.click("#filters button:has-text('All')")
    page.locator(".card").first.click()
    shop.press("/")
    found["classes"] = faults_of(page)
    shop.press("Escape")
    close_panel(page)
    page.select_option("#order", "label")
    found["by label"] = faults_of(page)
    for button, state in (("#export", "export"), ("#add", "adding")):
        page.click(button)
        found[state] = faults_of(page)
        shop.press("Escape")
    server.token = "open sesame"
    shop.drop(drawn[50])
    page.wait_for_selector("#token[open]")
    found["token"] = faults_of(page)
    assert {state: faults for state, faults in found.items() if faults} == {}
    assert shop.violations() == []
