from django.conf import settings
from django.http import HttpRequest

from django_qstash.conf import settings as qstash


def links(request: HttpRequest) -> dict[str, str]:
    """The page of the QStash server, if it is one for development."""
    is_local = settings.DEBUG and qstash.QSTASH_URL.startswith("http://")
    return {"qstash_page": qstash.QSTASH_URL if is_local else ""}
