"""Every setting is read at use, from the nearest place that has it, and checked there."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Mapping

import pytest
from django.conf import settings as django_settings
from django.test import override_settings

from django_qstash import conf
from django_qstash.conf import runserver_address
from django_qstash.exceptions import ImproperlyConfigured

ROWS = {row.name: row for row in conf.table()}
CREDENTIALS = [row.name for row in conf.table() if row.development is not None]

#: By kind: what each accepts in Django settings, what it refuses, how the environment says it.
GOOD = {
    "str": ["x"],
    "str | None": ["x"],
    "bool": [True, False],
    "int": [7, 0],
    "float": [7, 0.5],
    "Sequence[str] | None": [["a"], ("a", "b"), {"a"}, []],
    "Mapping[str, Any]": [{"a": 1}, {}],
}
BAD = {
    "str": [7, b"x", True, ["x"]],
    "str | None": [7, b"x", False],
    "bool": [1, 0, "yes"],
    "int": [True, 7.5, "7", float("nan")],
    "float": [False, "7", float("inf"), float("-inf"), float("nan")],
    "Sequence[str] | None": ["a,b", 7],
    "Mapping[str, Any]": [["a"], "a"],
}
WRITTEN = {
    "str": [("x", "x"), (" x ", " x ")],
    "str | None": [("10/s", "10/s")],
    "bool": [
        *((word, True) for word in ("1", "true", "True", "YES", "on", "t", "y", " true ")),
        *((word, False) for word in ("0", "false", "False", "NO", "off", "f", "n")),
    ],
    "int": [("7", 7), (" 7 ", 7), ("-1", -1)],
    "float": [("7", 7), ("0.5", 0.5), ("1e3", 1000)],
    "Sequence[str] | None": [("a", ["a"]), (" a , b,,", ["a", "b"])],
    "Mapping[str, Any]": [('{"a": 1}', {"a": 1})],
}
MISWRITTEN = {
    "bool": ["maybe", "2", " "],
    "int": ["seven", "7.5", "1e3"],
    "float": ["seven", "nan", "inf"],
    "Mapping[str, Any]": ["{", '["a"]', "mail", "7"],
}


def each(table):
    return [
        pytest.param(row.name, value, id=f"{row.name}={value!r}")
        for row in conf.table()
        for value in table.get(row.kind, [])
    ]


@pytest.fixture
def bare(settings, monkeypatch):
    """A project that says nothing about QStash, in its settings or in the environment."""
    for name in ROWS:
        monkeypatch.delenv(name, raising=False)
        if hasattr(django_settings, name):
            delattr(settings, name)
    # Nor in a Celery object that another test has made.
    monkeypatch.setattr(conf, "celery", None)
    return settings


def run(code: str, **environment: str) -> str:
    """What a new Python process prints that runs ``code`` with no settings of ours around it."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class TestTheTable:
    @pytest.mark.parametrize("name", ROWS)
    def test_each_setting_has_a_meaning_and_a_default_of_its_own_type(self, name):
        row = ROWS[name]

        assert row.doc.endswith(".")
        assert row.check(row.default) is None
        assert row.development is None or row.check(row.development) is None

    def test_the_credentials_are_secret(self):
        assert {name for name, row in ROWS.items() if row.secret} == {
            "QSTASH_TOKEN",
            "QSTASH_CURRENT_SIGNING_KEY",
            "QSTASH_NEXT_SIGNING_KEY",
        }

    def test_every_name_of_hookflow_leads_to_a_setting_or_is_gone(self):
        assert {new for new in conf.HOOKFLOW_NAMES.values() if new} <= ROWS.keys()

    def test_a_name_that_is_no_setting_is_an_attribute_error(self):
        with pytest.raises(AttributeError):
            _ = conf.settings.DJANGO_QSTASH_NOTHING


class TestDjangoSettings:
    @pytest.mark.parametrize("name", ROWS)
    def test_without_a_word_the_default_is_in_force(self, bare, name):
        assert getattr(conf.settings, name) == ROWS[name].default
        assert conf.find(ROWS[name])[1] == "default"

    @pytest.mark.parametrize(("name", "value"), each(GOOD))
    def test_a_value_of_the_right_type_is_in_force(self, bare, name, value):
        setattr(bare, name, value)

        assert getattr(conf.settings, name) == value

    @pytest.mark.parametrize(("name", "value"), each(BAD))
    def test_a_value_of_another_type_is_refused_by_name(self, bare, name, value):
        setattr(bare, name, value)

        with pytest.raises(ImproperlyConfigured, match=f"^{name} must be "):
            getattr(conf.settings, name)

    @pytest.mark.parametrize("name", ROWS)
    @pytest.mark.parametrize("nothing", [None, ""])
    def test_none_and_the_empty_text_are_no_value(self, bare, name, nothing):
        setattr(bare, name, nothing)

        assert getattr(conf.settings, name) == ROWS[name].default
        assert not conf.is_set(name)

    @pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.secret])
    def test_a_message_shows_no_secret(self, bare, name):
        setattr(bare, name, ["s3cret"])

        with pytest.raises(ImproperlyConfigured) as raised:
            getattr(conf.settings, name)

        assert "s3cret" not in str(raised.value)
        assert "a value of type list" in str(raised.value)

    def test_a_message_shows_no_token_of_another_account(self, bare, monkeypatch):
        bare.DJANGO_QSTASH_ACCOUNTS = [{"token": "s3cret"}]
        with pytest.raises(ImproperlyConfigured, match="of type list") as in_settings:
            _ = conf.settings.DJANGO_QSTASH_ACCOUNTS

        del bare.DJANGO_QSTASH_ACCOUNTS
        monkeypatch.setenv("DJANGO_QSTASH_ACCOUNTS", '{"token": "s3cret"')
        with pytest.raises(ImproperlyConfigured, match="of type str") as in_environment:
            _ = conf.settings.DJANGO_QSTASH_ACCOUNTS

        assert "s3cret" not in str(in_settings.value) + str(in_environment.value)

    def test_an_override_holds_for_its_block_and_nests(self, bare):
        with override_settings(DJANGO_QSTASH_LEASE=7):
            with override_settings(DJANGO_QSTASH_BATCH_SIZE=3):
                assert conf.settings.DJANGO_QSTASH_LEASE == 7
                assert conf.settings.DJANGO_QSTASH_BATCH_SIZE == 3
            assert conf.settings.DJANGO_QSTASH_BATCH_SIZE == 100
        assert conf.settings.DJANGO_QSTASH_LEASE == 60

    def test_a_setting_deleted_in_a_test_is_gone_and_may_come_back(self, settings):
        with override_settings(DJANGO_QSTASH_DOMAIN="https://a.example"):
            del django_settings.DJANGO_QSTASH_DOMAIN
            assert conf.settings.DJANGO_QSTASH_DOMAIN == ""

            django_settings.DJANGO_QSTASH_DOMAIN = "https://b.example"
            assert conf.settings.DJANGO_QSTASH_DOMAIN == "https://b.example"

    def test_a_setting_of_the_module_beneath_an_override_is_found(self):
        with override_settings(DJANGO_QSTASH_LEASE=7):
            assert conf.settings.DJANGO_QSTASH_DOMAIN == django_settings.DJANGO_QSTASH_DOMAIN

    def test_a_holder_of_another_package_is_asked_in_its_own_way(self, bare):
        class Dynamic:
            def __init__(self, beneath):
                self.beneath = beneath

            def __getattr__(self, name):
                if name == "DJANGO_QSTASH_LEASE":
                    return 7
                return getattr(self.beneath, name)

        holder = django_settings._wrapped
        django_settings._wrapped = Dynamic(holder)
        try:
            assert conf.settings.DJANGO_QSTASH_LEASE == 7
            assert conf.settings.DJANGO_QSTASH_BATCH_SIZE == 100
        finally:
            django_settings._wrapped = holder


class TestTheEnvironment:
    @pytest.mark.parametrize(
        ("name", "text", "value"),
        [
            pytest.param(row.name, *case, id=f"{row.name}={case[0]!r}")
            for row in conf.table()
            for case in WRITTEN[row.kind]
        ],
    )
    def test_a_variable_is_read_as_its_type(self, bare, monkeypatch, name, text, value):
        monkeypatch.setenv(name, text)

        found = getattr(conf.settings, name)

        assert found == value
        assert type(found) is type(value)
        assert conf.find(ROWS[name]) == (text, "environment")

    @pytest.mark.parametrize(("name", "text"), each(MISWRITTEN))
    def test_a_variable_of_another_type_is_refused_by_name(self, bare, monkeypatch, name, text):
        monkeypatch.setenv(name, text)

        with pytest.raises(ImproperlyConfigured, match=f"^{name} "):
            getattr(conf.settings, name)

    @pytest.mark.parametrize("name", ROWS)
    def test_an_empty_variable_is_no_value(self, bare, monkeypatch, name):
        monkeypatch.setenv(name, "")

        assert getattr(conf.settings, name) == ROWS[name].default

    def test_django_settings_come_first(self, bare, monkeypatch):
        monkeypatch.setenv("DJANGO_QSTASH_LEASE", "5")
        assert conf.settings.DJANGO_QSTASH_LEASE == 5

        bare.DJANGO_QSTASH_LEASE = 6
        assert conf.settings.DJANGO_QSTASH_LEASE == 6

    def test_the_environment_counts_where_the_project_reads_it_itself_and_finds_nothing(
        self, bare, monkeypatch
    ):
        bare.QSTASH_TOKEN = ""
        monkeypatch.setenv("QSTASH_TOKEN", "from the environment")

        assert conf.settings.QSTASH_TOKEN == "from the environment"

    def test_a_mapping_is_a_mapping_however_it_came(self, bare, monkeypatch):
        monkeypatch.setenv("DJANGO_QSTASH_QUEUES", json.dumps({"mail": {"parallelism": 2}}))

        assert isinstance(conf.settings.DJANGO_QSTASH_QUEUES, Mapping)


class TestWithoutDjangoSettings:
    def test_defaults_and_the_environment_are_in_force(self):
        printed = run(
            """
            from django_qstash.conf import settings
            print(settings.DJANGO_QSTASH_LEASE, settings.DJANGO_QSTASH_BATCH_SIZE)
            print(repr(settings.QSTASH_TOKEN), settings.QSTASH_URL)
            """,
            DJANGO_QSTASH_BATCH_SIZE="7",
        )

        assert printed == "60 7\n'' https://qstash.upstash.io"

    def test_an_empty_settings_module_is_none(self):
        printed = run(
            "from django_qstash.conf import settings; print(settings.DJANGO_QSTASH_LEASE)",
            DJANGO_SETTINGS_MODULE="",
        )

        assert printed == "60"

    def test_settings_configured_by_hand_are_read(self):
        printed = run(
            """
            from django.conf import settings as django_settings
            from django_qstash.conf import development_defaults, settings
            assert not development_defaults()
            django_settings.configure(DJANGO_QSTASH_LEASE=7, DEBUG=True)
            assert development_defaults()
            print(settings.DJANGO_QSTASH_LEASE, settings.DJANGO_QSTASH_BATCH_SIZE)
            """
        )

        assert printed == "7 100"

    def test_a_settings_module_is_loaded_at_first_use(self, tmp_path):
        (tmp_path / "somebodys.py").write_text("DJANGO_QSTASH_LEASE = 7\nUSE_TZ = True\n")

        printed = run(
            """
            from django_qstash.conf import settings
            from django.conf import settings as django_settings
            assert not django_settings.configured
            print(settings.DJANGO_QSTASH_LEASE)
            assert django_settings.configured
            """,
            DJANGO_SETTINGS_MODULE="somebodys",
            PYTHONPATH=str(tmp_path),
        )

        assert printed == "7"


class TestDevelopmentDefaults:
    def test_they_apply_in_debug_when_nothing_is_set(self, bare):
        bare.DEBUG = True

        assert conf.development_defaults()
        assert conf.settings.QSTASH_URL == conf.DEVELOPMENT_URL
        assert conf.settings.QSTASH_TOKEN == conf.DEVELOPMENT_TOKEN
        assert conf.settings.QSTASH_CURRENT_SIGNING_KEY == conf.DEVELOPMENT_CURRENT_KEY
        assert conf.settings.QSTASH_NEXT_SIGNING_KEY == conf.DEVELOPMENT_NEXT_KEY
        assert conf.find(ROWS["QSTASH_URL"])[1] == "development"

    @pytest.mark.parametrize(
        ("told", "url"), [("", "http://127.0.0.1:8585"), ("9595", "http://127.0.0.1:9595")]
    )
    def test_their_server_is_at_its_usual_port_or_where_the_environment_moves_it(self, told, url):
        code = "from django_qstash.conf import DEVELOPMENT_URL; print(DEVELOPMENT_URL)"

        assert run(code, QSTASH_DEV_PORT=told) == url

    @pytest.mark.parametrize("debug", [False, None, "True", 1])
    def test_they_never_apply_outside_debug(self, bare, debug):
        bare.DEBUG = debug

        assert not conf.development_defaults()
        assert conf.settings.QSTASH_TOKEN == ""

    @pytest.mark.parametrize("name", CREDENTIALS)
    def test_one_that_is_set_turns_all_of_them_off(self, bare, name):
        bare.DEBUG = True
        setattr(bare, name, "something")

        assert not conf.development_defaults()
        for other in set(CREDENTIALS) - {name}:
            assert getattr(conf.settings, other) == ROWS[other].default

    @pytest.mark.parametrize("name", CREDENTIALS)
    def test_one_in_the_environment_does_so_too(self, bare, monkeypatch, name):
        bare.DEBUG = True
        monkeypatch.setenv(name, "something")

        assert not conf.development_defaults()

    @pytest.mark.parametrize("nothing", ["", None])
    def test_they_apply_where_the_project_reads_an_environment_that_says_nothing(
        self, bare, monkeypatch, nothing
    ):
        bare.DEBUG = True
        for name in CREDENTIALS:
            setattr(bare, name, nothing)
            monkeypatch.setenv(name, "")

        assert conf.settings.QSTASH_TOKEN == conf.DEVELOPMENT_TOKEN

    def test_a_domain_or_any_other_setting_leaves_them_on(self, bare):
        bare.DEBUG = True
        bare.DJANGO_QSTASH_DOMAIN = "https://tunnel.example.com"
        bare.DJANGO_QSTASH_LEASE = 5

        assert conf.development_defaults()


class TestRunserverAddress:
    @pytest.mark.parametrize(
        ("words", "address"),
        [
            ("", "127.0.0.1:8000"),
            ("9000", "127.0.0.1:9000"),
            ("0.0.0.0:9000", "0.0.0.0:9000"),
            ("0:9000", "0:9000"),
            ("localhost:9000", "localhost:9000"),
            ("my-mac.local:9000", "my-mac.local:9000"),
            ("[::1]:8001", "[::1]:8001"),
            ("-6", "[::1]:8000"),
            ("--ipv6 9000", "[::1]:9000"),
            ("--noreload 9000", "127.0.0.1:9000"),
            ("9000 --noreload", "127.0.0.1:9000"),
            ("--settings x 9000", "127.0.0.1:9000"),
            ("--settings 7.x", "127.0.0.1:8000"),
            ("--settings=x", "127.0.0.1:8000"),
            ("--settings=x 9000", "127.0.0.1:9000"),
            ("-v 2", "127.0.0.1:8000"),
            ("-v2", "127.0.0.1:8000"),
            ("--verbosity 2 9000", "127.0.0.1:9000"),
            ("--verbosity=2", "127.0.0.1:8000"),
            ("--pythonpath /a:1 --nothreading 9000", "127.0.0.1:9000"),
            ("--cert-file x.pem 9000", "127.0.0.1:9000"),
            ("--insecure -v", "127.0.0.1:8000"),
        ],
    )
    def test_it_is_what_runserver_serves(self, words, address):
        assert runserver_address(["manage.py", "runserver", *words.split()]) == address

    @pytest.mark.parametrize(
        "words",
        ["", "shell", "migrate 9000", "help runserver", "test runserver", "--settings=x runserver"],
    )
    def test_other_commands_serve_nowhere(self, words):
        assert runserver_address(["manage.py", *words.split()]) is None

    @pytest.mark.parametrize("words", ["--help", "-h", "9000 --help", "--version"])
    def test_asking_for_help_serves_nowhere(self, words):
        assert runserver_address(["manage.py", "runserver", *words.split()]) is None

    @pytest.mark.parametrize("argv", [[], ["manage.py"], [""]])
    def test_a_process_without_a_command_serves_nowhere(self, argv):
        assert runserver_address(argv) is None

    def test_this_process_is_no_runserver(self):
        assert runserver_address() is None
