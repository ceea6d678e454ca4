"""Django's side of the door: an HttpRequest in, an HttpResponse out, and no logic."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.http.request import UnreadablePostError

from django_qstash.webhook import dispatch, shutdown
from django_qstash.webhook.spared import open_to_qstash
from django_qstash.wire.delivery import Reply

_HEADERS = {
    "HTTP_UPSTASH_SIGNATURE": "upstash-signature",
    "HTTP_UPSTASH_MESSAGE_ID": "upstash-message-id",
    "HTTP_UPSTASH_RETRIED": "upstash-retried",
    "HTTP_UPSTASH_SCHEDULE_ID": "upstash-schedule-id",
    "HTTP_X_FORWARDED_FOR": "x-forwarded-for",
    "HTTP_FORWARDED": "forwarded",
    "HTTP_X_REAL_IP": "x-real-ip",
}


@open_to_qstash
def qstash_webhook_view(request: HttpRequest) -> HttpResponse:
    """Where QStash delivers. Mount it with ``include("django_qstash.urls")``."""
    if request.method != "POST":
        return _response(
            Reply.refused(405, "wrong method", "QStash delivers with POST", Allow="POST")
        )
    if not shutdown.accepting():
        stopping = Reply.again("this process is shutting down", after=1)
        return _response(stopping.patiently(dispatch.retried(plain(request, b"").headers)))
    try:
        # Read here rather than through request.body, which Django limits by
        # DATA_UPLOAD_MAX_MEMORY_SIZE before our own limit is asked.
        body = request.read(dispatch.largest_body(request.META.get("QUERY_STRING", "")) + 1)
    except UnreadablePostError:
        return _response(Reply.refused(400, "unreadable", "the body broke off"))
    return _response(dispatch.answer(plain(request, body)))


def plain(request: HttpRequest, body: bytes) -> dispatch.Request:
    """A request as plain values."""
    meta = request.META
    return dispatch.Request(
        body=body,
        content_type=meta.get("CONTENT_TYPE", ""),
        query=meta.get("QUERY_STRING", ""),
        headers={name: meta[key] for key, name in _HEADERS.items() if key in meta},
        peer=meta.get("REMOTE_ADDR", ""),
    )


def _response(reply: Reply) -> HttpResponse:
    return HttpResponse(
        reply.body,
        status=reply.status,
        reason="Failed For Good" if reply.status == 489 else None,
        content_type="application/json",
        headers=dict(reply.headers),
    )
