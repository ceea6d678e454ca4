"""The page, in a real browser. ``QSTASH_SCREENSHOTS`` names a folder that keeps its looks."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from django_qstash.devserver.embedded import EmbeddedServer
from tests.devserver.conftest import sdk
from tests.devserver.receiver import Answers, Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in _NAMES if (found := shutil.which(name))), None)

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.processes,
]


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


class Site:
    """A server with something of everything, and a page that looks at it."""

    def __init__(self, browser: sync_api.Browser, server: EmbeddedServer, receiver: Receiver):
        self.server = server
        self.receiver = receiver
        self.problems: list[str] = []
        self.page = browser.new_page(viewport={"width": 1280, "height": 860})
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on(
            "console",
            lambda line: self.problems.append(line.text) if line.type == "error" else None,
        )
        self.page.set_default_timeout(5000)

    def open(self, tab: str = "messages") -> sync_api.Page:
        self.page.goto(f"{self.server.url}/#{tab}")
        sync_api.expect(self.page.locator("#live")).to_have_text("live")
        return self.page

    def row(self, table: str, text: str) -> sync_api.Locator:
        return self.page.locator(f"#{table} tbody tr", has_text=text)

    def picture(self, name: str) -> None:
        folder = os.environ.get("QSTASH_SCREENSHOTS")
        if folder:
            self.page.screenshot(path=Path(folder) / f"{name}.png")


def letter(task: str) -> dict:
    return {"v": 1, "kind": "task", "task": task, "id": "8f5c", "args": [7]}


@pytest.fixture
def site(browser, receiver) -> Iterator[Site]:
    receiver.answer = lambda got: (
        Answers(503, {"Content-Type": "application/json"}, b'{"detail": "database is away"}')
        if b"charge" in got.body
        else Answers(200, {"Content-Type": "application/json"}, b'{"status": "done"}')
    )
    with EmbeddedServer() as server, sdk(server) as client:
        hook = receiver.url + "/qstash/webhook/"
        client.message.publish_json(
            url=hook, body=letter("shop.tasks.send_receipt"), headers={"X-Tenant": "7"}
        )
        client.message.publish_json(
            url=hook, body=letter("billing.tasks.charge"), retries=0, label="billing"
        )
        client.message.publish_json(url=hook, body=letter("billing.tasks.charge_later"), retries=2)
        client.message.publish_json(url=hook, body=letter("shop.tasks.remind"), delay="2h")
        client.message.publish(url=hook, body="<script>window.hacked = 1</script><b>bold</b>")
        client.queue.upsert("mail", paused=True)
        client.message.enqueue_json(queue="mail", url=hook, body=letter("mail.tasks.deliver"))
        client.url_group.upsert_endpoints("everybody", [{"url": hook, "name": "one"}])
        for _ in range(2):
            client.message.publish_json(
                url=hook,
                body=letter("partner.tasks.sync"),
                flow_control={"key": "partner", "rate": 1, "period": 3600},
            )
        client.schedule.create(
            destination=hook,
            cron="CRON_TZ=Europe/Istanbul 0 9 * * 1-5",
            schedule_id="morning-report",
            body="{}",
        )
        server.wait_idle()
        site = Site(browser, server, receiver)
        yield site
        site.page.close()
        assert site.problems == []


def test_a_row_stays_the_same_element_while_others_change(site):
    site.open()
    row = site.row("messages", "shop.tasks.remind")
    row.locator(".name").evaluate("node => { node.focus(); node.closest('tr').marked = true; }")
    site.row("messages", "mail.tasks.deliver").get_by_text("Cancel").evaluate(
        "node => node.click()"
    )
    sync_api.expect(site.row("messages", "mail.tasks.deliver")).to_contain_text("canceled")
    assert row.evaluate("node => node.marked && node.contains(document.activeElement)")


def test_messages_are_shown_with_their_states_and_found_by_task(site):
    page = site.open()
    expect = sync_api.expect
    expect(site.row("messages", "shop.tasks.send_receipt")).to_contain_text("delivered")
    expect(site.row("messages", "billing.tasks.charge_later")).to_contain_text("1 of 3")
    expect(site.row("messages", "shop.tasks.remind")).to_contain_text("due in 2 h")
    expect(site.row("messages", "mail.tasks.deliver")).to_contain_text("queue mail, paused")
    site.picture("messages")
    page.fill('[name="task"]', "charge")
    expect(page.locator("#messages tbody tr")).to_have_count(2)
    page.select_option('[name="state"]', "FAILED")
    expect(page.locator("#messages tbody tr")).to_have_count(1)
    page.fill('[name="search"]', "no such thing")
    expect(page.locator('[data-empty="messages"]')).to_be_visible()


def test_a_message_opens_with_body_headers_and_answers_as_text(site):
    page = site.open()
    site.row("messages", "billing.tasks.charge_later").locator(".name").click()
    detail = page.locator("#detail")
    sync_api.expect(detail).to_contain_text('"task": "billing.tasks.charge_later"')
    sync_api.expect(detail).to_contain_text('"detail": "database is away"')
    sync_api.expect(detail).to_contain_text("503 Service Unavailable")
    site.picture("message")
    page.click("#detail-close")
    page.fill('[name="task"]', "")
    page.locator("#messages tbody tr .name", has_text="/qstash/webhook/").click()
    sync_api.expect(detail).to_contain_text("<script>window.hacked = 1</script>")
    assert page.evaluate("window.hacked") is None


def test_the_page_follows_what_happens_without_a_reload(site):
    page = site.open()
    with sdk(site.server) as client:
        client.message.publish_json(url=site.receiver.url, body=letter("new.tasks.arrived"))
    sync_api.expect(site.row("messages", "new.tasks.arrived")).to_contain_text("delivered")
    site.row("messages", "shop.tasks.remind").get_by_text("Deliver now").click()
    sync_api.expect(site.row("messages", "shop.tasks.remind")).to_contain_text("delivered")
    site.row("messages", "mail.tasks.deliver").get_by_text("Cancel").click()
    sync_api.expect(site.row("messages", "mail.tasks.deliver")).to_contain_text("canceled")
    sync_api.expect(page.locator("#counts")).to_contain_text("1 canceled")


def test_a_dead_letter_is_retried_from_the_page(site):
    page = site.open("dlq")
    sync_api.expect(site.row("dlq", "billing.tasks.charge")).to_contain_text("503")
    site.picture("dead-letters")
    site.receiver.answer = lambda got: Answers()
    site.row("dlq", "billing.tasks.charge").get_by_text("Retry").click()
    sync_api.expect(page.locator('[data-empty="dlq"]')).to_be_visible()
    page.click('[data-tab="messages"]')
    page.select_option('[name="state"]', "DELIVERED")
    sync_api.expect(site.row("messages", "billing.tasks.charge")).to_have_count(1)


def test_schedules_queues_and_keys_have_their_buttons(site):
    page = site.open("schedules")
    expect = sync_api.expect
    row = site.row("schedules", "morning-report")
    expect(row).to_contain_text("CRON_TZ=Europe/Istanbul 0 9 * * 1-5")
    site.picture("schedules")
    row.get_by_text("Fire now").click()
    expect(row).to_contain_text("delivered")
    row.get_by_text("Pause").click()
    expect(row).to_contain_text("paused")
    page.click('[data-tab="queues"]')
    site.picture("queues")
    site.row("queues", "mail").get_by_text("Resume").click()
    expect(site.row("queues", "mail")).to_contain_text("running")
    expect(site.row("flowControl", "partner")).to_contain_text("1 of 1 in 3600 s")
    site.row("flowControl", "partner").get_by_text("Reset rate").click()
    expect(site.row("flowControl", "partner").locator("td").nth(1)).to_have_text("0")
    expect(site.row("urlGroups", "everybody")).to_contain_text("one: ")


def test_fault_knobs_are_turned_and_problems_are_said(site):
    page = site.open("faults")
    page.fill('[name="duplicate"]', "0.5")
    page.fill('[name="seed"]', "7")
    page.get_by_text("Apply").click()
    sync_api.expect(page.locator("#faults-on")).to_be_visible()
    knobs = site.server.ask(lambda state: state.machine.faults.knobs)
    assert (knobs.duplicate, knobs.seed) == (0.5, 7)
    site.picture("faults")
    page.get_by_text("All off").click()
    sync_api.expect(page.locator("#faults-on")).to_be_hidden()
    page.click('[data-tab="setup"]')
    sync_api.expect(page.locator("#environment")).to_contain_text("QSTASH_TOKEN=")
    site.server.stop()
    sync_api.expect(page.locator("#live")).to_have_text("not connected")
    # The browser says so itself.
    site.problems.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_it_fits_its_screen_and_can_be_read(site, scheme, width):
    page = site.page
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 780})
    site.open()
    for tab in ("messages", "dlq", "schedules", "queues", "faults", "setup"):
        page.click(f'[data-tab="{tab}"]')
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(LOW_CONTRAST) == []
        site.picture(f"{scheme}-{width}-{tab}")
    page.click('[data-tab="messages"]')
    site.row("messages", "billing.tasks.charge_later").locator(".name").click()
    sync_api.expect(page.locator("#detail")).to_be_visible()
    assert page.evaluate(LOW_CONTRAST) == []
    site.picture(f"{scheme}-{width}-message")


#: Visible texts whose contrast with their background is below 4.5 (WCAG AA).
LOW_CONTRAST = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const background = (node) => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const bad = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.checkVisibility() || node.tagName === "NOSCRIPT") continue;
    const [one, two] = [light(parse(getComputedStyle(node).color)), light(background(node))].sort((a, b) => b - a);
    const contrast = (one + 0.05) / (two + 0.05);
    if (contrast < 4.5) bad.push(`${walker.currentNode.data.trim().slice(0, 40)}: ${contrast.toFixed(2)}`);
  }
  return bad;
}"""  # noqa: E501
