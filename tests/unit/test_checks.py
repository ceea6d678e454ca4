"""``manage.py check`` says what is wrong, under ids that stay."""

from __future__ import annotations

import pytest
from django.core import checks
from django.test import override_settings
from django.urls import path

from django_qstash import checks as ours  # noqa: F401 - registers them
from django_qstash import conf
from django_qstash.tasks.registry import Duplicate, tasks

urlpatterns = [path("elsewhere/", lambda request: None)]


def ids(**kwargs) -> set[str]:
    found = checks.run_checks(**kwargs)
    return {message.id for message in found if (message.id or "").startswith("django_qstash")}


def message(wanted: str, **kwargs):
    (found,) = [m for m in checks.run_checks(**kwargs) if m.id == wanted]
    return found


def test_a_site_that_is_set_up_has_nothing_to_hear():
    assert ids() == set()


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"QSTASH_TOKEN": ""}, {"django_qstash.W001"}),
        (
            {"QSTASH_CURRENT_SIGNING_KEY": "", "QSTASH_NEXT_SIGNING_KEY": ""},
            {"django_qstash.W002"},
        ),
        ({"QSTASH_NEXT_SIGNING_KEY": ""}, {"django_qstash.W003"}),
        ({"DJANGO_HOOKFLOW_DOMAIN": "https://x"}, {"django_qstash.W004"}),
        ({"DJANGO_HOOKFLOW_SHUTDOWN_TIMEOUT": 3}, {"django_qstash.W004"}),
        (
            {"DJANGO_QSTASH_DOMAIN": "http://x.example.com", "DJANGO_QSTASH_FORCE_HTTPS": False},
            {"django_qstash.W005"},
        ),
        ({"DJANGO_QSTASH_DOMAIN": ""}, {"django_qstash.W010"}),
        ({"USE_TZ": False}, {"django_qstash.E011"}),
        ({"DJANGO_QSTASH_DOMAIN": "ftp://x.example.com"}, {"django_qstash.E002"}),
        ({"DJANGO_QSTASH_WEBHOOK_PATH": "/elsewhere/"}, {"django_qstash.E003"}),
        ({"DJANGO_QSTASH_WEBHOOK_PATH": "qstash/"}, {"django_qstash.E002"}),
        ({"DJANGO_QSTASH_LEASE": "long"}, {"django_qstash.E001"}),
        ({"DJANGO_QSTASH_LEASE": 0}, {"django_qstash.E001"}),
        ({"DJANGO_QSTASH_VERIFY_SSL": 1}, {"django_qstash.E001"}),
        ({"DJANGO_QSTASH_BATCH_SIZE": 0}, {"django_qstash.E001"}),
        ({"DJANGO_QSTASH_WEBHOOK_RATE_LIMIT": "often"}, {"django_qstash.E001"}),
        ({"DJANGO_QSTASH_QUEUES": ["mail"]}, {"django_qstash.E001"}),
        ({"QSTASH_URL": "localhost:8585"}, {"django_qstash.E001"}),
        ({"DJANGO_QSTASH_PUBLISH_TIMEOUT": 0}, {"django_qstash.E001"}),
        ({"DJANGO_QSTASH_CLOCK_TOLERANCE": -1}, {"django_qstash.E001"}),
    ],
    ids=str,
)
def test_each_fault_has_its_id(changes, wanted):
    with override_settings(**changes):
        assert ids() == wanted


@pytest.mark.django_db
@pytest.mark.parametrize("name", [row.name for row in conf.table()])
def test_a_value_of_a_wrong_type_is_an_error_and_breaks_no_other_check(name):
    with override_settings(**{name: object()}):
        assert "django_qstash.E001" in ids(include_deployment_checks=True)


@pytest.fixture
def production(monkeypatch):
    """As outside of a test run, of which Django's list of mails is the mark."""
    monkeypatch.delattr("django.core.mail.outbox")


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, set()),
        ({"QSTASH_CURRENT_SIGNING_KEY": conf.DEVELOPMENT_CURRENT_KEY}, {"django_qstash.E005"}),
        ({"QSTASH_TOKEN": conf.DEVELOPMENT_TOKEN}, {"django_qstash.E005"}),
        ({"ALLOWED_HOSTS": ["other.example.com"]}, {"django_qstash.W014"}),
        ({"ALLOWED_HOSTS": [".example.com"]}, set()),
    ],
    ids=str,
)
def test_faults_of_production(production, changes, wanted):
    with override_settings(**changes):
        assert ids() == wanted


def test_development_credentials_do_not_stop_a_test_run():
    with override_settings(QSTASH_CURRENT_SIGNING_KEY=conf.DEVELOPMENT_CURRENT_KEY):
        assert ids() == set()


def test_the_hint_names_the_new_setting():
    with override_settings(DJANGO_HOOKFLOW_RATE_LIMIT="100/minute"):
        assert "DJANGO_QSTASH_WEBHOOK_RATE_LIMIT" in message("django_qstash.W004").hint


def test_a_path_that_leads_to_another_view_is_named():
    with override_settings(ROOT_URLCONF=__name__, DJANGO_QSTASH_WEBHOOK_PATH="/elsewhere/"):
        found = message("django_qstash.E003")

    assert "<lambda>" in found.msg
    assert 'include("django_qstash.urls")' in found.hint


def test_eager_sites_need_no_qstash():
    with override_settings(
        DJANGO_QSTASH_ALWAYS_EAGER=True,
        QSTASH_TOKEN="",
        QSTASH_CURRENT_SIGNING_KEY="",
        QSTASH_NEXT_SIGNING_KEY="",
        DJANGO_QSTASH_DOMAIN="",
    ):
        assert ids() == set()


def test_development_needs_no_configuration():
    with override_settings(
        DEBUG=True,
        QSTASH_TOKEN="",
        QSTASH_CURRENT_SIGNING_KEY="",
        QSTASH_NEXT_SIGNING_KEY="",
        DJANGO_QSTASH_DOMAIN="",
    ):
        assert ids() == set()


def test_one_name_for_two_functions_is_an_error():
    tasks.duplicates.append(Duplicate("a.b", "x.f (x.py:1)", "y.g (y.py:2)"))
    try:
        assert "y.g (y.py:2)" in message("django_qstash.E004").msg
    finally:
        tasks.duplicates.clear()


def test_secrets_are_not_printed():
    with override_settings(QSTASH_TOKEN=["s3cret"]):
        assert "s3cret" not in str(message("django_qstash.E001"))


@pytest.mark.django_db
class TestDeployment:
    def test_a_good_site_has_nothing_to_hear(self):
        assert ids(include_deployment_checks=True) == set()

    @pytest.mark.parametrize(
        ("changes", "wanted"),
        [
            ({"QSTASH_URL": "http://qstash.example.com"}, {"django_qstash.W007"}),
            ({"DJANGO_QSTASH_VERIFY_SSL": False}, {"django_qstash.W008"}),
            ({"DJANGO_QSTASH_ALWAYS_EAGER": True}, {"django_qstash.W009"}),
        ],
        ids=str,
    )
    def test_each_fault_has_its_id(self, changes, wanted):
        with override_settings(**changes):
            assert ids(include_deployment_checks=True) == wanted

    def test_connectivity_is_looked_at_when_asked_for(self):
        class Keys:
            answer = {"current": "sig_current", "next": "sig_other"}

        with override_settings(
            DJANGO_QSTASH_VALIDATE_CONNECTIVITY=True,
            DJANGO_QSTASH_TRANSPORT="tests.unit.test_checks.Rotated",
        ):
            assert ids(include_deployment_checks=True) == {"django_qstash.W011"}
        with override_settings(
            DJANGO_QSTASH_VALIDATE_CONNECTIVITY=True,
            DJANGO_QSTASH_TRANSPORT="tests.unit.test_checks.Foreign",
        ):
            assert ids(include_deployment_checks=True) == {"django_qstash.E007"}
        with override_settings(
            DJANGO_QSTASH_VALIDATE_CONNECTIVITY=True,
            DJANGO_QSTASH_TRANSPORT="tests.transports.Down",
        ):
            assert ids(include_deployment_checks=True) == {"django_qstash.E006"}


class Rotated:
    def request(self, method, path, body=None):
        from django.conf import settings

        return {"current": settings.QSTASH_NEXT_SIGNING_KEY, "next": "sig_new"}


class Foreign:
    def request(self, method, path, body=None):
        return {"current": "sig_a", "next": "sig_b"}


@pytest.mark.django_db
def test_a_connection_for_every_delivery_is_warned_of():
    from django.db import connection

    before = connection.settings_dict["CONN_MAX_AGE"]
    connection.settings_dict["CONN_MAX_AGE"] = 0
    try:
        wanted = set() if connection.vendor == "sqlite" else {"django_qstash.W006"}
        assert ids(databases=["default"]) == wanted
    finally:
        connection.settings_dict["CONN_MAX_AGE"] = before
