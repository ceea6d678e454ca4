"""Canvases delivered: values, places, errors, joins."""

from __future__ import annotations

import json

import pytest

from django_qstash import (
    AsyncResult,
    GroupResult,
    Ignore,
    Task,
    TaskRevokedError,
    chain,
    chord,
    group,
    shared_task,
    signature,
)
from django_qstash.exceptions import (
    ChordError,
    ImproperlyConfigured,
    OptionError,
    ResultsNotInstalled,
)
from django_qstash.messages import TaskMessage
from django_qstash.results.models import Chord, GroupMember, TaskResult
from django_qstash.tasks.registry import tasks as registry
from tests.door import knock
from tests.shop.models import Effect

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tidy_registry")]


@pytest.fixture
def t():
    """Small tasks under short names."""

    class Tasks:
        calls: list = []

    @shared_task(name="add")
    def add(x, y=0):
        return x + y

    @shared_task(name="ident")
    def ident(x):
        Effect.objects.create(name="ident")
        return x

    @shared_task(name="boom")
    def boom(*args):
        raise ValueError("boom")

    @shared_task(name="told")
    def told(*args, **kwargs):
        Tasks.calls.append((args, kwargs))
        return len(Tasks.calls)

    @shared_task(name="old style")
    def old_style(task_id):
        Tasks.calls.append(("old", task_id))

    @shared_task(name="new style")
    def new_style(request, exc, traceback):
        Tasks.calls.append(("new", request.id, type(exc).__name__, str(exc), traceback))

    @shared_task(name="where", bind=True)
    def where(self, *args):
        request = self.request
        return [request.id, request.parent_id, request.root_id, request.group, request.group_index]

    Tasks.calls = []
    for task in (add, ident, boom, told, old_style, new_style, where):
        setattr(Tasks, task.name.replace(" ", "_"), task)
    return Tasks


def deliver_all(outbox, *, doubled=False):
    """Knock with every letter, and with those that they lead to."""
    answers = []
    while outbox.sent:
        envelope = outbox.sent.pop(0)
        for number in range(2 if doubled else 1):
            if envelope.url.startswith("https://shop"):
                message_id = f"msg_{len(answers)}_{number}"
                answers.append(knock(envelope.body, message_id=message_id).status_code)
    return answers


def raised(result):
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever it is
        result.get(timeout=0)
    return caught.value


class TestPlaces:
    def test_parents_and_roots_of_a_chain(self, t, loopback):
        result = chain(t.where.si(), t.where.si(), t.where.si())()
        first, second, third = (
            result.parent.parent.get(timeout=0),
            result.parent.get(timeout=0),
            result.get(timeout=0),
        )
        assert first[1:3] == [None, first[0]]
        assert second[1:3] == [first[0], first[0]]
        assert third[1:3] == [second[0], first[0]]
        assert result.as_list() == [third[0], second[0], first[0]]

    def test_members_of_a_group_know_it_and_their_place(self, t, loopback):
        result = group(t.where.si(), t.where.si())()
        assert [place[3:] for place in result.get(timeout=0)] == [
            [result.id, 0],
            [result.id, 1],
        ]

    def test_the_body_s_parent_is_the_header_s_result(self, t, loopback):
        result = chord([t.add.s(1), t.add.s(2)])(t.ident.s())
        assert isinstance(result.parent, GroupResult)
        assert [member.get(timeout=0) for member in result.parent] == [1, 2]

    def test_sent_by_a_task_they_are_its_children(self, t, loopback):
        @shared_task(name="sender")
        def sender():
            return chain(t.add.s(1, 1), t.add.s(2))().id

        result = sender.delay()
        (child,) = AsyncResult(result.id).children
        assert child.id == result.get(timeout=0)
        assert TaskResult.objects.get(task_name="add", args=[1, 1]) is not None

    def test_what_follows_is_a_child(self, t, loopback):
        result = t.add.apply_async((1, 1), link=[t.told.s()])
        (child,) = AsyncResult(result.id).children
        assert AsyncResult(child.id).name == "told"

    def test_collect_walks_the_tree(self, t, loopback):
        result = chain(t.add.s(1, 1), t.add.s(2), t.add.s(3))()
        found = [value for _, value in result.parent.parent.collect()]
        assert found == [2, 4, 7]


class TestOptions:
    def test_a_countdown_on_a_chain_delays_its_first_step(self, t, outbox):
        chain(t.add.s(1, 1), t.add.s(2)).apply_async(countdown=60)
        assert [e.options.get("delay") for e in outbox.sent] == ["60s"]

    def test_on_a_group_each_member(self, t, outbox):
        group(t.add.s(1), t.add.s(2)).apply_async(countdown=60)
        assert [e.options.get("delay") for e in outbox.sent] == ["60s", "60s"]

    @pytest.mark.parametrize(
        "canvas",
        [
            lambda limited: limited.si() | limited.si().set(time_limit=50, soft_time_limit=40),
            lambda limited: group(limited.si()) | limited.si().set(time_limit=50),
        ],
        ids=["a step", "a chord's body"],
    )
    def test_time_limits_reach_what_comes_later(self, loopback, canvas):
        @shared_task(name="limited", bind=True)
        def limited(self):
            return self.request.time_limit

        result = canvas(limited).apply_async()
        assert (result.state, result.result) == ("SUCCESS", 50)

    @pytest.mark.parametrize("options", [{"expires": "never"}, {"priority": "high"}], ids=str)
    def test_a_wrong_one_of_a_later_step_is_refused_at_the_call(self, t, outbox, options):
        with pytest.raises(OptionError):
            chain(t.ident.si(1), t.ident.si(2).set(**options))()
        assert outbox.sent == []

    def test_a_wrong_one_of_an_errback_leaves_the_failure_as_it_is(self, t, outbox):
        result = t.boom.apply_async(link_error=t.told.si().set(expires="never"))
        assert knock(outbox.sent.pop().body).status_code == 489
        assert isinstance(result.result, ValueError)

    def test_on_a_member_that_member(self, t, outbox):
        group(t.add.s(1), t.add.s(2).set(countdown=9))()
        assert [e.options.get("delay") for e in outbox.sent] == [None, "9s"]

    def test_on_a_chord_its_header(self, t, outbox):
        chord([t.add.s(1)], t.ident.s()).apply_async(countdown=60)
        assert [e.options.get("delay") for e in outbox.sent] == ["60s"]

    def test_of_a_later_step_hold_when_it_is_sent(self, t, outbox, virtual):
        chain(t.add.s(1, 1), t.add.s(2).set(countdown=30, queue="slow"))()
        knock(outbox.sent.pop().body)
        (second,) = outbox.sent
        assert second.options["delay"] == "30s"
        assert json.loads(second.body)["queue"] == "slow"

    def test_task_id_on_a_chain_is_the_last_step_s(self, t, loopback):
        result = chain(t.add.s(1, 1), t.add.s(2)).apply_async(task_id="the-end")
        assert (result.id, AsyncResult("the-end").get(timeout=0)) == ("the-end", 4)

    def test_partial_arguments_go_to_the_first(self, t, loopback):
        assert chain(t.add.s(), t.add.s(10))(1, 2).get(timeout=0) == 13
        assert group(t.add.s(1), t.add.s(2))(10).get(timeout=0) == [11, 12]
        assert chord([t.add.s(1), t.add.s(2)], t.ident.s()).apply_async((10,)).get(timeout=0) == [
            11,
            12,
        ]

    def test_immutable_signatures_take_none(self, t, loopback):
        assert chain(t.add.s(1, 1), t.add.si(5, 5))().get(timeout=0) == 10

    def test_an_overridden_apply_async_is_used_everywhere(self, outbox):
        class Traced(Task):
            def apply_async(self, args=None, kwargs=None, **options):
                headers = {**(options.pop("headers", None) or {}), "trace": self.name}
                return super().apply_async(args, kwargs, headers=headers, **options)

        one = shared_task(name="one", base=Traced)(lambda x=1: x)
        two = shared_task(name="two", base=Traced)(lambda x=1: x)
        chain(one.s(), two.s())()
        group(one.s(), two.s())()
        knock(outbox.sent[0].body)
        assert [json.loads(e.body)["headers"]["trace"] for e in outbox.sent] == [
            "one",
            "one",
            "two",
            "two",
        ]


class TestLinks:
    def test_get_the_value_unless_immutable(self, t, loopback):
        t.add.apply_async((1, 1), link=[t.told.s("x"), t.told.si("y"), t.told.s(k=1)])
        assert sorted(t.calls, key=str) == sorted(
            [((2, "x"), {}), (("y",), {}), ((2,), {"k": 1})], key=str
        )

    def test_travel_with_a_retry(self, t, loopback):
        @shared_task(name="again", bind=True)
        def again(self):
            if self.request.retries == 0:
                self.retry(countdown=0)
            return "done"

        again.apply_async(link=t.told.s())
        assert t.calls == [(("done",), {})]

    def test_of_links_are_followed(self, t, loopback):
        link = t.add.s(10)
        link.link(t.told.s())
        t.add.apply_async((1, 1), link=link)
        assert t.calls == [((12,), {})]

    def test_may_be_canvases(self, t, loopback):
        t.add.apply_async((1, 1), link=chain(t.add.s(1), group(t.add.s(5), t.told.s())))
        assert t.calls == [((3,), {})]
        assert TaskResult.objects.filter(result=8).exists()

    def test_doubled_deliveries_follow_once(self, t, outbox):
        t.add.apply_async((1, 1), link=t.told.s())
        deliver_all(outbox, doubled=True)
        assert len(t.calls) == 1


class TestErrbacks:
    def test_the_older_style_gets_the_id(self, t, loopback):
        result = t.boom.apply_async(link_error=t.old_style.s())
        assert t.calls == [("old", result.id)]

    def test_the_newer_style_gets_request_exception_and_traceback(self, t, loopback):
        result = t.boom.apply_async((1,), link_error=t.new_style.s())
        ((kind, task_id, name, text, traceback),) = t.calls
        assert (kind, task_id, name, text) == ("new", result.id, "ValueError", "boom")
        assert 'raise ValueError("boom")' in traceback

    def test_an_immutable_one_gets_nothing(self, t, loopback):
        t.boom.apply_async(link_error=t.told.si("fixed"))
        assert t.calls == [(("fixed",), {})]

    def test_not_for_a_retry_nor_for_success(self, t, outbox):
        again = shared_task(name="again", bind=True)(lambda self: self.retry())
        again.apply_async(link_error=t.old_style.s())
        t.add.apply_async((1, 1), link_error=t.old_style.s())
        knock(outbox.sent[0].body)
        knock(outbox.sent[1].body)
        assert t.calls == []

    def test_on_a_chain_is_called_for_whichever_step_fails_once(self, t, loopback):
        chain(t.add.s(1, 1), t.boom.s(), t.add.s(1)).on_error(t.old_style.s()).apply_async()
        assert len(t.calls) == 1

    def test_on_a_group_for_each_member_that_fails(self, t, loopback):
        canvas = group(t.boom.s(), t.add.s(1), t.boom.s())
        canvas.link_error(t.old_style.s())
        canvas.apply_async()
        assert len(t.calls) == 2

    def test_doubled_deliveries_call_once(self, t, outbox):
        t.boom.apply_async(link_error=t.new_style.s())
        deliver_all(outbox, doubled=True)
        assert len(t.calls) == 1


class TestAGroupThatFails:
    def test_raises_what_the_first_of_its_members_failed_with(self, t, loopback):
        result = group(t.ident.s(1), t.boom.s(), t.add.s("a", 1)).apply_async()
        with pytest.raises(ValueError, match="boom"):
            result.get(timeout=5)


class TestAChainThatFails:
    def test_fails_all_that_would_have_come(self, t, loopback):
        result = chain(t.add.s(1, 1), t.boom.s(), t.add.s(1), t.add.s(2))()
        states = []
        node = result
        while node is not None:
            states.append(AsyncResult(node.id).state)
            node = node.parent
        assert states == ["FAILURE", "FAILURE", "FAILURE", "SUCCESS"]
        assert isinstance(raised(AsyncResult(result.id)), ValueError)
        assert isinstance(raised(result), ValueError)

    def test_and_the_groups_and_chords_in_it(self, t, loopback):
        result = chain(t.boom.s(), group(t.add.s(1), t.add.s(2)), t.ident.s(), t.add.s(1))()
        assert isinstance(raised(AsyncResult(result.id)), ValueError)
        members = result.parent.parent
        assert [AsyncResult(member.id).state for member in members] == ["FAILURE"] * 2
        assert not Effect.objects.exists()

    def test_that_is_ignored_ends_there(self, t, loopback):
        @shared_task(name="ignored")
        def ignored(x):
            raise Ignore

        result = chain(t.add.s(1, 1), ignored.s(), t.add.s(1))()
        assert AsyncResult(result.id).state == "REVOKED"

    def test_a_revoked_step_ends_it(self, t, outbox):
        result = chain(t.add.s(1, 1), t.add.s(1), t.add.s(1))()
        result.parent.revoke()
        deliver_all(outbox)
        assert AsyncResult(result.id).state == "REVOKED"
        assert isinstance(raised(result), TaskRevokedError)


class TestAChordThatFails:
    def test_never_runs_its_body_and_names_the_member(self, t, loopback):
        result = chord([t.add.s(1), t.boom.s(), t.add.s(2)])(t.ident.s())
        assert not Effect.objects.exists()
        error = AsyncResult(result.id).result
        assert isinstance(error, ChordError)
        assert str(error).startswith(f"Dependency {result.parent[1].id} raised ValueError('boom')")
        assert isinstance(error.__cause__, ValueError)
        assert isinstance(raised(result), ValueError)  # parents are looked at first

    def test_calls_the_errbacks_of_its_body(self, t, loopback):
        body = t.ident.s().on_error(t.old_style.s())
        result = chord([t.boom.s(), t.boom.s()])(body)
        assert t.calls == [("old", result.id)]

    def test_link_error_on_a_chord_is_the_body_s(self, t, loopback):
        canvas = chord([t.boom.s()], t.ident.s())
        canvas.link_error(t.new_style.s())
        result = canvas.apply_async()
        assert [call[:3] for call in t.calls] == [("new", result.id, "ChordError")]

    def test_and_the_header_s_too_if_the_setting_says_so(self, t, loopback, settings):
        settings.DJANGO_QSTASH_ALLOW_ERROR_CB_ON_CHORD_HEADER = True
        canvas = chord([t.boom.s(), t.add.s(1)], t.ident.s())
        canvas.link_error(t.told.si("x"))
        canvas.apply_async()
        assert len(t.calls) == 2

    def test_a_group_for_a_body_fails_with_the_member_s_exception(self, t, loopback):
        result = chord([t.boom.s()])(group(t.ident.s(), t.add.s()))
        assert [type(AsyncResult(member.id).result) for member in result] == [ValueError] * 2

    def test_says_so_to_its_own_body_alone(self, t, loopback):
        behind = group(t.add.s(1), t.add.s(2)) | t.ident.s()
        canvas = group(t.boom.s(), t.add.s(1)) | t.ident.s() | behind
        canvas.link_error(t.old_style.s())
        canvas.apply_async()
        assert len(t.calls) == 1

    def test_fails_what_comes_after_its_body(self, t, loopback):
        result = (group(t.add.s(1), t.boom.s()) | t.ident.s() | t.add.s(1) | t.add.s(2))()
        node, states = result, []
        while node is not None and not isinstance(node, GroupResult):
            states.append(AsyncResult(node.id).state)
            node = node.parent
        assert states == ["FAILURE"] * 3

    def test_fails_the_chord_around_it(self, t, loopback):
        inner = chord([t.boom.s(), t.add.s(1)], t.ident.s())
        result = chord([inner, t.add.s(1)])(t.ident.s().on_error(t.old_style.s()))
        assert isinstance(AsyncResult(result.id).result, ChordError)
        assert t.calls == [("old", result.id)]
        assert not Effect.objects.exists()

    def test_a_chain_in_its_header_fails_at_any_step(self, t, loopback):
        result = chord([chain(t.boom.s(), t.add.s(1)), t.add.s(1)])(t.ident.s())
        assert isinstance(AsyncResult(result.id).result, ChordError)

    def test_a_revoked_or_expired_or_ignored_member_fails_it(self, t, outbox, virtual):
        ignored = shared_task(name="ignored", bind=True)(lambda self: _raise(Ignore()))
        revoked = chord([t.add.s(1), t.add.s(2)])(t.ident.s())
        revoked.parent[0].revoke()
        expired = chord([t.add.s(1).set(expires=5)])(t.ident.s())
        silent = chord([ignored.s(), t.add.s(1)])(t.ident.s())
        virtual.advance(10)
        deliver_all(outbox)
        for result in (revoked, expired, silent):
            assert isinstance(AsyncResult(result.id).result, ChordError)
        assert not Effect.objects.exists()


def _raise(error):
    raise error


class TestJoins:
    def test_a_member_delivered_again_counts_once(self, t, outbox):
        result = chord([t.add.s(1), t.add.s(2), t.add.s(3)])(t.ident.s())
        first, second, third = (envelope.body for envelope in outbox.sent)
        outbox.sent.clear()
        for number in range(3):
            knock(first, message_id=f"msg_{number}")
        knock(second)
        assert outbox.sent == []
        knock(third)
        assert len(outbox.sent) == 1
        deliver_all(outbox)
        assert AsyncResult(result.id).result == [1, 2, 3]

    def test_a_redelivery_of_any_member_publishes_the_same_body_again(self, t, outbox):
        chord([t.add.s(1), t.add.s(2)])(t.ident.s())
        letters = [envelope.body for envelope in outbox.sent]
        outbox.sent.clear()
        for body in (*letters, *letters):
            knock(body)
        bodies = [TaskMessage.from_dict(json.loads(e.body)) for e in outbox.sent]
        assert len(bodies) == 3
        assert len({(body.id, body.run) for body in bodies}) == 1
        deliver_all(outbox)
        assert Effect.objects.count() == 1

    def test_everything_delivered_twice_still_comes_to_the_same(self, t, outbox):
        inner = chord([t.add.s(1), t.add.s(2)], t.ident.s())
        result = (group(inner, chain(t.add.s(3), group(t.add.s(1), t.add.s(2)))) | t.ident.s())()
        deliver_all(outbox, doubled=True)
        assert AsyncResult(result.id).result == [[1, 2], [4, 5]]
        assert Effect.objects.count() == 2

    def test_a_retry_in_the_header_counts_once(self, t, loopback):
        @shared_task(name="again", bind=True)
        def again(self):
            if self.request.retries < 2:
                self.retry(countdown=0)
            return "third"

        result = chord([again.s(), t.add.s(1)])(t.ident.s())
        assert result.get(timeout=0) == ["third", 1]

    def test_a_body_that_retries_gets_the_values_once(self, t, outbox):
        @shared_task(name="again", bind=True)
        def again(self, values):
            if self.request.retries < 2:
                self.retry(countdown=0)
            return values

        result = chord([t.add.s(1), t.add.s(2)])(again.s())
        deliver_all(outbox, doubled=True)
        assert AsyncResult(result.id).result == [1, 2]

    def test_a_member_that_comes_to_nothing_is_not_waited_for(self, t, loopback):
        nothing = chord([], group([]))
        assert chord([nothing], t.ident.s())().get(timeout=0) == []
        assert chord([t.add.s(1), nothing], t.ident.s())().get(timeout=0) == [1]

    def test_an_ignored_result_still_goes_to_the_chord(self, t, loopback):
        quiet = shared_task(name="quiet", ignore_result=True)(lambda: 7)
        result = chord([quiet.s(), t.add.s(1)])(t.ident.s())
        assert result.get(timeout=0) == [7, 1]

    def test_a_frozen_chord_applied_twice_is_two_chords(self, t, outbox):
        canvas = chord([t.add.s(1), t.add.s(2)], t.ident.s())
        canvas.freeze()
        canvas.apply_async()
        canvas.apply_async()
        deliver_all(outbox)
        assert Chord.objects.count() == 2
        assert Effect.objects.count() == 2

    def test_the_letters_of_a_header_do_not_grow_with_its_size(self, t, outbox):
        chord([t.add.s(n) for n in range(300)])(t.ident.s())
        assert max(len(envelope.body) for envelope in outbox.sent) < 700

    def test_nothing_is_left_when_no_duplicate_can_come_any_more(self, t, outbox, virtual):
        from django_qstash.results.cleanup import clear

        chord([t.add.s(1), t.add.s(2)])(t.ident.s())
        deliver_all(outbox)
        virtual.advance(31 * 86400)
        clear()
        assert not Chord.objects.exists()
        assert not GroupMember.objects.exists()
        assert not TaskResult.rows.exists()

    def test_a_generator_is_read_while_it_is_sent(self, t, outbox, settings):
        settings.DJANGO_QSTASH_BATCH_SIZE = 10
        seen = []

        def members():
            for number in range(35):
                seen.append((number, len(outbox.sent)))
                yield t.add.s(number)

        result = chord(members())(t.ident.s())
        assert seen[0] == (0, 0)
        assert seen[-1][1] >= 20
        deliver_all(outbox)
        assert AsyncResult(result.id).result == list(range(35))

    def test_a_generator_whose_members_are_all_done_before_it_ends(self, t, loopback):
        result = chord(t.add.s(number) for number in range(3))(t.ident.s())
        assert result.get(timeout=0) == [0, 1, 2]

    def test_without_the_results_app_it_is_refused_at_the_call(self, t, outbox, settings):
        settings.INSTALLED_APPS = [a for a in settings.INSTALLED_APPS if "results" not in a]
        with pytest.raises(ResultsNotInstalled, match="INSTALLED_APPS"):
            chord([t.add.s(1)])(t.ident.s())
        assert outbox.sent == []
        chain(t.add.s(1), t.add.s(1))()
        group(t.add.s(1), t.add.s(1))()
        assert deliver_all(outbox) == [200] * 4


class TestReplace:
    def test_by_a_task(self, t, loopback):
        @shared_task(name="replaced", bind=True)
        def replaced(self, x):
            return self.replace(t.add.s(x, 10))

        result = replaced.delay(1)
        assert result.get(timeout=0) == 11

    def test_keeps_chain_chord_and_callbacks(self, t, loopback):
        @shared_task(name="replaced", bind=True)
        def replaced(self, x):
            return self.replace(chain(t.add.s(x, 10), t.add.s(100)))

        assert chain(replaced.s(1), t.add.s(1000))().get(timeout=0) == 1111
        assert chord([replaced.s(1), t.add.s(5)])(t.ident.s()).get(timeout=0) == [111, 5]
        replaced.apply_async((1,), link=t.told.s())
        assert t.calls == [((111,), {})]

    def test_by_a_group_comes_to_its_list(self, t, loopback):
        @shared_task(name="replaced", bind=True)
        def replaced(self):
            return self.replace(group(t.add.s(1), t.add.s(2)))

        assert replaced.delay().get(timeout=0) == [1, 2]
        assert chain(replaced.s(), t.ident.s())().get(timeout=0) == [1, 2]

    def test_by_a_chord(self, t, loopback):
        @shared_task(name="replaced", bind=True)
        def replaced(self):
            return self.replace(chord([t.add.s(1), t.add.s(2)], t.ident.s()))

        assert replaced.delay().get(timeout=0) == [1, 2]

    def test_doubled_deliveries_replace_once(self, t, outbox):
        @shared_task(name="replaced", bind=True)
        def replaced(self):
            return self.replace(chain(t.add.s(1, 1), t.ident.s()))

        result = replaced.delay()
        deliver_all(outbox, doubled=True)
        assert AsyncResult(result.id).result == 2
        assert Effect.objects.count() == 1

    def test_a_failure_in_it_is_this_task_s(self, t, loopback):
        @shared_task(name="replaced", bind=True)
        def replaced(self):
            return self.replace(chain(t.add.s(1, 1), t.boom.s(), t.add.s(1)))

        result = replaced.apply_async(link_error=t.old_style.s())
        assert isinstance(raised(result), ValueError)
        assert len(t.calls) == 1

    def test_an_empty_chain_is_refused(self, t, loopback):
        replaced = shared_task(name="replaced", bind=True)(lambda self: self.replace(chain()))
        assert isinstance(raised(replaced.delay()), ImproperlyConfigured)

    def test_in_an_eager_task_it_is_its_value(self, t):
        replaced = shared_task(name="replaced", bind=True)(
            lambda self: self.replace(chain(t.add.s(1, 1), t.add.s(5)))
        )
        assert replaced.apply().get() == 7

    def test_in_an_eager_task_its_link_is_called_once(self, t):
        replaced = shared_task(name="replaced", bind=True)(lambda self: self.replace(t.add.s(1, 1)))
        replaced.apply(link=t.told.s())
        assert t.calls == [((2,), {})]

    def test_nesting_is_counted(self, t, loopback):
        @shared_task(name="deep", bind=True)
        def deep(self):
            if self.request.replaced_task_nesting < 3:
                return self.replace(deep.s())
            return self.request.replaced_task_nesting

        assert deep.delay().get(timeout=0) == 3


class TestAddToChord:
    def test_the_chord_waits_for_it_and_its_value_comes_last(self, t, outbox):
        @shared_task(name="adds", bind=True)
        def adds(self):
            self.add_to_chord(t.add.s(100, 1))
            return "added"

        result = chord([adds.s(), t.add.s(5)])(t.ident.s())
        deliver_all(outbox, doubled=True)
        assert AsyncResult(result.id).result == ["added", 5, 101]

    def test_a_task_that_runs_again_adds_it_once(self, t, outbox, virtual):
        from django_qstash.results.database import DatabaseStore

        @shared_task(name="adds", bind=True)
        def adds(self):
            self.add_to_chord(t.add.s(100, 1))
            DatabaseStore().release(self.request.message, self.request.token)
            return "added"

        result = chord([adds.s(), t.add.s(5)])(t.ident.s())
        body = outbox.sent[0].body
        knock(body, message_id="msg_a")
        outbox.sent = [e for e in outbox.sent if e.body != body]
        adds_again = shared_task  # the same letter once more: its first outcome was not recorded
        assert adds_again
        registry["adds"].run = lambda: (
            registry["adds"].add_to_chord(t.add.s(100, 1)),
            "added",
        )[1]
        virtual.advance(61)
        knock(body, message_id="msg_b")
        deliver_all(outbox)
        assert AsyncResult(result.id).result == ["added", 5, 101]

    def test_lazily_it_is_sent_by_the_caller(self, t, outbox):
        @shared_task(name="adds", bind=True)
        def adds(self):
            self.add_to_chord(t.add.s(100), lazy=True).apply_async((1,))
            return "added"

        result = chord([adds.s()])(t.ident.s())
        deliver_all(outbox)
        assert AsyncResult(result.id).result == ["added", 101]

    def test_outside_of_a_chord_it_is_refused(self, t, loopback):
        adds = shared_task(name="adds", bind=True)(lambda self: self.add_to_chord(t.add.s(1)))
        assert isinstance(raised(adds.delay()), ValueError)


def test_a_group_that_is_sent_in_part_says_what_was(t, settings):
    from django_qstash import PublishError
    from django_qstash.transport import get_transport

    settings.DJANGO_QSTASH_TRANSPORT = "tests.transports.TakesThree"
    settings.DJANGO_QSTASH_BATCH_SIZE = 2
    canvas = group(t.add.s(n) for n in range(5))
    with pytest.raises(PublishError, match="3 of 4 messages were sent") as caught:
        canvas.apply_async()
    assert len(caught.value.sent) == 3
    assert len(caught.value.unsent) == 1
    assert len(get_transport().taken) == 3


def test_a_group_goes_out_in_batches(t, settings):
    from django_qstash.transport import get_transport

    settings.DJANGO_QSTASH_TRANSPORT = "tests.transports.Counting"
    settings.DJANGO_QSTASH_BATCH_SIZE = 100
    group([t.add.s(n) for n in range(250)])()
    assert get_transport().batches == [100, 100, 50]


def test_signatures_by_name_need_no_registration(outbox):
    chain(signature("elsewhere.one", (1,)), signature("elsewhere.two"))()
    assert json.loads(outbox.sent[0].body)["task"] == "elsewhere.one"
