"""Two QStash servers with tokens and keys of their own, and one site that both deliver to."""

from __future__ import annotations

import io

import pytest
from django.core.management import CommandError, call_command

from django_qstash import chain, clock, group, shared_task
from django_qstash.clock import VirtualClock
from django_qstash.devserver.embedded import EmbeddedServer
from django_qstash.devserver.keys import Keys
from django_qstash.exceptions import PublishError
from django_qstash.tasks.registry import tasks as registry
from django_qstash.transport import get_transport
from django_qstash.wire import signature
from django_qstash.workflows import step, workflow
from tests.door import given_up, knock, letter

pytestmark = pytest.mark.django_db(transaction=True)

RAN: list[object] = []
HOME = Keys(
    "home-token", "sig_of_home_and_of_no_other_account", "sig_of_home_after_the_rotation_of_it"
)
EUROPE = Keys(
    "eu-token", "sig_of_europe_and_of_no_other_account", "sig_of_europe_after_the_rotation"
)


@shared_task(name="accounts.note", bind=True, max_retries=3)
def note(self, value, fails=0):
    if self.request.retries < fails:
        raise self.retry(countdown=10)
    RAN.append(value)
    return value


@shared_task(name="accounts.after")
def after(value):
    RAN.append(("after", value))
    return value


@shared_task(name="accounts.fail")
def fail():
    raise ValueError("for good")


@step
def one(value):
    RAN.append(value)
    return value


@workflow("accounts.flow")
def flow(ctx):
    one("begun")
    ctx.step.sleep("nap", "1h")
    ctx.step.map("each", one, ["a", "b"])
    ctx.step.task("task", after, 1)


@pytest.fixture
def virtual():
    with clock.use(VirtualClock(1_800_000_000)) as shared:
        yield shared


@pytest.fixture
def servers(virtual, live_server, settings):
    RAN.clear()
    with EmbeddedServer(clock=virtual) as home, EmbeddedServer(clock=virtual) as europe:
        home.ask(lambda state: setattr(state, "keys", HOME))
        europe.ask(lambda state: setattr(state, "keys", EUROPE))
        settings.DJANGO_QSTASH_DOMAIN = live_server.url
        settings.QSTASH_URL = home.url
        settings.QSTASH_TOKEN = HOME.token
        settings.QSTASH_CURRENT_SIGNING_KEY = HOME.current
        settings.QSTASH_NEXT_SIGNING_KEY = HOME.next
        settings.DJANGO_QSTASH_ACCOUNTS = {
            "eu": {
                "token": EUROPE.token,
                "url": europe.url,
                "current_signing_key": EUROPE.current,
                "next_signing_key": EUROPE.next,
            }
        }
        settings.DJANGO_QSTASH_TRANSPORT = "django_qstash.transport.http.HttpTransport"
        settings.DJANGO_QSTASH_PUBLISH_RETRIES = 0
        yield home, europe
        get_transport().close()


@pytest.fixture
def temporary_task():
    names = set(registry)
    yield shared_task
    for name in set(registry) - names:
        registry.unregister(name)


def advance(servers, seconds):
    """Both clocks are one, which each server moves to its own next message."""
    end = clock.time() + seconds
    while True:
        for server in servers:
            server.wait_idle()
        due = [at for server in servers if (at := server.ask(lambda s: s.machine.next_due()))]
        if not due or min(due) > end:
            break
        first = min(range(len(servers)), key=lambda n: next_due(servers[n]))
        servers[first].advance(max(0.0, min(due) - clock.time()) + 0.001)
    servers[0].advance(max(0.0, end - clock.time()))
    for server in servers:
        server.wait_idle()


def next_due(server):
    due = server.ask(lambda state: state.machine.next_due())
    return float("inf") if due is None else due


def taken(server):
    """How many messages a server has taken."""
    return server.ask(lambda state: sum(state.machine.tally.values()))


def test_a_call_goes_through_the_account_that_it_names(servers):
    home, europe = servers

    here, there = note.apply_async(("here",)), note.apply_async(("there",), account="eu")
    advance(servers, 1)

    assert (here.result, there.result) == ("here", "there")
    assert (taken(home), taken(europe)) == (1, 1)


def test_so_does_a_task_that_names_one_and_a_call_may_take_it_back(servers, temporary_task):
    home, europe = servers
    task = temporary_task(name="accounts.of_europe", account="eu")(RAN.append)

    task.delay("there")
    task.apply_async(("here",), account="default")
    advance(servers, 1)

    assert sorted(RAN) == ["here", "there"]
    assert (taken(home), taken(europe)) == (1, 1)


def test_what_a_letter_leads_to_stays_with_its_account(servers, settings):
    home, europe = servers
    settings.DJANGO_QSTASH_MAX_DELAY = 60

    note.apply_async(("retried", 2), account="eu")
    note.apply_async(("hopped",), account="eu", countdown=150)
    advance(servers, 200)

    assert sorted(RAN) == ["hopped", "retried"]
    assert taken(home) == 0
    assert taken(europe) == 3 + 3


def test_each_task_of_a_chain_goes_by_its_own_account(servers):
    home, europe = servers

    chain(note.s("first").set(account="eu"), after.s()).delay()
    advance(servers, 5)

    assert RAN == ["first", ("after", "first")]
    assert (taken(home), taken(europe)) == (1, 1)


def test_a_group_is_sent_to_each_account_in_one_request(servers):
    home, europe = servers

    group(
        [note.s(n) for n in range(3)] + [note.s(n).set(account="eu") for n in range(3, 6)]
    ).delay()
    advance(servers, 1)

    assert sorted(RAN) == list(range(6))
    assert (taken(home), taken(europe)) == (3, 3)


def test_a_workflow_goes_on_in_the_account_of_its_call(servers):
    home, europe = servers

    run = flow.trigger(account="eu")
    advance(servers, 3700)

    assert run.status == "completed"
    assert RAN[0] == "begun"
    # The task of its last step has no account of its own; its answer comes back by the default one.
    assert (taken(home), taken(europe)) == (2, 6)


def test_so_does_one_that_its_messages_carry(servers, settings):
    settings.DJANGO_QSTASH_WORKFLOW_PERSISTENCE = False
    home, europe = servers

    flow.apply_async(account="eu")
    advance(servers, 3700)

    assert RAN == ["begun", "a", "b"]
    assert taken(home) == 0


def test_a_letter_that_one_account_gave_up_is_sent_again_through_it(servers):
    home, europe = servers
    lost = letter("accounts.note", "lost", options={"account": "eu"})

    assert given_up(lost, key=EUROPE.current).json()["status"] == "sent again"
    advance(servers, 3600)

    assert RAN == ["lost"]
    assert (taken(home), taken(europe)) == (0, 1)


def test_what_waits_is_revoked_in_the_account_that_has_it(servers):
    _, europe = servers
    result = note.apply_async(("never",), account="eu", countdown=60)

    result.revoke()

    assert europe.ask(lambda state: state.machine.tally["CANCELED"]) == 1


def test_purge_withdraws_from_every_account(servers):
    from django_qstash import Celery

    note.apply_async((1,), countdown=60)
    note.apply_async((2,), account="eu", countdown=60)

    assert Celery("accounts").control.purge() == 2


def test_the_dead_letter_queue_of_each_account_is_asked_by_its_name(servers):
    fail.apply_async(account="eu")
    advance(servers, 1)

    assert "accounts.fail[" not in dlq("list")
    (line,) = dlq("--account", "eu", "list").splitlines()
    assert "accounts.fail[" in line
    assert "sent again" in dlq("--account", "eu", "retry", line.split()[0])
    with pytest.raises(CommandError, match="There are: default, eu"):
        dlq("--account", "us", "list")


def dlq(*words):
    out = io.StringIO()
    call_command("qstash_dlq", *words, stdout=out, stderr=out)
    return out.getvalue()


def test_the_outbox_keeps_the_account(servers, settings, outbox_app):
    from django.db import transaction

    home, europe = servers
    with transaction.atomic():
        note.apply_async(("there",), account="eu")
        note.apply_async(("here",))
        assert taken(home) + taken(europe) == 0
    advance(servers, 1)

    assert sorted(RAN) == ["here", "there"]
    assert (taken(home), taken(europe)) == (1, 1)


def test_what_one_account_does_not_take_says_which_it_is(servers, settings):
    accounts = {**settings.DJANGO_QSTASH_ACCOUNTS}
    settings.DJANGO_QSTASH_ACCOUNTS = {"eu": {**accounts["eu"], "token": "wrong"}}

    with pytest.raises(PublishError, match=r"Check the token of DJANGO_QSTASH_ACCOUNTS\['eu'\]"):
        note.apply_async((1,), account="eu")
    note.delay("here")
    advance(servers, 1)
    assert RAN == ["here"]


@pytest.mark.parametrize(
    "key",
    [HOME.current, HOME.next, EUROPE.current, EUROPE.next],
    ids=["current", "next", "current of eu", "next of eu"],
)
def test_the_door_is_open_to_the_keys_of_each_account(servers, key):
    assert knock(letter("accounts.note", "in"), key=key).status_code == 200


def test_and_to_no_other(servers):
    assert (
        knock(
            letter("accounts.note", "in"), key="sig_of_somebody_who_has_no_account_here"
        ).status_code
        == 401
    )
    assert RAN == []


def test_nor_to_the_keys_of_an_account_that_is_gone(servers, settings):
    settings.DJANGO_QSTASH_ACCOUNTS = {}

    assert knock(letter("accounts.note", "in"), key=EUROPE.current).status_code == 401


def test_what_is_signed_for_another_site_is_refused_whoever_signed_it(servers):
    message = letter("accounts.note", "in")
    token = signature.sign(
        message.encode(), url="https://elsewhere.example.com/", key=EUROPE.current, now=clock.time()
    )

    assert knock(message, signature_header=token).status_code == 401
