"""Letters over HTTP, by Upstash's SDK: the only file that imports it."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from django_qstash import clock
from django_qstash.conf import settings
from django_qstash.exceptions import ImproperlyConfigured, PublishError
from django_qstash.transport import accounts
from django_qstash.transport.address import is_loopback
from django_qstash.wire.envelope import Envelope, Receipt

if TYPE_CHECKING:
    from qstash import QStash

    from django_qstash.transport.accounts import Account

#: Seconds before a publish is tried again; doubled each time.
PAUSE = 0.1
#: What to look at when QStash answers with a status.
_HINTS = {
    400: "Check the address and the delivery options of the message.",
    401: "Check {token}, and that it belongs to this {url}.",
    404: "Check that {url} is the address of a QStash server, without a path.",
    412: "Check the limits of your QStash plan, in the Upstash console.",
    429: "Check the limits of your QStash plan, in the Upstash console.",
}
#: Characters of an answer that an error shows.
_SHOWN = 300

_making = threading.Lock()


def _renew_lock() -> None:
    # A thread that held it stayed behind in the parent and would never let go here.
    global _making
    _making = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


class HttpTransport:
    """Publishes to an account's ``url``. Connections are kept alive, and made anew after a fork."""

    def __init__(self, account: str = "") -> None:
        self._name = account
        self._made: tuple[tuple[Any, ...], QStash] | None = None
        self._others: dict[str, HttpTransport] = {}

    def for_account(self, name: str) -> HttpTransport:
        with _making:
            return self._others.setdefault(name, type(self)(name))

    @property
    def _account(self) -> Account:
        return accounts.find(self._name)

    def publish(self, envelope: Envelope) -> Receipt:
        kind = f"enqueue/{quote(envelope.queue, safe='')}" if envelope.queue else "publish"
        answer = self._send(
            "POST", f"/v2/{kind}/{envelope.url}", envelope.body, headers=envelope.headers()
        )
        receipt = self._receipt_or_error(self._decoded(answer))
        if isinstance(receipt, PublishError):
            raise receipt
        return receipt

    def batch(self, envelopes: Sequence[Envelope]) -> list[Receipt | PublishError]:
        if not envelopes:
            return []
        items = [
            {
                "destination": envelope.url,
                "headers": envelope.headers(),
                # Our letters are ASCII JSON, so their bytes travel as text unchanged.
                "body": envelope.body.decode("utf-8"),
                "queue": envelope.queue,
            }
            for envelope in envelopes
        ]
        answers = self._decoded(self._send("POST", "/v2/batch", _json(items), headers=_JSON))
        if not isinstance(answers, list) or len(answers) != len(items):
            raise PublishError(
                f"QStash at {self._account.url} answered a batch of {len(items)} messages with "
                f"something else than as many answers. Check that {self._account.called('url')} is "
                "the address of a QStash server; the messages may or may not have arrived."
            )
        return [self._receipt_or_error(answer) for answer in answers]

    def cancel(self, message_id: str) -> bool:
        try:
            self._send("DELETE", f"/v2/messages/{quote(message_id, safe='')}")
        except PublishError as error:
            if error.status == 404:
                return False
            raise
        return True

    def prepare_queue(self, name: str, parallelism: int) -> None:
        try:
            found = self.request("GET", f"/v2/queues/{quote(name, safe='')}")
        except PublishError as error:
            if error.status != 404:
                raise
            found = None
        known = found if isinstance(found, dict) else {}
        if known.get("parallelism") != parallelism:
            # An upsert replaces the whole queue, and must not let a paused one run.
            paused = bool(known.get("paused"))
            self.request(
                "POST",
                "/v2/queues",
                {"queueName": name, "parallelism": parallelism, "paused": paused},
            )

    def schedule(self, envelope: Envelope) -> str:
        answer = self._decoded(
            self._send(
                "POST", f"/v2/schedules/{envelope.url}", envelope.body, headers=envelope.headers()
            )
        )
        if isinstance(answer, dict) and answer.get("scheduleId"):
            return str(answer["scheduleId"])
        raise PublishError(
            f"{self._account.url} answered a schedule with no id: {_short(str(answer))}. "
            f"{_hint(404, self._account)}"
        )

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Any other call; ``None`` where QStash has nothing to say but that it was done."""
        if body is None:
            answer = self._send(method, path)
        else:
            answer = self._send(method, path, _json(body), headers=_JSON)
        # What is said after a success of these may be anything, "OK" among them.
        if method != "GET" and not answer.lstrip().startswith(("{", "[")):
            return None
        return self._decoded(answer)

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        for other in self._others.values():
            other.close()
        made, self._made = self._made, None
        if made is not None and made[0][0] == os.getpid():
            made[1].http._client.close()  # noqa: SLF001 - put there by _make_client

    def _send(
        self,
        method: Any,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> str:
        client = self._client()
        retries = settings.DJANGO_QSTASH_PUBLISH_RETRIES
        tried = 0
        while True:
            try:
                answer: str = client.http.request(
                    path=path, method=method, headers=headers, body=body, parse_response=False
                )
            except Exception as error:
                if tried >= retries or not _may_pass(error):
                    raise _translate(error, self._account) from error
            else:
                return answer
            clock.sleep(PAUSE * 2**tried)
            tried += 1

    def _decoded(self, answer: str) -> Any:
        try:
            return json.loads(answer) if answer else None
        except (ValueError, RecursionError):
            raise PublishError(
                f"{self._account.url} answered with something that is not JSON: {_short(answer)}. "
                f"{_hint(404, self._account)}"
            ) from None

    def _receipt_or_error(self, answer: Any) -> Receipt | PublishError:
        # A URL group answers with a list; our own address is never one, but a user's may be.
        if isinstance(answer, list) and answer:
            answer = answer[0]
        if isinstance(answer, dict) and answer.get("messageId"):
            return Receipt(
                message_id=str(answer["messageId"]), deduplicated=bool(answer.get("deduplicated"))
            )
        error = answer.get("error") if isinstance(answer, dict) else None
        reason = _short(str(error or answer or "it said nothing"))
        account = self._account
        return PublishError(
            f"QStash at {account.url} refused the message: {reason}. {_hint(400, account)}"
        )

    def _client(self) -> QStash:
        account = self._account
        key = (
            os.getpid(),
            account,
            settings.DJANGO_QSTASH_PUBLISH_TIMEOUT,
            settings.DJANGO_QSTASH_VERIFY_SSL,
        )
        made = self._made
        if made is None or made[0] != key:
            with _making:
                made = self._made
                if made is None or made[0] != key:
                    self.close()
                    made = self._made = (key, _make_client(*key[1:]))
        return made[1]


def _make_client(account: Account, timeout: float, verify_ssl: bool) -> QStash:
    token, url = account.token.strip(), account.url.strip()
    if not token:
        raise ImproperlyConfigured(
            "QSTASH_TOKEN is not set, so nothing can be published. Take it from the Upstash "
            "console, or run 'manage.py qstash_dev' and use the one it prints."
        )
    if not re.fullmatch(r"[!-~]+", token):
        # An HTTP library would quote it in its complaint.
        raise ImproperlyConfigured(f"{account.called('token')} holds characters that no token has.")
    host = _host(url, account)
    import httpx
    from qstash import QStash

    # Retries are made here, not by the SDK: it repeats what cannot pass, such as a time-out.
    client = QStash(token, retry=False, base_url=url)
    # The SDK takes no time-out (it waits ten minutes) and no way to trust a local certificate. Its
    # HTTP client is replaced here, and only here; a test fails when the SDK moves it.
    previous = client.http._client  # noqa: SLF001
    client.http._client = httpx.Client(  # noqa: SLF001
        timeout=httpx.Timeout(timeout),
        verify=verify_ssl,
        # A proxy that the environment names for the outer world cannot see this machine's inside.
        trust_env=not is_loopback(host),
    )
    previous.close()
    return client


def _host(url: str, account: Account) -> str:
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise ImproperlyConfigured(
            f"{account.called('url')}={url!r} is not an address such as https://qstash.upstash.io."
        )
    return host


_JSON = {"Content-Type": "application/json"}


def _json(value: Any) -> bytes:
    return json.dumps(value).encode("ascii")


def _may_pass(error: Exception) -> bool:
    """True for what may have passed by in a moment: a refused or broken connection.

    A time-out is not: whoever waited for it has waited long enough, and the message may have
    arrived. Sent twice, a letter is still one, by its deduplication id.
    """
    import httpx

    return isinstance(error, (httpx.NetworkError, httpx.RemoteProtocolError))


def _hint(status: int | None, account: Account) -> str:
    """What to look at when QStash answers with this status."""
    text = _HINTS.get(status or 0, "Check that {url} is right; it may work again shortly.")
    return text.format(token=account.called("token"), url=account.called("url"))


def _translate(error: Exception, account: Account) -> PublishError:
    """A PublishError that says which address, what happened and what to check."""
    import httpx
    from qstash.errors import DailyMessageLimitExceededError, QStashError, RateLimitExceededError

    url, setting = account.url, account.called("url")
    status = None
    if isinstance(error, (RateLimitExceededError, DailyMessageLimitExceededError)):
        status = 429
        text = f"QStash at {url} accepts no more messages for now: {error}. {_hint(429, account)}"
    elif isinstance(error, QStashError):
        status, reason = _status_and_reason(str(error))
        hint = _hint(status, account)
        text = f"QStash at {url} answered {status or 'with an error'}: {reason}. {hint}"
    elif isinstance(error, httpx.TimeoutException):
        text = (
            f"QStash at {url} did not answer within {settings.DJANGO_QSTASH_PUBLISH_TIMEOUT} s. "
            f"Check {setting} and the network; the message may or may not have arrived."
        )
    elif isinstance(error, httpx.NetworkError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        text = (
            f"The certificate of QStash at {url} is not trusted: {error}. Check {setting}; for a "
            "local server with a certificate of its own see DJANGO_QSTASH_VERIFY_SSL."
        )
    elif isinstance(error, (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError)):
        text = (
            f"QStash at {url} cannot be reached: {str(error) or type(error).__name__}. Check "
            f"{setting}; for local development start a server with 'manage.py qstash_dev'."
        )
    else:
        # Its words may quote the request, and with it the token.
        text = f"Calling QStash at {url} failed with {type(error).__name__}. Check {setting}."
    translated = PublishError(text)
    translated.status = status
    return translated


def _status_and_reason(text: str) -> tuple[int | None, str]:
    """What the SDK's error says: it has the status and the answer in its words only."""
    found = re.search(r"status: (\d+), body: (.*)", text, re.DOTALL)
    if found is None:
        return None, _short(text)
    answer = found[2]
    with suppress(ValueError, TypeError, KeyError, RecursionError):
        answer = json.loads(answer)["error"]
    return int(found[1]), _short(str(answer))


def _short(text: str) -> str:
    text = " ".join(text.split()).rstrip(".")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
