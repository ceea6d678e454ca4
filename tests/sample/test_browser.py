"""A person with a browser: every button is clicked, and its outcome seen without reloading."""

from __future__ import annotations

import shutil

import pytest

from tests.sample.demo import running

playwright = pytest.importorskip(
    "playwright.sync_api",
    reason="Playwright is not installed: python -m pip install --group browser",
    exc_type=ImportError,
)
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(CHROMIUM is None, reason="There is no Chromium on this machine."),
]
SECONDS = 1000
#: Notes every state that a job is shown in; gone, notes and all, if the page is loaded again.
TAKE_NOTES = """
() => {
  window.seen = new Set();
  const note = () => document.querySelectorAll(".job").forEach(
    job => window.seen.add(`${job.dataset.name}: ${job.dataset.state}`)
  );
  new MutationObserver(note).observe(document.getElementById("jobs"), {childList: true});
  note();
}
"""
PHONE = {"width": 375, "height": 740}
DESK = {"width": 1200, "height": 900}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with running(tmp_path_factory.mktemp("demo")) as demo:
        yield demo.site


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, site):
    """A page of the shop that reports what goes wrong in it."""
    contexts, problems = [], []

    def open_page(path="/", **options):
        context = chromium.new_context(base_url=site, **options)
        context.set_default_timeout(20 * SECONDS)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: said.type == "error" and problems.append(said.text))
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def take_order(page, *, card, copies=50):
    page.get_by_role("link", name="Take an order").click()
    page.get_by_label("Customer").fill("Mira Kaspersen")
    page.get_by_label("E-mail").fill("mira@example.com")
    page.get_by_label("Copies").fill(str(copies))
    page.get_by_label("Card").select_option(card)
    page.get_by_role("button", name="Save the order").click()


def expect_job(page, title, state):
    job = page.locator(f'.job[data-name="{title}"][data-state="{state}"]').first
    playwright.expect(job).to_be_visible(timeout=30 * SECONDS)
    return job


def test_every_button_leads_to_its_outcome_without_reloading(open_page):
    page = open_page()
    take_order(page, card="tok_declined")
    expect_job(page, "E-mail the receipt", "SUCCESS")
    page.evaluate(TAKE_NOTES)
    buttons = page.locator("form[data-press] button")
    titles = buttons.all_inner_texts()
    assert len(titles) == 7

    for button in buttons.all():
        button.click()

    for title in titles:
        expect_job(page, title, "FAILURE" if title == "Charge the card" else "SUCCESS")
    failed = expect_job(page, "Charge the card", "FAILURE")
    assert "CardDeclined: The bank declined 240.00 EUR" in failed.inner_text()
    assert "50 of 50" in page.locator("#ticket").inner_text()
    assert page.locator(".job").count() == 8
    assert {
        "Remind in ten seconds: PENDING",
        "Run the press: STARTED",
        "Order the paper: RETRY",
    } <= set(page.evaluate("[...window.seen]"))
    assert page.locator("#messages").inner_text().strip() == ""


def test_an_opened_traceback_stays_open_while_other_jobs_go_on(open_page):
    page = open_page()
    take_order(page, card="tok_declined")
    page.get_by_role("button", name="Charge the card").click()
    job = expect_job(page, "Charge the card", "FAILURE")
    job.get_by_text("Traceback", exact=True).click()

    page.get_by_role("button", name="Find a courier").click()
    expect_job(page, "Find a courier", "SUCCESS")

    playwright.expect(job.locator("pre")).to_be_visible()
    assert "insufficient funds" in job.locator("pre").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_pages_fit_their_window_and_can_be_read(open_page, size, scheme):
    page = open_page(viewport=size, color_scheme=scheme)
    take_order(page, card="tok_good", copies=1)
    page.get_by_role("button", name="Charge the card").click()
    job = expect_job(page, "Charge the card", "SUCCESS")

    playwright.expect(job).to_be_in_viewport()
    for path in (page.url, "/", "/orders/new/"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert contrast(page, "h1") >= 7
        assert contrast(page, "footer") >= 4.5


def log_in(page):
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill("admin")
    page.get_by_role("button", name="Log in").click()


def expect_flow(page, status):
    flow = page.locator(f'.flow-state[data-status="{status}"]')
    playwright.expect(flow).to_be_visible(timeout=30 * SECONDS)
    return flow


@pytest.mark.parametrize(
    ("size", "scheme"), [(PHONE, "dark"), (DESK, "light")], ids=["phone", "desk"]
)
def test_an_order_moves_through_its_workflow_and_the_admin_draws_it(open_page, size, scheme):
    page = open_page(viewport=size, color_scheme=scheme)
    take_order(page, card="tok_good", copies=1)
    page.get_by_role("button", name="Start the workflow").click()
    page.get_by_role("button", name="Pay").click()
    page.get_by_role("button", name="Approve the proof").click()
    expect_flow(page, "completed")

    assert page.locator(".step").all_inner_texts() == [
        *("receipt", "payment", "book the sale", "proof", "print", "label", "courier")
    ]
    assert "1 of 1" in page.locator("#ticket").inner_text()
    assert page.locator("form[data-move]:visible").count() == 0

    page.get_by_role("link", name="its timeline").click()
    log_in(page)
    bars = page.locator(".qstash-fill")
    chart = page.locator(".qstash-bar").first.bounding_box()
    assert bars.count() == 7
    for bar in bars.all():
        box = bar.bounding_box()
        assert box["width"] >= 1
        assert box["x"] >= chart["x"] - 1
        assert box["x"] + box["width"] <= chart["x"] + chart["width"] + 1
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert contrast(page, ".qstash-name > span") >= 7
    assert contrast(page, ".qstash-took") >= 4.5
    assert contrast(page, ".qstash-status") >= 4.5
    assert contrast(page, ".qstash-bar .qstash-fill", "fill") >= 3

    page.locator("summary", has_text="book the sale").click()
    playwright.expect(page.get_by_text('"4.80 EUR"')).to_be_visible()


def test_a_run_is_told_and_ended_by_the_buttons_of_the_admin(open_page):
    page = open_page()
    take_order(page, card="tok_good", copies=1)
    page.get_by_role("button", name="Start the workflow").click()
    page.get_by_role("button", name="Pay").click()
    playwright.expect(page.get_by_text("signal:proof")).to_be_visible()
    page.get_by_role("link", name="its timeline").click()
    log_in(page)

    page.get_by_role("link", name="Send a signal").click()
    playwright.expect(page.get_by_label("Signal")).to_have_value("proof")
    page.get_by_label("Data").fill('{"approved": false}')
    page.get_by_role("button", name="Send a signal").click()
    playwright.expect(page.get_by_text("Sent the signal “proof”.")).to_be_visible()
    page.reload()
    playwright.expect(page.locator(".qstash-head")).to_contain_text("completed")


def contrast(page, selector, what="color"):
    """WCAG's ratio between an element's text and the page behind it."""
    colours = page.evaluate(
        "([selector, what]) => [getComputedStyle(document.querySelector(selector))[what],"
        " getComputedStyle(document.body).backgroundColor]",
        [selector, what],
    )
    light, dark = sorted(map(luminance, colours), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour):
    channels = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(
        weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True)
    )


def test_without_javascript_the_buttons_work_and_lead_back(open_page):
    page = open_page(java_script_enabled=False)
    take_order(page, card="tok_good")

    page.get_by_role("button", name="E-mail the receipt").click()

    playwright.expect(page.locator(".job")).to_have_count(2)
