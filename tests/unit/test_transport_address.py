"""The public address of our own door is what QStash is told and what it signs."""

from __future__ import annotations

import httpx
import pytest
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from django_qstash import conf
from django_qstash.exceptions import ImproperlyConfigured
from django_qstash.transport.address import (
    PORT_VARIABLE,
    callback_url,
    development_port,
    domain,
    is_loopback,
    webhook_url,
)

PATH = "/qstash/webhook/"


def address(configured, *, force_https=True, path=PATH) -> str:
    with override_settings(
        DJANGO_QSTASH_DOMAIN=configured,
        DJANGO_QSTASH_FORCE_HTTPS=force_https,
        DJANGO_QSTASH_WEBHOOK_PATH=path,
    ):
        return webhook_url()


@pytest.fixture
def development(settings, monkeypatch):
    """DEBUG, and nothing of ours configured."""
    settings.DEBUG = True
    for name in ("DJANGO_QSTASH_DOMAIN", *(row.name for row in conf.table() if row.development)):
        setattr(settings, name, "")
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv(PORT_VARIABLE, raising=False)
    monkeypatch.setattr("sys.argv", ["manage.py", "shell"])
    return settings


class TestTheDomain:
    @pytest.mark.parametrize(
        ("configured", "origin"),
        [
            ("https://example.com", "https://example.com"),
            ("https://example.com/", "https://example.com"),
            ("https://example.com//", "https://example.com"),
            (" https://example.com ", "https://example.com"),
            ("HTTPS://example.com", "https://example.com"),
            ("https://Example.com", "https://Example.com"),
            ("https://example.com:8443", "https://example.com:8443"),
            ("https://example.com/shop/", "https://example.com/shop"),
            ("https://user:pass@example.com", "https://user:pass@example.com"),
            ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
            ("https://192.0.2.7", "https://192.0.2.7"),
            ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
            ("example.com", "https://example.com"),
            ("example.com:8443/shop", "https://example.com:8443/shop"),
            ("http://example.com", "https://example.com"),
            ("HTTP://example.com", "https://example.com"),
            ("http://example.com:8000", "https://example.com:8000"),
            ("http://192.168.1.5:8000", "https://192.168.1.5:8000"),
            ("http://host.docker.internal:8000", "https://host.docker.internal:8000"),
            ("http://localhost.example.com", "https://localhost.example.com"),
            ("http://localhost:8000", "http://localhost:8000"),
            ("http://LOCALHOST:8000", "http://LOCALHOST:8000"),
            ("http://shop.localhost", "http://shop.localhost"),
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
            ("http://127.9.9.9", "http://127.9.9.9"),
            ("http://[::1]:8001", "http://[::1]:8001"),
            ("https://localhost", "https://localhost"),
            ("localhost:8000", "http://localhost:8000"),
            ("[::1]:8001", "http://[::1]:8001"),
            ("127.0.0.1", "http://127.0.0.1"),
        ],
    )
    def test_it_is_made_an_origin_of_https_but_for_loopback(self, configured, origin):
        assert address(configured) == origin + PATH

    @pytest.mark.parametrize(
        ("configured", "origin"),
        [
            ("http://example.com", "http://example.com"),
            ("http://host.docker.internal:8000", "http://host.docker.internal:8000"),
            ("https://example.com", "https://example.com"),
            ("example.com", "https://example.com"),
        ],
    )
    def test_http_stays_where_https_is_not_forced(self, configured, origin):
        assert address(configured, force_https=False) == origin + PATH

    @pytest.mark.parametrize(
        "configured",
        [
            "ftp://example.com",
            "ws://example.com",
            "https://",
            "https:///shop",
            "https://:8000",
            "https://example.com:0",
            "https://example.com:99999",
            "https://example.com:eight",
            "https://example.com:",
            "http:example.com",
            "//example.com",
            "/shop",
            "https://example.com?x=1",
            "https://example.com#x",
            "https://exa mple.com",
            "https://example.com/a b",
            "https://bücher.example",
            "https://example.com/é",
            "https://example.com/100%",
            "https://.",
            "https://example.com/..",
            "https://example.com/./shop",
            "https://example.com\\evil",
            "https://[::1",
            "[::1",
            "::1",
            "https://example.com/\x00",
            "https://a.example, https://b.example",
        ],
    )
    def test_what_is_no_address_is_refused_with_one_clear_sentence(self, configured):
        with pytest.raises(ImproperlyConfigured) as raised:
            address(configured)

        said = str(raised.value)
        assert said.startswith(f"DJANGO_QSTASH_DOMAIN={configured!r}")
        assert said.endswith(".")
        assert "\n" not in said

    def test_without_one_it_says_what_to_write(self):
        with pytest.raises(
            ImproperlyConfigured, match="DJANGO_QSTASH_DOMAIN is not set: .* such as"
        ):
            address("")

    @given(st.text(max_size=30))
    def test_any_text_is_an_address_or_a_clear_error(self, configured):
        try:
            made = address(configured)
        except ImproperlyConfigured as error:
            assert str(error).startswith("DJANGO_QSTASH_DOMAIN")  # noqa: PT017
        else:
            assert httpx.URL(made).scheme in ("http", "https")

    @given(
        st.sampled_from(["https://", "http://", ""]),
        st.from_regex(r"\A[A-Za-z0-9._~:@!$&'()*+,;=-]{1,15}\Z"),
        st.from_regex(r"\A(/[A-Za-z0-9._~:@!$&'()*+,;=%-]{0,5}){0,3}\Z"),
    )
    def test_an_address_reaches_qstash_as_it_is(self, scheme, host, path):
        """QStash signs what it was told, so no client on the way may write it otherwise."""
        try:
            made = address(scheme + host + path)
        except ImproperlyConfigured:
            return

        target = httpx.URL(f"http://127.0.0.1:8585/v2/publish/{made}").raw_path

        assert target == f"/v2/publish/{made}".encode()


class TestThePath:
    @pytest.mark.parametrize("path", ["/", "/q", "/q/", "/a/b-c_d.e~f/", "/QStash/"])
    def test_it_stands_after_the_domain(self, path):
        assert address("https://example.com/shop/", path=path) == f"https://example.com/shop{path}"

    @pytest.mark.parametrize(
        "path", ["q/", "https://x/", "/é/", "/a b/", "/q?x", "/q#x", "/%41", "/\n", "/../", "/a/."]
    )
    def test_one_that_clients_would_write_otherwise_is_refused(self, path):
        with pytest.raises(ImproperlyConfigured) as raised:
            address("https://example.com", path=path)

        assert str(raised.value).startswith(f"DJANGO_QSTASH_WEBHOOK_PATH={path!r} must begin with")

    def test_a_callbacks_purpose_is_part_of_its_address(self):
        assert (
            callback_url("given-up") == "https://shop.example.com/qstash/webhook/?callback=given-up"
        )


class TestLoopback:
    @pytest.mark.parametrize(
        "host",
        [
            "localhost",
            "LocalHost",
            "localhost.",
            "a.localhost",
            "127.0.0.1",
            "127.255.255.254",
            "::1",
            "[::1]",
            "0:0:0:0:0:0:0:1",
            "::ffff:127.0.0.1",
            "::1%lo",
        ],
    )
    def test_this_machine_is(self, host):
        assert is_loopback(host)

    @pytest.mark.parametrize(
        "host",
        [
            "",
            "example.com",
            "localhost.example.com",
            "notlocalhost",
            "0.0.0.0",
            "::",
            "10.0.0.1",
            "192.168.1.1",
            "128.0.0.1",
            "127.0.0.1.example.com",
            "127.1",
            "2130706433",
            "::ffff:10.0.0.1",
            "fe80::1",
            "127.0.0.1, 10.0.0.1",
            "unix:/run/x",
        ],
    )
    def test_nothing_else_is(self, host):
        assert not is_loopback(host)


class TestInDevelopment:
    def test_runserver_is_at_its_usual_address(self, development):
        assert domain() == "http://127.0.0.1:8000"
        assert webhook_url() == "http://127.0.0.1:8000/qstash/webhook/"

    @pytest.mark.parametrize(
        ("words", "origin"),
        [
            ("9000", "http://127.0.0.1:9000"),
            ("0.0.0.0:9000", "http://127.0.0.1:9000"),
            ("localhost:9000", "http://127.0.0.1:9000"),
            ("[::1]:9000", "http://[::1]:9000"),
            ("-6 9000", "http://[::1]:9000"),
        ],
    )
    def test_runserver_knows_where_it_serves(self, development, monkeypatch, words, origin):
        monkeypatch.setattr("sys.argv", ["manage.py", "runserver", *words.split()])

        assert domain() == origin
        assert webhook_url() == origin + PATH

    @pytest.mark.parametrize(
        ("told", "port"), [("9000", 9000), ("", 8000), ("x", 8000), ("-1", 8000)]
    )
    def test_what_runserver_started_is_told(self, development, monkeypatch, told, port):
        monkeypatch.setenv(PORT_VARIABLE, told)

        assert development_port() == port

    def test_a_domain_that_is_set_wins(self, development):
        development.DJANGO_QSTASH_DOMAIN = "https://tunnel.example"

        assert domain() == "https://tunnel.example"

    def test_outside_debug_there_is_none(self, development):
        development.DEBUG = False

        assert domain() == ""
        with pytest.raises(ImproperlyConfigured):
            webhook_url()

    def test_with_an_account_of_ones_own_there_is_none(self, development):
        """A hosted QStash cannot reach this machine."""
        development.QSTASH_TOKEN = "a token"

        assert domain() == ""
