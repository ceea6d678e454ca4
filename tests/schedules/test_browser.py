"""A person with a browser: a job is added, watched, paused and run, without a line of code."""

from __future__ import annotations

import os
import shutil

import pytest
from django.contrib.auth import get_user_model

from django_qstash.results.models import TaskResult
from django_qstash.schedules.models import TaskSchedule
from tests.schedules.conftest import there
from tests.schedules.test_models import make

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
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(CHROMIUM is None, reason="There is no Chromium on this machine."),
]
PHONE = {"width": 375, "height": 740}
DESK = {"width": 1280, "height": 1000}
#: A folder in which pictures of the pages are left, for people to look at.
PICTURES = os.environ.get("PICTURES")


@pytest.fixture(scope="module")
def chromium():
    # Playwright's loop runs in this thread, and Django would see one in every query.
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()
    if before is None:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def site(qstash, live_server, settings):
    settings.ROOT_URLCONF = "tests.schedules.urls"
    settings.DJANGO_QSTASH_DOMAIN = live_server.url
    settings.TIME_ZONE = "Europe/Berlin"
    return live_server


@pytest.fixture
def open_page(chromium, site, client):
    """A page of the admin, signed in, that reports what goes wrong in it."""
    user = get_user_model().objects.create_superuser("mira", "mira@example.com", "secret")
    client.force_login(user)
    contexts, problems = [], []

    def open_page(path, **options):
        options.setdefault("viewport", DESK)
        context = chromium.new_context(
            base_url=site.url, timezone_id="America/New_York", locale="en-GB", **options
        )
        context.set_default_timeout(20_000)
        cookie = client.cookies["sessionid"].value
        context.add_cookies([{"name": "sessionid", "value": cookie, "url": site.url}])
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: said.type == "error" and problems.append(said.text))
        page.goto(f"/admin/django_qstash_schedules/taskschedule/{path}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def picture(page, name):
    if PICTURES:
        page.screenshot(path=f"{PICTURES}/{name}.png", full_page=True)


def choose_task(page, words):
    page.locator(".field-task_name .select2-selection").click()
    page.locator(".select2-search__field").fill(words)
    # Other tests may have tasks of those words as well.
    page.locator(".select2-results__option", has_text="tests.shop.tasks").first.click()


def test_a_job_is_added_by_somebody_who_writes_no_code(open_page, qstash):
    page = open_page("add/")
    page.get_by_label("Name:").fill("Sums at night")
    choose_task(page, "add two numbers")
    about = page.locator(".qs-about")
    playwright.expect(about).to_contain_text("Add two numbers.")
    playwright.expect(about).to_contain_text("x (required), y (required)")

    page.get_by_role("button", name="Working days at 9").click()
    preview = page.locator(".field-cron .qs-preview")
    playwright.expect(preview).to_contain_text("At 09:00, Monday to Friday (Europe/Berlin)")
    playwright.expect(preview.locator("li")).to_have_count(5)
    # Nine in Berlin, as the clock of the person at this browser shows it.
    playwright.expect(preview.locator("li").first).to_contain_text("Mon 12 Oct 2026, 09:00")
    playwright.expect(preview.locator("li").first).to_contain_text("03:00")

    page.get_by_label("Arguments:", exact=True).fill("[1]")
    picture(page, "add")
    page.get_by_role("button", name="Save", exact=True).click()
    error = page.locator(".field-args .errorlist")
    playwright.expect(error).to_contain_text("missing a required argument: 'y'")
    picture(page, "add-refused")

    page.get_by_label("Arguments:", exact=True).fill("[1, 2]")
    page.get_by_role("button", name="Save", exact=True).click()
    playwright.expect(page.locator("#result_list")).to_contain_text("Sums at night")
    row = TaskSchedule.objects.get()
    assert (row.task_name, row.args) == ("tests.shop.tasks.add", [1, 2])
    assert (row.cron, row.timezone, row.sync_error) == ("0 9 * * mon-fri", "Europe/Berlin", "")
    assert row.schedule_id in there(qstash)
    playwright.expect(page.locator(".field-standing .qs-active")).to_have_text("Active")


def test_a_mistake_in_a_cron_expression_is_shown_in_its_place(open_page):
    page = open_page("add/")
    cron = page.get_by_label("Cron:")
    preview = page.locator(".field-cron .qs-preview")
    cron.fill("0 25 * * *")
    playwright.expect(preview).to_contain_text("the hour is 0 to 23, not 25")
    playwright.expect(preview.locator("mark")).to_have_text("2")
    cron.fill("<img src=x onerror=alert(1)> 1 2 3 4")
    playwright.expect(preview).to_contain_text("it has 7 fields")
    assert preview.locator("img").count() == 0
    cron.fill("@daily")
    playwright.expect(preview).to_contain_text("At 00:00 every day")
    picture(page, "mistake")


def test_run_now_pause_and_resume(open_page, qstash):
    row = make(task_name="tests.shop.tasks.add", args=[1, 2])
    page = open_page(f"{row.pk}/change/")
    playwright.expect(page.locator(".field-history")).to_contain_text("None yet.")
    page.get_by_role("button", name="Run now").click()
    playwright.expect(page.locator(".messagelist")).to_contain_text("it runs now")
    qstash.wait_idle()
    page.reload()
    runs = page.locator(".qs-history tbody tr")
    playwright.expect(runs).to_have_count(1)
    playwright.expect(runs).to_contain_text("SUCCESS")
    picture(page, "change")
    runs.get_by_role("link").click()
    playwright.expect(page.locator("#content")).to_contain_text("tests.shop.tasks.add")
    assert TaskResult.objects.get().result == 3

    page.goto("/admin/django_qstash_schedules/taskschedule/")
    for action, state in (("Pause", "Paused"), ("Resume", "Active")):
        page.locator("input.action-select").check()
        page.get_by_label("Action:").select_option(label=action)
        page.locator(".actions button[name=index]").click()
        playwright.expect(page.locator(".field-standing .qs-state")).to_have_text(state)
        assert there(qstash)[row.schedule_id][0] is (action == "Pause")
    picture(page, "list")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_pages_fit_their_window_and_can_be_read(open_page, settings, size, scheme):
    good = make(name="Nightly report", task_name="tests.shop.tasks.add", args=[1, 2])
    bad = make(name="A job whose task is gone")
    TaskSchedule.objects.filter(pk=bad.pk).update(task_name="tests.shop.tasks.gone")
    broken = make(name="A job that QStash was not told of", cron="0 9 13 * fri")
    TaskSchedule.objects.filter(pk=broken.pk).update(
        sync_error="QStash at http://127.0.0.1:8585 cannot be reached: refused. Check QSTASH_URL."
    )
    TaskSchedule.objects.bulk_create(
        [
            TaskSchedule(
                name="From the code",
                code_key="beat:hourly",
                cron="@hourly",
                task_name="tests.shop.tasks.add",
                is_active=False,
            )
        ]
    )
    code = TaskSchedule.objects.get(code_key="beat:hourly")
    name = f"{'phone' if size is PHONE else 'desk'}-{scheme}"
    for path, shot in (
        ("", "list"),
        ("add/", "add"),
        (f"{good.pk}/change/", "good"),
        (f"{bad.pk}/change/", "gone"),
        (f"{broken.pk}/change/", "broken"),
        (f"{code.pk}/change/", "code"),
    ):
        page = open_page(path, viewport=size, color_scheme=scheme)
        page.wait_for_load_state("networkidle")
        picture(page, f"{shot}-{name}")
        # A wide table scrolls by itself; the page must not.
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
        for badge in page.locator(".qs-state").all():
            assert contrast(badge) >= 4.5


def contrast(element):
    """WCAG's ratio between an element's text and what lies behind it."""
    from tests.sample.test_browser import luminance

    colours = element.evaluate(
        """element => {
          let behind = element, colour;
          do {
            colour = getComputedStyle(behind).backgroundColor;
            behind = behind.parentElement;
          } while (behind && /rgba\\(.*, 0\\)|transparent/.test(colour));
          return [getComputedStyle(element).color, colour];
        }"""
    )
    light, dark = sorted(map(luminance, colours), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_without_javascript_a_job_can_still_be_added(open_page):
    page = open_page("add/", java_script_enabled=False)
    page.get_by_label("Name:").fill("Plain")
    page.get_by_label("Task:").select_option("tests.shop.tasks.add")
    page.get_by_label("Arguments:", exact=True).fill("[1, 2]")
    page.get_by_label("Cron:").fill("@daily")
    page.get_by_role("button", name="Save", exact=True).click()
    playwright.expect(page.locator("#result_list")).to_contain_text("Plain")
