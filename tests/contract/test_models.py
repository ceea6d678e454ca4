"""``pydantic=True``: what models arguments become, and what is made of a result, as in Celery."""

from __future__ import annotations

import pydantic
import pytest

from django_qstash import ImproperlyConfigured, shared_task
from django_qstash.tasks.registry import tasks as registry

pytestmark = pytest.mark.django_db


class Page(pydantic.BaseModel):
    number: int
    words: list[str] = []


class Book(pydantic.BaseModel):
    title: str
    pages: int


def bind(page: Page, title: str = "untitled", other: Page | None = None) -> Book:
    assert isinstance(page, Page)
    return Book(title=f"{title} {type(other).__name__}", pages=page.number)


CALLS = [
    ((Page(number=2),), {}),
    (({"number": "3"},), {"title": "x"}),
    ((), {"page": {"number": 4, "words": ["a"]}, "other": Page(number=1)}),
    (({"number": 1}, "y", None), {}),
    (({"number": "no number"},), {}),
    (({},), {}),
]


@pytest.mark.parametrize("call", CALLS, ids=repr)
@pytest.mark.parametrize("options", [{}, {"pydantic_strict": True}], ids=["lax", "strict"])
def test_arguments_and_results(both, eager, call, options):
    def body(kit):
        task = kit.task(pydantic=True, **options)(bind)
        result = task.apply_async(*call)
        kit.rest()
        kit.aside(result.state, result.result if result.successful() else type(result.result))

    theirs, ours = both(body, eager=eager)
    assert ours.asides == theirs.asides


def test_of_a_bound_task(same):
    def body(kit):
        @kit.task(bind=True, pydantic=True, pydantic_dump_kwargs={"exclude": {"words"}})
        def copy(self, page: Page) -> Page:
            kit.note(type(page).__name__, self.request.retries)
            return page

        return copy.delay(Page(number=1))

    assert same(body).returned.value == {"number": 1}


def test_a_retry_keeps_the_plain_arguments(same):
    def body(kit):
        @kit.task(bind=True, pydantic=True)
        def again(self, page: Page) -> Page:
            if not self.request.retries:
                raise self.retry(countdown=0)
            return page

        return again.delay(Page(number=1))

    assert same(body).returned.value == {"number": 1, "words": []}


def test_the_context_names_the_task(our_engine):
    def told(kit):
        class Checked(pydantic.BaseModel):
            @pydantic.model_validator(mode="before")
            @classmethod
            def look(cls, data, info):
                kit.aside(info.context["celery_task_name"], info.context["mine"])
                return data

        def checked(it):
            return None

        checked.__annotations__ = {"it": Checked}
        return kit.task(pydantic=True, pydantic_context={"mine": 1})(checked).delay({})

    assert our_engine.run(told).asides == [["checked", 1]]


def test_an_async_body(our_engine):
    def body(kit):
        async def fetch(page: Page) -> Page:
            return Page(number=page.number + 1)

        return kit.task(pydantic=True)(fetch).delay(Page(number=1))

    assert our_engine.run(body).returned.value == {"number": 2, "words": []}


def test_without_pydantic_it_is_refused_at_once(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pydantic", None)
    with pytest.raises(ImproperlyConfigured, match="pip install pydantic"):
        shared_task(name="needs it", pydantic=True)(bind)
    assert "needs it" not in registry
