"""URL groups, under their old name of topics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_qstash.devserver.api import describe
from django_qstash.devserver.api.call import Call, Reply
from django_qstash.devserver.api.names import checked
from django_qstash.devserver.groups import Endpoint
from django_qstash.devserver.refusal import bad_request

if TYPE_CHECKING:
    from django_qstash.devserver.state import State


def listing(state: State, _call: Call) -> Reply:
    return Reply.of([describe.group(group) for group in state.groups.values()])


def get(state: State, call: Call) -> Reply:
    return Reply.of(describe.group(state.find_group(call.names[0])))


def delete(state: State, call: Call) -> Reply:
    state.delete_group(call.names[0])
    return Reply.done()


def add(state: State, call: Call) -> Reply:
    name = checked("url group", call.names[0])
    endpoints = []
    for value in _endpoints(call):
        url, endpoint_name = value.get("url"), value.get("name")
        if not isinstance(url, str) or not url:
            raise bad_request("each endpoint needs a url")
        endpoints.append(Endpoint(url, _name(endpoint_name)))
    state.add_endpoints(name, endpoints)
    return Reply.done()


def remove(state: State, call: Call) -> Reply:
    wanted: list[tuple[str | None, str | None]] = []
    for value in _endpoints(call):
        url = value.get("url")
        if url is not None and not isinstance(url, str):
            raise bad_request("url must be a text")
        name = _name(value.get("name"))
        if not url and not name:
            raise bad_request("each endpoint needs a url or a name")
        wanted.append((url, name))
    state.remove_endpoints(call.names[0], wanted)
    return Reply.done()


def configure(state: State, call: Call) -> Reply:
    """Set the default headers that the group's messages get."""
    headers = call.json_object().get("headers")
    if not isinstance(headers, dict):
        raise bad_request("headers must be an object of names and lists of texts")
    pairs = []
    for name, values in headers.items():
        texts = values if isinstance(values, list) else [values]
        for text in texts:
            if not isinstance(text, str) or not text.isprintable():
                raise bad_request(f"header {name}: each value must be a text of one line")
            pairs.append((_header_name(name), text))
    state.set_group_headers(checked("url group", call.names[0]), pairs)
    return Reply.done()


def _endpoints(call: Call) -> list[dict[str, Any]]:
    endpoints = call.json_object().get("endpoints")
    if not isinstance(endpoints, list) or not endpoints:
        raise bad_request("endpoints must be a list that is not empty")
    for endpoint in endpoints:
        if not isinstance(endpoint, dict):
            raise bad_request("each endpoint must be an object")
    return endpoints


def _name(value: Any) -> str | None:
    if value is None or value == "":
        return None
    return checked("endpoint", value)


def _header_name(name: str) -> str:
    if not name or not name.isascii() or any(char in name for char in ' \t\r\n:()<>@,;"/[]?={}\\'):
        raise bad_request(f"{name!r} is no name of a header")
    return name
