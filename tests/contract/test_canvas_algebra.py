"""``|``, constructors and methods make the very same canvases that Celery's make."""

from __future__ import annotations

import json

import celery.canvas
import pytest
from hypothesis import HealthCheck, assume, given, reject, settings
from hypothesis import strategies as st

from django_qstash import serialization
from django_qstash.tasks import canvas
from tests import soak
from tests.canvases.recipes import built, canvases, tasks

pytestmark = pytest.mark.soak

EXAMPLES = 250
leaves = tasks("abcd")


@pytest.fixture(scope="module", autouse=True)
def celery_app():
    """Celery's canvases ask the current app now and then."""
    app = celery.Celery("algebra", fixups=[], broker="memory://", backend="cache+memory://")
    previous = celery._state.get_current_app() if celery._state._tls.current_app else None
    app.set_current()
    yield
    celery._state._set_current_app(previous)


def plain(sig) -> object:
    """A canvas as JSON has it, without what Celery itself does not keep."""
    return _same_shape(json.loads(json.dumps(sig, default=list)))


def _same_shape(value):
    if isinstance(value, list):
        return [_same_shape(each) for each in value]
    if not isinstance(value, dict):
        return value
    value = {name: _same_shape(each) for name, each in value.items()}
    for name in ("link", "link_error"):
        if isinstance(value.get(name), list):
            # Celery has a link twice that was linked again after JSON made its tuples lists.
            links = value[name]
            value[name] = [each for i, each in enumerate(links) if each not in links[:i]]
    if value.get("subtask_type") in {"chain", "group", "chord"}:
        # Celery loses it in every copy.
        value.pop("immutable")
    return value


properties = settings(
    max_examples=EXAMPLES * soak.FACTOR,
    # Every ordinary run tries the same sample.
    derandomize=soak.FACTOR == 1,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@properties
@given(canvases(leaves))
def test_operators_and_constructors(recipe):
    assert plain(built(canvas, recipe)) == plain(built(celery.canvas, recipe))


numbers = st.lists(st.integers(0, 9), min_size=1, max_size=2)
#: What is done to a canvas: the method's name and what it is given.
changes = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["link", "link_error", "on_error"]), leaves),
        st.tuples(st.just("set_immutable"), st.booleans()),
        st.tuples(st.just("set"), st.sampled_from([{"countdown": 3}, {"queue": "q", "x": 1}])),
        st.tuples(st.sampled_from(["clone", "from_dict", "signature", "maybe"]), st.none()),
        st.tuples(st.sampled_from(["partial", "replace"]), numbers),
        st.tuples(st.just("skew"), st.sampled_from([1, 2.5])),
    ),
    max_size=4,
)


def through_json(sig):
    return json.loads(json.dumps(sig, default=list))


def linked(library, sig, name, recipe):
    getattr(sig, name)(built(library, recipe))
    return sig


#: What each change does; the last three are for a plain task, or for a group.
CHANGES = {
    "link": lambda lib, sig, given_: linked(lib, sig, "link", given_),
    "link_error": lambda lib, sig, given_: linked(lib, sig, "link_error", given_),
    "on_error": lambda lib, sig, given_: sig.on_error(built(lib, given_)),
    "set_immutable": lambda lib, sig, given_: sig.set(immutable=given_),
    "set": lambda lib, sig, given_: sig.set(**given_),
    "clone": lambda lib, sig, _: sig.clone(),
    "from_dict": lambda lib, sig, _: lib.Signature.from_dict(through_json(sig)),
    "signature": lambda lib, sig, _: lib.signature(sig),
    "maybe": lambda lib, sig, _: lib.maybe_signature(through_json(sig)),
    "partial": lambda lib, sig, given_: sig.partial(tuple(given_), {"k": 1}, queue="other"),
    "replace": lambda lib, sig, given_: sig.replace(args=tuple(given_), options={"x": 1}),
    "skew": lambda lib, sig, given_: sig.skew(given_, stop=4),
}
ONLY = {"partial": None, "replace": None, "skew": "group"}


def changed(library, sig, what):
    for name, given_ in what:
        if name not in ONLY or sig["subtask_type"] == ONLY[name]:
            sig = CHANGES[name](library, sig, given_)
    return sig


def attempted(library, recipe, what):
    try:
        return plain(changed(library, built(library, recipe), what))
    except IndexError:
        # A link on a group without members.
        return "IndexError"


@pytest.mark.filterwarnings("ignore::celery.exceptions.CPendingDeprecationWarning")
@properties
@given(canvases(leaves, size=5), changes)
def test_methods(recipe, what):
    theirs = attempted(celery.canvas, recipe, what)
    # Celery looks at the first member of a group alone, which may be a group without any.
    assume(theirs != "IndexError")
    assert attempted(canvas, recipe, what) == theirs


@properties
@given(canvases(leaves, size=4, smallest=1), canvases(leaves, size=4, smallest=1))
def test_neither_side_of_an_operator_is_changed(left, right):
    a, b = built(canvas, left), built(canvas, right)
    joined = a | b
    joined.set(queue="elsewhere")
    assert plain(a) == plain(built(canvas, left))
    assert plain(b) == plain(built(canvas, right))


@properties
@given(canvases(leaves), changes)
def test_json_and_back_is_equal(recipe, what):
    sig = built(canvas, recipe)
    try:
        sig = changed(canvas, sig, what)
        sig.freeze()
    except IndexError:
        reject()
    back = canvas.Signature.from_dict(serialization.loads(serialization.dumps(sig)))
    assert back == sig
    assert type(back) in {type(sig), type(sig).__mro__[1]}


@pytest.mark.parametrize(
    ("given_args", "given_kwargs"), [((), {}), ((1,), {}), ((), {"k": 2}), ((1, 2), {"k": 3})]
)
@pytest.mark.parametrize("immutable", [False, True])
def test_reprcall(given_args, given_kwargs, immutable):
    def said(library):
        sig = library.Signature("shop.add", (4,), {"k": 1, "l": "x"}, immutable=immutable)
        return sig.reprcall(*given_args, **given_kwargs)

    assert said(canvas) == said(celery.canvas)


@pytest.mark.parametrize("recipe", [("chain", []), ("group", [])])
def test_empty_ones_when_asked_for_truth(recipe):
    assert bool(built(canvas, recipe)) == bool(built(celery.canvas, recipe))
