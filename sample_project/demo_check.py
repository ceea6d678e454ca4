"""``make demo-check``: press every button of the running demo, and look what became of it."""

from __future__ import annotations

import re
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookiejar import CookieJar
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from demo import Demo
    from django_qstash.schedules.models import TaskSchedule

#: Seconds that all jobs of an order have to come to their ends.
PATIENCE = 40


class Wrong(Exception):
    """Something is not as it should be; the text says what."""


def check(demo: Demo, began: float) -> int:
    """Exit status 0 if all is well. Says what it does as it goes."""
    from demo import round_trip, say

    demo.start()
    call, answer, seconds = round_trip(demo)
    say(f"ok    {call}.get() returned {answer!r} after {seconds:.2f} s")
    browser = Browser(demo.site)
    try:
        for line in chain(
            pages(browser),
            buttons(browser),
            admin(browser),
            workflow(browser),
            schedules(browser),
            behind_the_scenes(demo.folder),
        ):
            say(f"ok    {line}")
    except Wrong as error:
        say(f"WRONG {error}")
        for name in demo.processes:
            say(f"\n--- {name}\n{demo.log(name).read_text(errors='replace')[-4000:]}")
        return 1
    say(f"The demo works. {time.monotonic() - began:.1f} s")
    return 0


def pages(browser: Browser):
    """Every page, and every file and address of our own that a page names."""
    for path in ("/", "/orders/new/", "/orders/1/"):
        page = browser.get(path)
        for link in sorted(page.links):
            browser.get(link)
        yield f"{path} and the {len(page.links)} addresses it names answer"


def buttons(browser: Browser):
    """Two orders, one of them with a card that the bank declines; every button of both."""
    pressed = {card: _press_all(browser, card) for card in ("tok_good", "tok_declined")}
    for card, page in pressed.items():
        done = _wait(browser, page)
        for job in done.jobs:
            expected = "SUCCESS"
            if card == "tok_declined" and job.name == "Charge the card":
                expected = "FAILURE"
            if job.state != expected:
                raise Wrong(f"{job.name} ({card}) ended as {job.state}, not {expected}: {job.text}")
            yield f"{job.name} ({card}): {job.state}"
        facts = " ".join(done.text.split())
        paid = "yes" if card == "tok_good" else "no"
        for fact in ("Receipt sent", f"Paid {paid}", "Printed 60 of 60"):
            if fact not in facts:
                raise Wrong(f"The order's page does not say {fact!r}: {facts[:200]}")
        if card == "tok_declined" and "CardDeclined: The bank declined" not in facts:
            raise Wrong(f"The page does not show why the charge failed: {facts}")


def _press_all(browser: Browser, card: str) -> Page:
    """Take an order and press what its page offers."""
    from orders.buttons import BUTTONS

    form = browser.get("/orders/new/").form()
    order = browser.post(
        form,
        customer="Mira Check",
        email="mira@example.com",
        item="zine",
        copies="60",
        card=card,
    )
    offered = [form for form in order.forms if re.search(r"/orders/\d+/[a-z]+/$", form.action)]
    if len(offered) != len(BUTTONS):
        raise Wrong(f"{order.path} has {len(offered)} buttons, not {len(BUTTONS)}.")
    for form in offered:
        browser.post(form)
    page = browser.get(order.path)
    if len(page.jobs) != len(offered) + 1:
        raise Wrong(f"{len(offered)} buttons and the first receipt made {len(page.jobs)} jobs.")
    return page


def _wait(browser: Browser, page: Page) -> Page:
    """Fetch what the page's script fetches, until every job is over."""
    deadline = time.monotonic() + PATIENCE
    while True:
        part = browser.get(page.progress)
        if part.over:
            return part
        if time.monotonic() > deadline:
            late = [f"{job.name}: {job.state}" for job in part.jobs if job.state != "SUCCESS"]
            raise Wrong(f"After {PATIENCE} s: {', '.join(late)}")
        time.sleep(0.3)


def admin(browser: Browser):
    """The admin shows every result, whole."""
    from orders.buttons import PARCELS
    from orders.models import Job

    # A canvas is one job on the page and several tasks.
    sent = Job.objects.count() + Job.objects.filter(title="Pack and label").count() * (PARCELS + 1)
    login = browser.get("/admin/login/?next=/admin/django_qstash_results/taskresult/")
    rows = browser.post(login.form(), username="admin", password="admin")
    details = [link for link in rows.links if re.search(r"/taskresult/\d+/change/", link)]
    if len(details) != sent:
        raise Wrong(f"The admin lists {len(details)} results, and {sent} tasks were sent.")
    for link in details:
        browser.get(link)
    yield f"the admin shows all {len(details)} results"


def workflow(browser: Browser):
    """One order goes through its workflow: started, paid, approved, printed, sent off."""
    page = browser.get("/orders/1/")
    for name, expected in (
        ("start", "waiting for event:order-paid:1"),
        ("pay", "waiting for signal:proof"),
        ("approve", "completed"),
    ):
        (form,) = [form for form in page.forms if form.action.endswith(f"/flow/{name}/")]
        browser.post(form)
        deadline = time.monotonic() + PATIENCE
        while expected not in (text := " ".join(browser.get(page.progress).text.split())):
            if time.monotonic() > deadline:
                raise Wrong(f"After “{name}” the workflow is not {expected!r}: {text[:300]}")
            time.sleep(0.2)
        yield f"workflow: {name}, then {expected}"


def schedules(browser: Browser):
    """QStash has both schedules, fires one, and the admin runs the other."""
    from django_qstash.schedules.models import TaskSchedule
    from django_qstash.transport import get_transport

    qstash = get_transport()
    theirs = {each["scheduleId"]: each["cron"] for each in qstash.request("GET", "/v2/schedules")}
    rows = {row.name: row for row in TaskSchedule.objects.all()}
    expected = {
        "orders.tasks.close_the_day": "CRON_TZ=Europe/Berlin 0 18 * * 1-5",
        "Clear old results": "30 3 * * *",
    }
    if {name: theirs.get(row.schedule_id) for name, row in rows.items()} != expected:
        raise Wrong(f"QStash has the schedules {theirs}, and the shop {list(rows)}.")
    listed = browser.get("/admin/django_qstash_schedules/taskschedule/").text
    for row in rows.values():
        if row.words not in listed or "Not in step" in listed:
            raise Wrong(f"The admin does not say of {row.name!r}: {row.words}.")
    by_code, by_row = (rows[name] for name in expected)
    qstash.request("POST", f"/_dev/schedules/{by_code.schedule_id}/fire")
    yield f"schedule {by_code.name!r}, {by_code.words}: {_latest(by_code)}"
    page = browser.get(f"/admin/django_qstash_schedules/taskschedule/{by_row.pk}/change/")
    (run_now,) = [form for form in page.forms if form.action.endswith("/run/")]
    browser.post(run_now)
    yield f"schedule {by_row.name!r}, {by_row.words}, run now: {_latest(by_row)}"


def _latest(schedule: TaskSchedule) -> str:
    """What the one run of a schedule came to."""
    from django_qstash.schedules import runs

    deadline = time.monotonic() + PATIENCE
    while True:
        found = runs.history(schedule)
        if len(found) == 1 and found[0].date_done:
            break
        if time.monotonic() > deadline:
            raise Wrong(f"{schedule.name!r} has {len(found)} runs, and none has ended.")
        time.sleep(0.1)
    if found[0].status != "SUCCESS":
        raise Wrong(f"{schedule.name!r} ended as {found[0].status}: {found[0].result}")
    return str(found[0].status)


def behind_the_scenes(folder: Path):
    """What no page shows: nothing ran twice, nothing early, and QStash gave up what failed."""
    from django_qstash.results.models import TaskResult
    from django_qstash.transport import get_transport
    from orders.models import Job, Sale

    if (sales := Sale.objects.count()) != 1:
        raise Wrong(f"{sales} sales are in the books, and one order was paid for by its workflow.")
    # Two mails of one second may share a file.
    written = [path.read_text(encoding="utf-8") for path in (folder / "mail").iterdir()]
    mails = sum(text.count("\nSubject: ") for text in written)
    if mails != 8:
        raise Wrong(f"{mails} mails were written: there should be six receipts, two reminders.")
    yield "every receipt and every reminder was written once"
    for job in Job.objects.exclude(due=None):
        late = (TaskResult.objects.get(task_id=job.task_id).date_started - job.due).total_seconds()
        if not -1 <= late < 5:
            raise Wrong(f"{job.title} came {late:.1f} s after it was due.")
        yield f"{job.title}: {late:+.2f} s"
    dead = get_transport().request("GET", "/v2/dlq")["messages"]
    if len(dead) != 1 or "charge_card" not in dead[0].get("body", ""):
        raise Wrong(f"The QStash server gave up {len(dead)} messages, and one card was declined.")
    yield "the failed task, and no other, is in the QStash server's dead letter queue"


@dataclass
class Form:
    action: str
    fields: dict[str, str] = field(default_factory=dict)


@dataclass
class ShownJob:
    name: str
    state: str
    text: str = ""


class Page(HTMLParser):
    """What the check wants to know of a page."""

    def __init__(self, path: str, html: str) -> None:
        super().__init__()
        self.path = path
        self.links: set[str] = set()
        self.forms: list[Form] = []
        self.jobs: list[ShownJob] = []
        self.text = ""
        self.progress = ""
        self.over = False
        self.feed(html)

    def form(self) -> Form:
        if not self.forms:
            raise Wrong(f"{self.path} has no form.")
        return self.forms[-1]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        for name in ("href", "src"):
            link = given.get(name, "")
            if link.startswith(("/", "http://127.0.0.1")):
                self.links.add(link)
        if tag == "form":
            self.forms.append(Form(given.get("action") or self.path))
        elif tag == "input" and self.forms and given.get("name"):
            self.forms[-1].fields[given["name"]] = given.get("value", "")
        elif given.get("id") == "progress":
            self.progress = given["data-url"]
            self.over = given["data-over"] == "yes"
        elif "data-state" in given:
            self.jobs.append(ShownJob(given["data-name"], given["data-state"]))

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"
        if self.jobs:
            self.jobs[-1].text += data


class Browser:
    """Enough of one: it keeps cookies, follows redirections and sends forms."""

    def __init__(self, site: str) -> None:
        self.site = site
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))

    def get(self, path: str) -> Page:
        return self._open(path, None)

    def post(self, form: Form, **fields: str) -> Page:
        data = urllib.parse.urlencode({**form.fields, **fields}).encode()
        return self._open(form.action, data)

    def _open(self, path: str, data: bytes | None) -> Page:
        url = urllib.parse.urljoin(self.site, path)
        request = urllib.request.Request(url, data=data, headers={"Referer": url})
        try:
            with self._opener.open(request, timeout=10) as answer:
                text = answer.read().decode("utf-8", "replace")
                return Page(urllib.parse.urlsplit(answer.url).path, text)
        except OSError as error:
            raise Wrong(f"{url}: {error}") from None
