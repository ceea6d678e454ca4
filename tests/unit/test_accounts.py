"""``DJANGO_QSTASH_ACCOUNTS``: its shape, what is said of a wrong one, and ``account=``."""

from __future__ import annotations

import io

import pytest
from django.core.management import call_command

from django_qstash import conf, shared_task
from django_qstash.checks import settings as checks
from django_qstash.exceptions import ImproperlyConfigured, OptionError
from django_qstash.tasks.registry import tasks as registry
from django_qstash.transport import accounts, get_transport
from django_qstash.transport.local import Loopback
from django_qstash.webhook import fence
from django_qstash.workflows import workflow
from tests.shop.tasks import add, note

EU = {
    "token": "a-token-that-nobody-sees",
    "current_signing_key": "sig_one_that_nobody_is_to_see_here",
    "next_signing_key": "sig_two_that_nobody_is_to_see_here",
    "url": "https://qstash-eu.example.com",
}


@pytest.fixture
def eu(settings):
    settings.DJANGO_QSTASH_ACCOUNTS = {"eu": EU}


@pytest.fixture(autouse=True)
def temporary_tasks():
    names = set(registry)
    yield
    for name in set(registry) - names:
        registry.unregister(name)


class TestTheSetting:
    def test_an_account_is_found_by_its_name(self, eu):
        account = accounts.find("eu")

        assert (account.name, account.token, account.url) == ("eu", EU["token"], EU["url"])
        assert account.keys == (EU["current_signing_key"], EU["next_signing_key"])
        assert EU["token"] not in repr(account)
        assert EU["current_signing_key"] not in repr(account)

    def test_that_of_the_other_settings_has_none(self, settings):
        account = accounts.find("")

        assert (account.name, account.token) == ("", settings.QSTASH_TOKEN)

    def test_the_url_and_the_next_key_may_be_left_out(self, settings):
        short = {"token": "t", "current_signing_key": "sig_c"}
        settings.DJANGO_QSTASH_ACCOUNTS = {"eu": short}

        account = accounts.find("eu")

        assert account.url == "https://qstash.upstash.io"
        assert account.keys == ("sig_c", "")
        assert checks.check_accounts() == []

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"eu": "s3cret"}, "must be a mapping with token, current_signing_key"),
            ({"eu": {**EU, "keys": ["s3cret"]}}, "knows no keys; it knows token"),
            ({"eu": {"token": "s3cret"}}, "needs a text as its 'current_signing_key'"),
            ({"eu": {**EU, "token": " "}}, "needs a text as its 'token'"),
            ({"eu": {**EU, "next_signing_key": 7}}, "needs a text as its 'next_signing_key'"),
            ({"eu": {**EU, "url": "s3cret.example.com"}}, "has a url that is no address"),
            ({"default": EU}, "'default' is that of the QSTASH_"),
            ({"e u": EU}, "a name is made of letters"),
        ],
        ids=["text", "unknown", "missing", "empty", "number", "url", "default", "name"],
    )
    def test_a_wrong_one_is_said_by_a_check_that_shows_no_value(self, settings, given, said):
        settings.DJANGO_QSTASH_ACCOUNTS = given

        (problem,) = checks.check_accounts()

        assert problem.id == "django_qstash.E009"
        assert said in problem.msg
        assert "s3cret" not in problem.msg
        with pytest.raises(ImproperlyConfigured, match="DJANGO_QSTASH_ACCOUNTS"):
            accounts.named()

    def test_the_development_servers_credentials_are_none_for_production(self, settings):
        known = {**EU, "current_signing_key": conf.DEVELOPMENT_CURRENT_KEY}
        settings.DJANGO_QSTASH_ACCOUNTS = {"eu": known}
        from django.core import mail

        outbox = mail.__dict__.pop("outbox", None)
        try:
            (problem,) = checks.check_development_credentials()
        finally:
            if outbox is not None:
                mail.outbox = outbox

        assert problem.id == "django_qstash.E005"
        assert "DJANGO_QSTASH_ACCOUNTS['eu']" in problem.msg

    def test_qstash_settings_masks_it(self, eu):
        out = io.StringIO()
        call_command("qstash_settings", stdout=out)

        printed = out.getvalue()
        assert "eu: https://qstash-eu.example.com, token a-to…es (24 characters)" in printed
        for name in ("token", "current_signing_key", "next_signing_key"):
            assert EU[name] not in printed


class TestTheOption:
    def test_it_travels_in_the_letter_and_is_no_header(self, eu, outbox):
        add.apply_async((1, 2), account="eu")

        (sent,) = outbox.sent
        assert sent.account == "eu"
        assert "account" not in sent.options
        assert b'"options":{"account":"eu"}' in sent.body

    def test_it_may_stand_at_the_decorator_and_in_set(self, eu, outbox):
        task = shared_task(name="accounts.unit.decorated", account="eu")(lambda: None)

        task.delay()
        task.s().set(account="default").delay()
        add.s(1, 2).set(account="eu").delay()

        assert [envelope.account for envelope in outbox.sent] == ["eu", "", "eu"]

    @pytest.mark.django_db(transaction=True)
    def test_a_workflow_has_it_too(self, eu, outbox):
        flow = workflow("accounts.unit.flow", account="eu")(lambda ctx: None)

        flow.delay()
        flow.trigger(account="default")

        assert [envelope.account for envelope in outbox.sent] == ["eu", ""]

    @pytest.mark.parametrize("name", ["us", "", 7, "token"])
    def test_one_that_is_unknown_is_refused_at_the_call(self, eu, outbox, name):
        with pytest.raises(OptionError, match="has no such account. There are: default, eu"):
            add.apply_async((1, 2), account=name)
        assert outbox.sent == []

    def test_and_at_the_decorator(self, eu):
        with pytest.raises(OptionError, match="There are: default, eu"):
            shared_task(name="accounts.unit.unknown", account="us")(lambda: None)
        with pytest.raises(OptionError, match="There are: default, eu"):
            workflow("accounts.unit.unknown_flow", account="us")(lambda ctx: None)

    def test_a_letter_whose_account_is_gone_is_not_sent_by_another(self, eu, settings, outbox):
        add.apply_async((1, 2), account="eu")
        settings.DJANGO_QSTASH_ACCOUNTS = {}

        with pytest.raises(ImproperlyConfigured, match="has no such account"):
            get_transport("eu")

    def test_a_schedule_of_such_a_task_is_refused(self, eu, db):
        from django_qstash.schedules.envelope import envelope_of
        from django_qstash.schedules.models import TaskSchedule

        task = shared_task(name="accounts.unit.scheduled", account="eu")(lambda: None)

        row = TaskSchedule(name="nightly", task_name=task.name, cron="0 3 * * *")
        with pytest.raises(OptionError, match="schedules are kept in the default one"):
            envelope_of(row)

    def test_a_transport_of_ones_own_may_know_one_account_only(self, eu, settings):
        settings.DJANGO_QSTASH_TRANSPORT = f"{__name__}.OfOneAccount"

        with pytest.raises(ImproperlyConfigured, match=r"has no for_account\(\)"):
            add.apply_async((1, 2), account="eu")

    def test_loopback_signs_with_the_accounts_key(self, eu, loopback, db):
        note.apply_async(("by eu",), account="eu")

        assert [status for _, status in loopback.answers] == [200]


class OfOneAccount(Loopback):
    for_account = property()


class TestTheDoor:
    def test_the_default_accounts_keys_are_tried_first(self, eu, settings):
        keys = fence.keys_for("10.0.0.1", {})

        assert list(keys) == [
            settings.QSTASH_CURRENT_SIGNING_KEY,
            settings.QSTASH_NEXT_SIGNING_KEY,
            EU["current_signing_key"],
            EU["next_signing_key"],
        ]

    def test_an_account_that_is_misspelt_does_not_close_it_for_the_others(self, settings):
        settings.DJANGO_QSTASH_ACCOUNTS = {"us": {"token": "t"}, "eu": EU}

        keys = fence.keys_for("10.0.0.1", {})

        assert keys[0] == settings.QSTASH_CURRENT_SIGNING_KEY
        assert EU["current_signing_key"] in keys

    def test_keys_that_everybody_knows_close_it_for_themselves_alone(self, eu, settings):
        settings.QSTASH_CURRENT_SIGNING_KEY = conf.DEVELOPMENT_CURRENT_KEY
        settings.QSTASH_NEXT_SIGNING_KEY = conf.DEVELOPMENT_NEXT_KEY

        keys = fence.keys_for("203.0.113.7", {})

        assert list(keys) == [EU["current_signing_key"], EU["next_signing_key"]]
