"""A view of its own for a workflow: whoever may, starts a run with one request."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied

from django_qstash import serialization
from django_qstash.conf import settings
from django_qstash.exceptions import (
    IdempotencyConflict,
    ImproperlyConfigured,
    InputValidationError,
    PublishError,
)
from django_qstash.messages import derived_run
from django_qstash.transport.address import site_url
from django_qstash.webhook.spared import open_to_qstash

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from django_qstash.workflows.definition import Workflow

logger = logging.getLogger("django_qstash.webhook")


def serve(
    workflow: Any,
    *,
    initial_payload_parser: Callable[[str], Any] | None = None,
    authorize: Callable[[HttpRequest], bool] | None = None,
) -> Callable[..., HttpResponse]:
    """A Django view by which an HTTP client starts a run of ``workflow`` (or of that name).

    The body of the POST is the input: nothing, JSON, or else text; ``initial_payload_parser(text)``
    (also an option of the workflow) reads it in another way. The answer is ``{"workflowRunId"}``.
    The header ``Idempotency-Key``, and QStash's message id where QStash has signed, make a repeated
    request the same run.

    It is open to QStash alone, by its signature for this very address, unless
    ``authorize(request)`` is given and says yes. Raises ``TypeError`` for what is no function.

    Upstash Workflow: ``serve``.
    """
    for name, value in (
        ("initial_payload_parser", initial_payload_parser),
        ("authorize", authorize),
    ):
        if value is not None and not callable(value):
            raise TypeError(f"{name}={value!r} must be a function.")

    def view(request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
        from django.http.request import UnreadablePostError

        from django_qstash.workflows.definition import find_workflow

        found = find_workflow(workflow)
        if request.method != "POST":
            return _refused(405, "Start a run with POST.", Allow="POST")
        limit = settings.DJANGO_QSTASH_MAX_PAYLOAD_SIZE
        try:
            body = request.read(limit + 1)
        except UnreadablePostError:
            return _refused(400, "The body broke off.")
        if len(body) > limit:
            return _refused(413, f"The body is larger than {limit} bytes.")
        signed = False
        if not _is_authorized(authorize, request):
            refused = _check_signature(request, body)
            if refused is not None:
                return refused
            signed = True
        key = _idempotency_key(request, signed)
        parser = initial_payload_parser or found.initial_payload_parser
        return _start(found, parser, body, key)

    view.__name__ = f"serve_{getattr(workflow, '__name__', 'workflow')}"
    made: Callable[..., HttpResponse] = open_to_qstash(view)
    return made


def _is_authorized(authorize: Callable[[HttpRequest], bool] | None, request: HttpRequest) -> bool:
    if authorize is None:
        return False
    try:
        return bool(authorize(request))
    except PermissionDenied:
        return False


def _check_signature(request: HttpRequest, body: bytes) -> HttpResponse | None:
    from django_qstash.webhook import dispatch
    from django_qstash.webhook.views import plain

    try:
        # The configured address, never the Host that the request names.
        address = site_url(request.path)
    except ImproperlyConfigured as error:
        logger.error("%s", error)
        return _refused(401, "Not authorized.")
    reply = dispatch.check_signature(plain(request, body), address)
    return None if reply is None else _refused(reply.status, "Not authorized.", **reply.headers)


def _idempotency_key(request: HttpRequest, signed: bool) -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is None and signed:
        # QStash delivers at least once: the same message is the same run.
        key = request.headers.get("Upstash-Message-Id")
    return key or None


def _start(
    workflow: Workflow, parser: Callable[[str], Any] | None, body: bytes, key: str | None
) -> HttpResponse:
    try:
        data = _read(parser, body)
        run = workflow.trigger(data, **_once(key))
    except (TypeError, ValueError, InputValidationError) as error:
        return _refused(400, str(error))
    except IdempotencyConflict as error:
        return _refused(409, str(error))
    except PublishError as error:
        logger.warning("A run of %s could not be started: %s", workflow.name, error)
        return _refused(503, "The run could not be started; try again.", **{"Retry-After": "5"})
    return _answer({"workflowRunId": str(run)}, 200, {})


def _once(key: str | None) -> dict[str, Any]:
    """What makes a repeated request the same run, as far as that can be had."""
    from django_qstash.workflows import persistence

    if key is None or persistence.is_on():
        return {"idempotency_key": key}
    return {"run_id": derived_run(key, "serve")}


def _read(parser: Callable[[str], Any] | None, body: bytes) -> Any:
    """The input. Raises ``ValueError``."""
    text = body.decode("utf-8")
    if parser is not None:
        return parser(text)
    if not text.strip():
        return None
    try:
        return serialization.loads(text)
    except ValueError:
        return text


def _refused(status: int, said: str, **headers: str) -> HttpResponse:
    return _answer({"error": said}, status, headers)


def _answer(content: dict[str, str], status: int, headers: dict[str, str]) -> HttpResponse:
    # Django's responses bring its models along, which importing this package must not.
    from django.http import JsonResponse

    return JsonResponse(content, status=status, headers=headers)
