"""Celery's ways of naming a thing by its path."""

from __future__ import annotations

import collections

import pytest

from django_qstash import Celery
from django_qstash.application import imports


@pytest.mark.parametrize(
    "name", ["collections.OrderedDict", "collections:OrderedDict", collections.OrderedDict]
)
def test_a_thing_by_its_path(name):
    assert imports.symbol_by_name(name) is collections.OrderedDict


def test_a_module_and_an_alias():
    assert imports.symbol_by_name("collections:") is collections
    assert imports.symbol_by_name("ordered", {"ordered": "collections:OrderedDict"}) is (
        collections.OrderedDict
    )


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("no.such.thing", ImportError),
        ("no.such:thing", ImportError),
        ("collections:Thing", AttributeError),
    ],
)
def test_one_that_is_not_there(name, error):
    with pytest.raises(error):
        imports.symbol_by_name(name)
    assert imports.symbol_by_name(name, default=7) == 7


def test_instances_and_paths():
    assert imports.instantiate("collections:Counter", "aab")["a"] == 2
    assert imports.qualname(collections.OrderedDict) == "collections.OrderedDict"
    assert imports.qualname(collections.Counter()) == "collections.Counter"
    assert imports.gen_task_name(Celery("proj"), "f", "a.b") == "a.b.f"
    assert imports.gen_task_name(Celery("proj"), "f", None) == "proj.f"
